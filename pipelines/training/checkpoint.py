"""What a run must remember to go on as if it had not stopped: the trained part, not the frozen one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ..weights.reading import RUNS_CODE_BELOW, unpickle
from ..whole_files import whole

NAME = "state.pt"
BEFORE = "state.before.pt"  # the checkpoint before one of a run that broke down
Facts = Mapping[str, str]  # what a run depends on, by the name of what decides it
State = dict[str, Any]  # of what is trained, averaged and moved, by these names: `PARTS`
PARTS = ("trained", "average", "optimizer")


def trained_state(modules: nn.Module) -> dict[str, Tensor]:
    """Parameters that require gradients, and buffers, by name."""
    frozen = {name for name, parameter in modules.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in modules.state_dict().items() if name not in frozen}


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def save(
    folder: Path,
    modules: nn.Module,
    average: EMAModel,
    optimizer: torch.optim.Optimizer,
    *,
    keep_before: bool = False,
    gather: Callable[[State], State | None] | None = None,
    **progress: Any,
) -> None:
    """Write the checkpoint, whole or not at all; `progress` comes back from `load`.

    The one before stays until then, and if wished afterwards as well, as BEFORE. Where processes have shares of the
    tensors, `gather` makes them whole, and gives None to those that are not to write.

    Raises OSError when it cannot be written (a full disk).
    """
    parts: State = {
        "trained": trained_state(modules),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    state = gather(parts) if gather else parts
    if state is None:
        return
    try:
        with whole(folder / NAME) as part:
            torch.save({**state, **progress}, part)
            if keep_before and (folder / NAME).exists():
                os.replace(folder / NAME, folder / BEFORE)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise OSError(
            f"The checkpoint could not be written to {folder} ({error}). Free some space and start the same command "
            "again: it goes on from the checkpoint before."
        ) from error


def check(folder: Path, facts: Facts) -> None:
    """Raise ValueError, naming what differs, when the checkpoint in a folder is of a run with other facts."""
    if (folder / NAME).exists():
        _check_facts(folder / NAME, _read(folder / NAME, mmap=True), facts)


def _read(path: Path, mmap: bool = False) -> Any:
    try:
        return unpickle(path, safe_since=RUNS_CODE_BELOW, mapped=mmap)  # our own file: damaged perhaps, not crafted
    except ValueError as error:
        cause = error.__cause__  # of a damaged file; a torch that is too old has none
        raise _unusable(path, f"it is damaged ({type(cause).__name__})" if cause else str(error)) from error


def _unusable(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} cannot be gone on from: {reason}. Start in another folder, or delete the file to start anew."
    )


def _check_facts(path: Path, state: Any, facts: Facts) -> None:
    before = state.get("facts", {}) if isinstance(state, dict) else {}
    names = sorted(name for name in {*before, *facts} if before.get(name) != facts.get(name))
    changes = [f"{name} was {before.get(name, 'not noted')}, is {facts.get(name, 'not given')}" for name in names]
    if changes:
        raise ValueError(
            f"{path} is of a run with other settings: {'; '.join(changes)}. Set them back to go on with it, or "
            "start in another folder."
        )


def load(
    folder: Path,
    modules: nn.Module,
    average: EMAModel,
    optimizer: torch.optim.Optimizer,
    *,
    device: torch.device,
    facts: Facts,
    divide: Callable[[State], State] | None = None,
) -> dict[str, Any] | None:
    """Put a checkpoint back in place and return its progress; None where there is none.

    Where processes have shares of the tensors, `divide` makes them of whole ones.

    Raises ValueError when it is damaged, of other networks, or of a run with other facts.
    """
    path = folder / NAME
    if not path.exists():
        return None
    state = _read(path)
    _check_facts(path, state, facts)
    try:
        if _shapes(trained_state(modules)) != _shapes(state["trained"]):
            raise ValueError("it belongs to other networks, or other parts of them were trained")
        parts = divide(state) if divide else state
        modules.load_state_dict(parts["trained"], strict=False)
        average.load_state_dict(parts["average"])
        average.to(device)
        optimizer.load_state_dict(parts["optimizer"])
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # what a damaged file holds fails in many ways
        raise _unusable(path, str(error)) from error
    return {name: state[name] for name in state.keys() - {*PARTS, "facts"}}
