"""Whether the training step can be compiled here, found out in a process of its own.

A compiler that fails, or hangs, takes only that process with it, and what it has made lies in torch's cache on the disk
when the training starts.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

import torch

from .columns import Scenes
from .models import Networks, Size
from .scenes import render_arrays
from .tokenizer import read_words
from .training import Trainer, TrainingData

PICTURES = 8
CHANNELS = 16


def invented_data(channels: int, device: torch.device) -> TrainingData:
    """A few scenes with latents and vision tokens of noise."""
    scenes = Scenes.of(render_arrays(range(PICTURES), least=1), device)
    latents = torch.randn(PICTURES, channels, 16, 16, device=device).half()
    vision = torch.randn(len(scenes.view), 65, 128, device=device).half()
    return TrainingData(scenes, latents, latents, vision)


def compile_step(batch: int, size: Size, device: str) -> None:
    """Compile the step for batches of this size, and take it."""
    words = read_words()
    networks = Networks(CHANNELS, words.count, words.end, size)
    Trainer(networks, invented_data(CHANNELS, torch.device(device)), batch=batch, compiled=True).try_once()


def start(batch: int, size: Size, device: str) -> Any:
    """The process that tries; hand it to `succeeds` when the answer is needed."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=compile_step, args=(batch, size, device), daemon=True)
    process.start()
    return process


def succeeds(process: Any, patience: float) -> bool:
    """Whether the process has compiled the step, waited for no longer than so many seconds."""
    process.join(max(0.0, patience))
    if process.is_alive():
        process.kill()
        process.join(5)
        return False
    return process.exitcode == 0
