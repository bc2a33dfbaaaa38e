"""Public test sets as they come from their publishers, read from a folder on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..cases import Benchmark
from .additing import read_additing
from .additing_affordance import read_additing_affordance
from .any_insertion import read_any_insertion
from .dream_edit_bench import read_dream_edit_bench
from .emu_edit import read_emu_edit_add
from .insert_set import read_insert_set
from .magicbrush import read_magicbrush_add
from .opa import read_opa
from .pipe import read_pipe

READERS: dict[str, Callable[[Path], Benchmark]] = {
    "pipe": read_pipe,
    "magicbrush-add": read_magicbrush_add,
    "opa": read_opa,
    "dreameditbench": read_dream_edit_bench,
    "insert-set": read_insert_set,
    "anyinsertion": read_any_insertion,
    "additing": read_additing,
    "additing-affordance": read_additing_affordance,
    "emuedit-add": read_emu_edit_add,
}
