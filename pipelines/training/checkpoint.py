"""What a run must remember to go on as if it had not stopped: the trained part, not the frozen one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ..whole_files import whole

NAME = "state.pt"


def trained_state(modules: nn.Module) -> dict[str, Tensor]:
    """Parameters that require gradients, and buffers, by name."""
    frozen = {name for name, parameter in modules.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in modules.state_dict().items() if name not in frozen}


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def save(folder: Path, modules: nn.Module, average: EMAModel, optimizer: torch.optim.Optimizer, **progress) -> None:
    """Write the checkpoint, whole or not at all; the one before stays until then.

    Raises OSError when it cannot be written (a full disk).
    """
    state = {"trained": trained_state(modules), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    try:
        with whole(folder / NAME) as part:
            torch.save({**state, **progress}, part)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise OSError(
            f"The checkpoint could not be written to {folder} ({error}). Free some space and start the same command "
            "again: it goes on from the checkpoint before."
        ) from error


def load(
    folder: Path, modules: nn.Module, average: EMAModel, optimizer: torch.optim.Optimizer, device: torch.device
) -> dict[str, Any] | None:
    """Put a checkpoint back in place and return its progress; None where there is none.

    Raises ValueError when it is damaged or of other networks.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if _shapes(trained_state(modules)) != _shapes(state["trained"]):
            raise ValueError("it belongs to other networks, or other parts of them were trained")
        modules.load_state_dict(state["trained"], strict=False)
        average.load_state_dict(state["average"])
        average.to(device)
        optimizer.load_state_dict(state["optimizer"])
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a damaged file fails in many ways
        raise ValueError(
            f"{path} cannot be gone on from: {error}. Start in another folder, or delete the file to start anew."
        ) from error
    return {name: state[name] for name in state.keys() - {"trained", "average", "optimizer"}}
