"""Runs of a teacher made ready to learn from: in files, once, resumable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....sampling.guidance import Guidance
from ....training.columns import Progress, Shards, encoded_shard
from ....training.encodings import note_use
from ...training.insertion_task import EncodedTriplets
from .config import Scales
from .runs import Predict, Runs, Teacher, guided_run, smooth_run, spread_times

SHARD = 32  # runs in a file, sampled together


@dataclass(frozen=True)
class RunMaker:
    """Samples runs: guided ones of a teacher or, with `student`, smooth ones of a student."""

    unet: Any
    null: Tensor
    contexts: Callable[[Tensor], Tensor]  # vision tokens [B,T,D] (float, on the UNet's device) -> contexts
    triplets: EncodedTriplets
    levels: Tensor  # [T] sigmas of the training steps
    velocity: bool
    scales: Scales
    recommended: Guidance
    steps: int
    seed: int
    times: Tensor | None = None  # [S] of smooth runs
    student: Callable[[Tensor, Tensor], Tensor] | None = None  # contexts, scales -> contexts that ask for the scales

    def triplet_of(self, run: int) -> int:
        return run % len(self.triplets)

    @torch.no_grad()
    def make(self, rows: range) -> dict[str, Tensor]:
        """The columns of these runs; the same for the same rows, whatever was made before."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + rows.start)
        device = self.unet.device
        index = torch.tensor([self.triplet_of(row) for row in rows])
        variant = torch.tensor([row // len(self.triplets) for row in rows]) % self.triplets.target.shape[1]
        batch = self.triplets.fetch({"index": index, "variant": variant, "view": torch.zeros_like(index)})
        scene = batch["scene"].to(device)
        context = self.contexts(batch["features"].to(device))
        scales = draw_scales(len(rows), self.scales, self.recommended, generator)
        shape = tuple(batch["scene"].shape)
        columns = {"scene": batch["scene"].half(), "context": context.half().cpu(), "scales": scales}
        if self.student is None:
            teacher = Teacher(self.unet, self.null)
            predict = self._on_device(lambda x, t: teacher(x, t, scene, context, scales.to(device)))
            times = spread_times(self.steps, len(self.levels), generator)
            latents, outputs = guided_run(
                predict, times, self.levels, shape, self.velocity, generator, ancestral=rows.start // SHARD % 2 == 1
            )
            columns |= {"latent": latents.half(), "output": outputs.half()}
        else:
            assert self.times is not None
            asking = self.student(context, scales.to(device))
            predict = self._on_device(lambda x, t: self.unet(torch.cat([x, scene], 1), t, asking).sample.float())
            times = self.times
            columns["latent"] = smooth_run(predict, times, self.levels, shape, self.velocity, generator)
        return columns | {"time": times.expand(len(rows), -1).contiguous()}

    def _on_device(self, predict: Predict) -> Predict:
        device = self.unet.device
        return lambda latent, time: predict(latent.to(device), time.to(device)).cpu()

    def read(self, folder: Path, count: int, data: str, progress: Progress | None = None) -> Runs:
        """So many runs from their files in a folder; what is missing there is made first.

        Raises OSError for a full disk.
        """
        folder.mkdir(parents=True, exist_ok=True)
        shards = []
        for start in range(0, count, SHARD):
            rows = range(start, min(start + SHARD, count))
            path = folder / f"{start:09d}-{len(rows)}.safetensors"
            shards.append(encoded_shard(path, partial(self.make, rows)))
            if progress:
                progress(rows.stop, count)
        note_use(folder, data, count)
        return Runs(**{name: Shards([shard[name] for shard in shards]) for name in shards[0]})


def draw_scales(count: int, scales: Scales, recommended: Guidance, generator: torch.Generator) -> Tensor:
    """[count,2] object and scene scales: some near the recommended, the others anywhere."""
    drawn = torch.empty(count, 2)
    near = torch.rand(count, generator=generator) < scales.near
    for n, term in enumerate(("object_scale", "scene_scale")):
        low, high = getattr(scales, term)
        anywhere = low + (high - low) * torch.rand(count, generator=generator)
        away = (2 * torch.rand(count, generator=generator) - 1) * scales.nearness
        drawn[:, n] = torch.where(near, getattr(recommended, term) * (1 + away), anywhere).clamp(low, high)
    return drawn


def split(runs: Runs, held_out: Tensor) -> tuple[Runs, Runs]:
    """Runs that are learned from, and those of the triplets that are held out, a mask [N]."""
    kept, held = (torch.nonzero(mask).flatten() for mask in (~held_out, held_out))

    def rows(index: Tensor) -> Runs:
        columns = {name: column for name, column in vars(runs).items() if column is not None}
        return Runs(**{name: _Rows(column, index) for name, column in columns.items()})  # pyright: ignore

    return rows(kept), rows(held)


class _Rows:
    """Some rows of a column, as a column."""

    def __init__(self, column: Any, index: Tensor):
        self.column = column
        self.index = index
        self.shape = torch.Size((len(index), *column.shape[1:]))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Tensor | tuple[Tensor, ...]) -> Tensor:
        first, *rest = key if isinstance(key, tuple) else (key,)
        return self.column[(self.index[first], *rest)]
