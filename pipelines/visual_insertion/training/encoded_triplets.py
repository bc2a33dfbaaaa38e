"""Triplets in the form the loss needs: latents and vision tokens, in memory or mapped from files."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ...training.columns import Column


@dataclass
class EncodedTriplets:
    """A data set of N triplets, each in `variants` crops and flips, with pictures of the object from `views`."""

    target: Column  # [N,variants,C,h,w] latents of the scene with the object, times the VAE's scaling factor
    scene: Column  # [N,variants,C,h,w] latents of the scene, the VAE's mode, not scaled
    features: Column | None  # [N,views,T,D] vision tokens of the object's pictures; None: they are seen in training
    region: Column  # [N,variants,1,h,w] bool: cells the object or its shadow touches
    details: Column | None = None  # [N,views,S,E] tokens of a second encoder
    labels: dict[str, Tensor] = field(default_factory=dict)  # what an auxiliary loss wants, indexed like the rest

    def __len__(self) -> int:
        return len(self.target)
