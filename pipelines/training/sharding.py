"""Networks divided among processes by torch's FSDP2: each has a share of every parameter, gradient and moment.

accelerate does this on GPUs alone, and calls the same `fully_shard`; here it is for CPUs as well.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from .fsdp_settings import ShardingPlan

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_state_dict_pre_hooks")  # torch's names


def _block_classes(networks: nn.ModuleDict, plan: ShardingPlan) -> tuple[str, ...]:
    """The classes of what is gathered by itself. Raises ValueError for one that no network has."""
    if plan.blocks is None:
        return tuple({name for module in networks.modules() for name in getattr(module, "_no_split_modules", ()) or ()})
    there = {type(module).__name__ for module in networks.modules()}
    missing = sorted(set(plan.blocks) - there)
    if missing:
        raise ValueError(
            f"accelerate's fsdp_transformer_layer_cls_to_wrap names {', '.join(missing)}, which no network here has. "
            "Leave it out, and the networks say themselves what is gathered at once."
        )
    return plan.blocks


def _blocks(networks: nn.ModuleDict, classes: tuple[str, ...]) -> Iterator[nn.Module]:
    """What is gathered by itself, the inner before the outer; never a whole network, whose name goes into files."""
    for network in networks.values():
        inner = list(network.modules())[1:]
        yield from (module for module in reversed(inner) if type(module).__name__ in classes)


class Sharding:
    """The division of a module whose `networks` are trained: on the device, shares in place of its parameters.

    The module itself gathers, before its forward, what no block gathers: a forward may use any parameter. Every
    method but `divide` takes all processes, at the same step. Raises ValueError for blocks that are not there.
    """

    def __init__(self, root: nn.Module, networks: nn.ModuleDict, plan: ShardingPlan, device: torch.device):
        options: dict[str, Any] = {
            "mesh": init_device_mesh(device.type, (dist.get_world_size(),)),
            "reshard_after_forward": plan.reshard_after_forward,
        }
        for block in _blocks(networks, _block_classes(networks, plan)):
            fully_shard(block, **options)
        fully_shard(root, **options)
        self.networks = networks
        self.device = device
        self._first = dist.get_rank() == 0
        self._parts = [module for module in root.modules() if isinstance(module, FSDPModule)]
        self._hooks: list[tuple[nn.Module, str, Any]] = []

    def unite(self) -> None:
        """Give the networks whole, plain parameters, to be looked at, called and written by one process alone.

        Without torch's hooks, that is: they would wait for the other processes, or divide what is to be written.
        """
        for part in self._parts:
            part.unshard()
        self._hooks = [(module, name, getattr(module, name)) for module in self.networks.modules() for name in HOOKS]
        for module, name, _ in self._hooks:
            setattr(module, name, OrderedDict())

    def divide(self) -> None:
        """Take back what `unite` did."""
        for module, name, hooks in self._hooks:
            setattr(module, name, hooks)
        self._hooks = []
        for part in self._parts:
            part.reshard()

    def gathered(self, state: dict[str, Any]) -> dict[str, Any] | None:
        """A checkpoint's state with whole tensors on the CPU; None but in the first process, which writes it."""
        averages = list(map(_as_share, state["average"]["shadow_params"], self._trained()))
        state = state | {"average": state["average"] | {"shadow_params": averages}}
        whole = _mapped(state, lambda tensor: _whole(tensor, self._first))
        return whole if self._first else None

    def _trained(self) -> list[DTensor]:
        """In the order of the averages and of the optimizer."""
        return [cast(DTensor, p) for p in self.networks.parameters() if p.requires_grad]

    def divided(self, state: dict[str, Any]) -> dict[str, Any]:
        """This process's shares of a checkpoint's state with whole tensors."""
        own = self.networks.state_dict()
        parameters = self._trained()
        averages = map(_share, state["average"]["shadow_params"], parameters)
        moments = state["optimizer"]["state"]
        return {
            "trained": {name: _share(tensor, own[name]) for name, tensor in state["trained"].items()},
            "average": state["average"] | {"shadow_params": [average.to_local() for average in averages]},
            "optimizer": state["optimizer"]
            | {
                "state": {
                    index: {name: _share(value, parameters[index]) for name, value in values.items()}
                    for index, values in moments.items()
                }
            },
        }

    def first_says(self, value: bool) -> bool:
        """What the first process says, in all of them."""
        flag = torch.tensor(int(value), device=self.device)
        dist.broadcast(flag, 0)
        return bool(flag)


def own_shares(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """What this process holds of parameters, as plain tensors: writing to them writes to the parameters."""
    with torch.enable_grad():  # or they would seem not to be trained
        return [cast(DTensor, parameter).to_local() for parameter in parameters]


def _as_share(own: Tensor, like: DTensor) -> DTensor:
    """A plain share as what it is a share of."""
    return DTensor.from_local(
        own, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def _mapped(nest: Any, change: Callable[[Tensor], Any]) -> Any:
    """A nest of dicts and lists with its tensors changed, one after another."""
    if isinstance(nest, Tensor):
        return change(nest)
    if isinstance(nest, dict):
        return {key: _mapped(value, change) for key, value in nest.items()}
    if isinstance(nest, list | tuple):
        return type(nest)(_mapped(value, change) for value in nest)
    return nest


def _whole(tensor: Tensor, keep: bool) -> Tensor | None:
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.cpu() if keep else None


def _share(whole: Any, like: Tensor) -> Any:
    """The share of a tensor that is divided as `like`; others, such as a count of steps, are the same everywhere."""
    if not isinstance(like, DTensor) or not isinstance(whole, Tensor) or whole.shape != like.shape:
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)
