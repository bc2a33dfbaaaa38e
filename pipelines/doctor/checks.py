"""The checks, in the order in which they are told: what the node and the command share, and what each adds."""

from __future__ import annotations

from collections.abc import Iterator

from . import comfyui_run, hardware, model_files, software
from .check import SKIPPED, Check, Examination
from .installation import Installation

IN_COMFYUI = "insertion in ComfyUI"
BY_COMMANDS = "insertion by commands"


def _pairing(installation: Installation) -> Iterator[Check]:
    from .pairing import pairings

    yield from pairings(installation)


def _insertion_by_commands(installation: Installation) -> Iterator[Check]:
    if error := software.import_error("diffusers"):
        yield Check(BY_COMMANDS, SKIPPED, f"the commands insert and paint need diffusers, nodes do not: {error}")
        return
    from .insertion import by_commands

    yield from by_commands(BY_COMMANDS, installation)


def _insertion_in_comfyui(installation: Installation) -> Iterator[Check]:
    yield from comfyui_run.in_comfyui(IN_COMFYUI, installation)


EVERYWHERE: dict[str, Examination] = {
    "pack": software.pack,
    "Python": software.python,
    "system": hardware.system,
    "ComfyUI": software.comfyui,
    "packages": software.packages,
    "device": hardware.devices,
    "models folders": model_files.folders,
    "weights": model_files.weights,
    "pairing": _pairing,
    "disk": hardware.disk,
}
OF_THE_COMMAND: dict[str, Examination] = {
    **EVERYWHERE,
    BY_COMMANDS: _insertion_by_commands,
    IN_COMFYUI: _insertion_in_comfyui,
}
