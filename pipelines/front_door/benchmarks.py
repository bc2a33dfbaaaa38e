"""Benchmarks by their names, from a folder on this machine."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from ..evaluation.benchmarks import READERS
from ..evaluation.cases import Benchmark
from ..playroom.judging.benchmarks import PLAYROOM_READERS

BENCHMARKS = (*PLAYROOM_READERS, *READERS)
JUDGE = Path(__file__).resolve().parents[2] / "playroom_models" / "judge.safetensors"


def read_benchmark(name: str, folder: str | Path | None = None) -> Benchmark:
    """A benchmark of `BENCHMARKS` from the folder with its data; the playroom's need none. One case is read at a time.

    Raises ValueError for a name that is none and a folder that is missing, and what the reader does.

    >>> import visual_insertion_pack as vi
    >>> benchmark = vi.read_benchmark("playroom")
    >>> len(benchmark.names), benchmark.read(0).scene.size
    (256, (128, 128))
    """
    if name not in BENCHMARKS:
        near = get_close_matches(name, BENCHMARKS, 1)
        meant = f"{near[0]} is meant, perhaps; " if near else ""
        raise ValueError(f"There is no benchmark '{name}': {meant}known are {', '.join(BENCHMARKS)}.")
    if name in PLAYROOM_READERS:
        return PLAYROOM_READERS[name](JUDGE)
    if folder is None:
        raise ValueError(f"Where is {name}? Name the folder with its data; docs/evaluation.md says what is in it.")
    return READERS[name](Path(folder))
