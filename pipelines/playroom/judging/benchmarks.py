"""The playroom's benchmarks by their names; each is read with the file of the trained judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...evaluation.cases import Benchmark
from .benchmark import playroom
from .few_shot import playroom_objects

PLAYROOM_READERS: dict[str, Callable[[Path], Benchmark]] = {
    "playroom": playroom,
    "playroom-objects": playroom_objects,
}
