"""The registry's icon and banner are what the playroom's renderer draws, and where pyproject.toml says."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.devtools import registry_pictures

ROOT = Path(__file__).resolve().parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")


@pytest.mark.parametrize(("field", "draw"), [("Icon", registry_pictures.icon), ("Banner", registry_pictures.banner)])
def test_a_picture_of_the_registry_is_the_drawn_one(field, draw):
    (repository,) = re.findall(r'^Repository = "https://github.com/(.+)"$', PROJECT, re.MULTILINE)
    (url,) = re.findall(rf'^{field} = "(.+)"$', PROJECT, re.MULTILINE)
    path = url.removeprefix(f"https://raw.githubusercontent.com/{repository}/main/")
    stored, drawn = (np.asarray(picture, np.int16) for picture in (Image.open(ROOT / path), draw()))
    assert (np.abs(stored - drawn) > 1).mean() < 0.01  # letters differ a little from one FreeType to the next


def test_they_have_the_sizes_that_the_registry_takes():
    width, height = registry_pictures.icon().size
    assert width == height <= 400
    width, height = registry_pictures.banner().size
    assert width * 9 == height * 21
