"""Every method of the pack, announced in this one place: a new system is one more entry of the list."""

from __future__ import annotations

from .baselines.methods import ExemplarToken, FrozenSwap, IPAdapter, ToldInWords
from .method import Method
from .paint_by_example.method import PaintByExample
from .visual_insertion.method import VisualInsertion

METHODS: list[Method] = [
    VisualInsertion(),  # a configuration that names no method is of the first
    PaintByExample(),
    ToldInWords(),
    FrozenSwap(),
    ExemplarToken(),
    IPAdapter(),
]
