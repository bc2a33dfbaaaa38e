"""The sample pictures, where the host's Load Image finds them: a template then runs at one click."""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

import folder_paths

from ..pipelines.whole_files import whole, write_text

SAMPLES = Path(__file__).parents[1] / "playroom_models" / "samples"
PREFIX = "visual_insertion_"
KINDS = (".jpg", ".png")
OFFERED = ".visual_insertion_samples"  # in the input folder: the samples that it has had, one name a line


def offer_samples() -> None:
    """Copy the samples into the input folder, each once: what the user deletes stays away, what is there stays."""
    folder = Path(folder_paths.get_input_directory())
    names = sorted(sample.name for sample in SAMPLES.iterdir() if sample.suffix in KINDS)
    offered = _offered(folder)
    try:
        for name in names:
            copy = folder / f"{PREFIX}{name}"
            if name not in offered and not os.path.lexists(copy):  # a link stays too, wherever it leads
                with whole(copy) as part:
                    shutil.copyfile(SAMPLES / name, part)
    except OSError as error:
        logging.getLogger(__name__).warning("The sample pictures cannot be put into the input folder: %s", error)
        return
    if not offered.issuperset(names):
        with suppress(OSError):  # then they are offered anew
            write_text(folder / OFFERED, "\n".join(sorted(offered.union(names))) + "\n")


def _offered(folder: Path) -> set[str]:
    """The names of the samples that this folder has had."""
    try:
        return set((folder / OFFERED).read_text("utf-8", "replace").split())
    except OSError:
        return set()
