"""Toys put into their scenes from many seeds: what the benchmark of choosing chooses among."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..pipelines.playroom.pictures import restored_pictures
from ..pipelines.playroom.world.dataset import Arrays, render_arrays
from ..pipelines.sampling.guidance import Guidance
from ..pipelines.sampling.schedulers import karras_sigmas
from ..pipelines.visual_insertion.pipeline import VisualInsertionPipeline

BATCH = 16  # pictures in one run
STEPS = 6  # karras, ancestral Euler: on the playroom no worse than 20 of the host's "normal" ones
SEEDS_APART = 1000  # between the first seeds of two cases


@dataclass(frozen=True)
class Cases:
    """Scenes and objects of the playroom, and what the pipeline is told of them."""

    pipe: VisualInsertionPipeline
    truth: Arrays
    restored: np.ndarray  # uint8 [N,H,W,3], the scenes as the VAE alone gives them back
    contexts: Tensor  # [N,T,D]
    null: Tensor  # [1,T,D]

    @classmethod
    def of(cls, pipe: VisualInsertionPipeline, seeds: range) -> Cases:
        """The cases of these seeds of the playroom."""
        truth = render_arrays(seeds, views=1)
        pictures = torch.from_numpy(truth["objects"][:, 0]).float() / 255
        contexts, null = pipe.contexts(pictures, views="separate")
        return cls(pipe, truth, restored_pictures(pipe.pipeline.vae, truth["scene"]), contexts, null[:1])

    def __len__(self) -> int:
        return len(self.contexts)

    def scenes(self) -> Tensor:
        """[N,H,W,3] in 0..1."""
        return torch.from_numpy(self.truth["scene"]).float() / 255

    def insert(
        self, candidate: int, guidance: Guidance, *, steps: int = STEPS, stop_after: int | None = None
    ) -> np.ndarray:
        """uint8 pictures [N,H,W,3] of one candidate of every case.

        With `stop_after` what the model predicts of the clean picture after so many steps of the same run.
        """
        sigmas = karras_sigmas(self.pipe.levels, steps)
        if stop_after is not None:  # a step to no noise at all lands on the prediction
            sigmas = torch.cat([sigmas[:stop_after], sigmas[-1:]])
        scenes = self.scenes()
        pictures = []
        for start in tqdm(range(0, len(self), BATCH), f"candidate {candidate}", unit="batch"):
            part = slice(start, start + BATCH)
            seeds = [SEEDS_APART * (start + number) + candidate for number in range(len(scenes[part]))]
            made = self.pipe.sample(
                scenes[part],
                self.contexts[part],
                self.null.expand(len(seeds), -1, -1),
                guidance,
                steps=steps,
                seed=seeds,
                sigmas=sigmas,
            )
            pictures.append((made.images * 255).round().byte().numpy())
        return np.concatenate(pictures)
