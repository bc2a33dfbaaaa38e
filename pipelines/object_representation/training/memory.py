"""What a step of learning needs of a device's memory, counted before the first one."""

from __future__ import annotations

import psutil
import torch
from torch import Tensor

from ...training.precision import autocast
from .learning_task import LearningTask

BACKWARD = 1.3  # times what waits for the backward pass: its own tensors are there beside it
GIB = 2**30


def check_memory(task: LearningTask, size: int) -> None:
    """Raise MemoryError, saying what would fit, where a step of pictures of `size` px finds too little memory."""
    device = task.tokens.tokens.device
    each = BACKWARD * (saved_bytes(task, 2) - saved_bytes(task, 1))  # without the parameters, which are there once
    free = _free(device)  # now: to run, the host has put other models away
    if task.batch * each <= free:
        return
    fits = int(free / each)
    smaller = f"not even one picture fits; a size of {size // 16 * 8} px takes about a quarter"
    advice = f"a batch of {fits} fits" if fits else smaller
    raise MemoryError(
        f"Learning {task.batch} pictures of {size} px at once needs about {task.batch * each / GIB:.1f} GiB beside the "
        f"model, and {free / GIB:.1f} GiB of memory are free: {advice}."
    )


def saved_bytes(task: LearningTask, count: int) -> int:
    """Bytes that the forward pass of so many examples keeps for the backward pass."""
    device = task.tokens.tokens.device
    index = torch.zeros(count, dtype=torch.long)
    batch = task.examples.fetch({"index": index, "exemplar": index})
    batch |= {
        "noise": torch.zeros(count, *task.examples.shape),
        "time": torch.full((count,), task.noise_schedule.config.num_train_timesteps // 2),
        "other": torch.zeros(count, dtype=torch.bool),
    }
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with autocast(device, "fp32" if device.type == "cpu" else "bf16"):
            task.loss({name: values.to(device) for name, values in batch.items()})
    return sum(kept.values())


def _free(device: torch.device) -> int:
    """Bytes that are free, or that torch holds without using them."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
