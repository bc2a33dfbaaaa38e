"""The sample pictures, where the host's Load Image finds them: a template then runs at one click."""

import logging
import shutil
from pathlib import Path

import folder_paths

SAMPLES = Path(__file__).parents[1] / "playroom_models" / "samples"
PREFIX = "visual_insertion_"


def offer_samples() -> None:
    """Copy the samples into the input folder; a picture that is there already stays as it is."""
    folder = Path(folder_paths.get_input_directory())
    for sample in sorted(SAMPLES.glob("*.png")):
        offered = folder / f"{PREFIX}{sample.name}"
        try:
            if not offered.exists():
                shutil.copyfile(sample, offered)
        except OSError as error:
            logging.getLogger(__name__).warning("The sample pictures cannot be put into the input folder: %s", error)
            return
