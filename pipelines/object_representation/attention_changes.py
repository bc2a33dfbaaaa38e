"""What is learned of a UNet's cross-attention: a change beside each layer, whose own weights stay as they are.

A change is added to what its layer gives, in float32: a UNet in 16 bit does not swallow it, it has any strength, and
nothing is left behind when it is taken off. Names are those of patch files (`weights.layouts.patch_module`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..weights.reading import StateDict
from ..weights.unet_patch import low_rank

Parts = Literal["kv", "attn2"]
LAYERS: dict[str, tuple[str, ...]] = {
    "kv": ("attn2_to_k", "attn2_to_v"),
    "attn2": ("attn2_to_q", "attn2_to_k", "attn2_to_v", "attn2_to_out_0"),
}
Layers = Mapping[str, nn.Linear]  # of a UNet's cross-attention, by their names in a patch file


def chosen_layers(layers: Layers, parts: Parts) -> dict[str, nn.Linear]:
    """Those of a UNet's layers that belong to keys and values ("kv") or to all of cross-attention ("attn2").

    Raises ValueError when there is none.
    """
    chosen = {name: layer for name, layer in layers.items() if name.endswith(LAYERS[parts])}
    if not chosen:
        raise ValueError("This UNet has no cross-attention: there is nothing that could learn an object.")
    return chosen


class Change(nn.Module):
    """The change of one linear layer [O,I]: a whole matrix, or the product of `up` [O,r] and `down` [r,I]."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        """`tensors` are `diff`, with `diff_b` [O] or without, or `up` and `down`."""
        super().__init__()
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor.detach().float().clone()))

    def forward(self, x: Tensor) -> Tensor:
        """What it adds to the layer's output for the layer's input [...,I]."""
        own = dict(self.named_parameters())
        if "diff" in own:
            return F.linear(x, own["diff"], own.get("diff_b"))
        return F.linear(F.linear(x, own["down"]), own["up"])

    def matrix(self) -> Tensor:
        """[O,I], float32."""
        own = dict(self.named_parameters())
        return (own["diff"] if "diff" in own else own["up"] @ own["down"]).detach()


class AttentionChanges(nn.Module):
    """The changes of a UNet's cross-attention, by the names of its layers in a patch file."""

    def __init__(self, changes: Mapping[str, Change]):
        super().__init__()
        self.changes = nn.ModuleDict(dict(changes))

    @classmethod
    def zero(cls, layers: Layers, rank: int | None, generator: torch.Generator) -> AttentionChanges:
        """Changes that change nothing yet: whole matrices and biases, or products of this rank.

        Raises ValueError for a rank below 1 or above what the smallest of the matrices can have.
        """
        largest = min(min(layer.out_features, layer.in_features) for layer in layers.values())
        if rank is not None and not 1 <= rank <= largest:
            raise ValueError(
                f"A rank of {rank} is not possible: the smallest matrix of this UNet's cross-attention has rank "
                f"{largest}. Choose a rank from 1 to {largest}; above that a whole matrix is smaller."
            )
        changes = {}
        for name, layer in layers.items():
            rows, columns = layer.weight.shape
            if rank is None:
                tensors = {"diff": torch.zeros(rows, columns)}
                if layer.bias is not None:
                    tensors["diff_b"] = torch.zeros(rows)
            else:
                down = torch.randn(rank, columns, generator=generator) / columns**0.5
                tensors = {"up": torch.zeros(rows, rank), "down": down}
            changes[name] = Change(tensors)
        return cls(changes)

    @contextmanager
    def attached(self, layers: Layers, strength: float = 1.0, *, detach_first: bool = False) -> Iterator[None]:
        """Let the changes count, times `strength`, in a UNet's layers while inside; 0 leaves every bit as it is.

        `detach_first`: keys and values learn nothing from a context's first token, as Custom Diffusion and the
        representation's reference have it; the forward pass is the same.
        """
        handles = []
        try:
            for name, change in self.changes.items() if strength else ():
                detached = detach_first and name.endswith(LAYERS["kv"])
                handles.append(layers[name].register_forward_hook(_added(change, strength, detached)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def tensors(self) -> StateDict:
        """The tensors of a patch file: float16 factors, whose product is as fine as float32's, or float32 matrices."""
        tensors: StateDict = {}
        for name, change in self.changes.items():
            own = {key: parameter.detach().cpu() for key, parameter in change.named_parameters()}
            if "diff" in own:
                tensors |= {f"{name}.{key}": tensor for key, tensor in own.items()}
            else:
                up, down = _balanced(own["up"], own["down"])
                tensors |= {f"{name}.lora_up.weight": up.half(), f"{name}.lora_down.weight": down.half()}
                tensors[f"{name}.alpha"] = torch.tensor(float(len(down)))  # alpha / rank is the scale: 1
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], layers: Layers) -> AttentionChanges:
        """The changes in a patch file's tensors: whole, of low rank, or set, from which the layers' own is taken off.

        Raises ValueError for tensors of another UNet.
        """
        left = dict(tensors)
        changes = {}
        for name, layer in layers.items():
            own = {key: left.pop(f"{name}.{key}") for key in ENDS if f"{name}.{key}" in left}
            if not own:
                continue
            change = Change(_change_of(own, layer))
            if change.matrix().shape != layer.weight.shape:
                rows, columns = layer.weight.shape
                raise ValueError(
                    f"its change of {name} has the shape {tuple(change.matrix().shape)}, the UNet's layer ({rows}, "
                    f"{columns})"
                )
            changes[name] = change
        if left:
            raise ValueError(f"{len(left)} of its tensors belong to no cross-attention of it (such as {min(left)})")
        return cls(changes)

    def of_rank(self, rank: int) -> tuple[AttentionChanges, float]:
        """The nearest changes of this rank, and what share of the whole they keep, by the Frobenius norm.

        By the largest singular values (Eckart and Young 1936). Biases are left out, and count as lost.
        """
        changes = {}
        whole = kept = 0.0
        for name, change in self.changes.items():
            matrix = cast(Change, change).matrix()
            up, down = low_rank(matrix, rank)
            changes[name] = Change({"up": up, "down": down})
            whole += sum(float(own.detach().double().square().sum()) for own in [matrix, *_biases(change)])
            kept += float((up @ down).double().square().sum())
        return AttentionChanges(changes), (kept / whole) ** 0.5 if whole else 1.0


