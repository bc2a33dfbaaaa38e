"""Every method of the pack, announced in this one place: a new system is one more entry of the list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .add_it.method import AddIt
from .baselines.methods import ExemplarToken, FrozenSwap, IPAdapter, ToldInWords
from .method import Method
from .object_representation.method import LearnsObjects
from .paint_by_example.method import PaintByExample
from .visual_insertion.distillation.method import Distilled
from .visual_insertion.method import VisualInsertion

if TYPE_CHECKING:
    import torch

    from .add_it.pipeline import AddItPipeline


def load_add_it(folder: Path, device: torch.device, dtype: torch.dtype) -> AddItPipeline:
    """Add-it on a FLUX folder, or on the playroom's, which says words by pictures.

    Raises FileNotFoundError, or ValueError naming what is wrong.
    """
    if (folder / "picture_words.safetensors").is_file():
        from .playroom.add_it.toy_model import toy_pipeline

        return toy_pipeline(folder, device)
    from .add_it.pipeline import AddItPipeline

    return AddItPipeline.from_folder(folder, device, dtype)


METHODS: list[Method] = [
    VisualInsertion(),  # a configuration that names no method is of the first
    PaintByExample(),
    PaintByExample("paint_by_example_views", "concatenate", training=None),
    Distilled(),
    LearnsObjects(),
    AddIt(load_add_it),
    ToldInWords(),
    FrozenSwap(),
    ExemplarToken(),
    IPAdapter(),
]