ENDS = ("diff", "diff_b", "set_weight", "lora_up.weight", "lora_down.weight", "alpha")


def _change_of(own: Mapping[str, Tensor], layer: nn.Linear) -> dict[str, Tensor]:
    """The tensors of a `Change` from those of one layer in a file. Raises ValueError for an incomplete product."""
    biases = {name: own[name] for name in ("diff_b",) if name in own}
    if "set_weight" in own:
        return {"diff": own["set_weight"].float() - layer.weight.detach().float().cpu(), **biases}
    if "diff" in own:
        return {"diff": own["diff"], **biases}
    if "lora_up.weight" not in own or "lora_down.weight" not in own:
        raise ValueError("one of its products has only one of its two matrices")
    up = own["lora_up.weight"].float()
    down = own["lora_down.weight"].float()
    alpha = own.get("alpha", torch.tensor(float(len(down))))
    if up.ndim != 2 or down.ndim != 2 or up.shape[1] != len(down) or alpha.numel() != 1:
        raise ValueError("the matrices of one of its products do not belong together")
    return {"up": up * (float(alpha) / len(down)), "down": down}


def _biases(change: nn.Module) -> list[Tensor]:
    return [parameter for name, parameter in change.named_parameters() if name == "diff_b"]


def _balanced(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """The same product, with columns of `up` [O,r] as long as rows of `down` [r,I]: neither is lost in 16 bit."""
    columns = up.norm(dim=0)
    rows = down.norm(dim=1)
    factor = (rows / columns.clamp(min=1e-12)).sqrt()
    return up * factor, down / factor[:, None]


def _added(change: Any, strength: float, detach_first: bool) -> Any:
    """A forward hook that adds a change to a linear layer's output."""

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added = strength * change(inputs[0].float())
        if detach_first:
            added = torch.cat([added[:, :1].detach(), added[:, 1:]], 1)
        return output + added.to(output.dtype)

    return hook
