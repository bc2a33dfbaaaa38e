"""The nodes' help pages: each has a picture of what its node does, and fits into the front end's side panel."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "web" / "docs"
NODES = sorted(json.loads((ROOT / "tests" / "schemas.json").read_text("utf-8")))
PICTURE = re.compile(r"!\[(.*?)\]\((.*?)\)")


def page(node):
    return (PAGES / f"{node}.md").read_text("utf-8")


def test_every_page_is_of_a_node():
    assert sorted(path.stem for path in PAGES.glob("*.md")) == NODES


@pytest.mark.parametrize("node", NODES)
def test_a_page_has_its_own_picture_and_says_what_is_in_it(node):
    ((words, path),) = PICTURE.findall(page(node))
    assert path == f"pictures/{node}.webp"
    assert len(words.split()) > 5 and words.endswith(".")


@pytest.mark.parametrize("node", NODES)
def test_a_picture_is_small_and_of_the_sheets_width(node):
    from visual_insertion_pack.devtools.help_pictures.layout import WIDTH

    path = PAGES / "pictures" / f"{node}.webp"
    with Image.open(path) as picture:
        assert picture.width == WIDTH and picture.height <= 2 * WIDTH
    assert path.stat().st_size < 45_000


@pytest.mark.parametrize("node", NODES)
def test_no_table_has_more_than_two_columns_and_no_cell_is_long(node):
    rows = [line.strip().strip("|").split("|") for line in page(node).splitlines() if line.startswith("|")]
    assert all(len(row) == 2 for row in rows)
    assert all(len(cell) < 80 for row in rows for cell in row)


@pytest.mark.parametrize("node", NODES)
def test_a_page_refers_to_no_missing_file(node):
    targets = re.findall(r"\]\(([^)]+)\)", page(node))
    files = [target for target in targets if not re.match(r"https?:|#", target)]
    assert files and all((PAGES / file).is_file() for file in files)


def test_the_command_knows_every_page():
    from visual_insertion_pack.devtools.help_pictures.drawn import DRAWN
    from visual_insertion_pack.devtools.help_pictures.front_end import SHOWN

    assert sorted([*DRAWN, *SHOWN]) == NODES
    stored = {path.stem for path in (PAGES / "pictures").glob("*.webp")}
    assert stored == set(NODES)


@pytest.mark.parametrize("node", ["BoxToMask", "FitForEdit", "PlaceObject"])
def test_a_picture_is_what_the_node_makes(node, comfy):
    from visual_insertion_pack.devtools.help_pictures.drawn import DRAWN
    from visual_insertion_pack.devtools.help_pictures.workshop import Workshop

    drawn = DRAWN[node](Workshop(comfy))
    stored = Image.open(PAGES / "pictures" / f"{node}.webp").convert("RGB")
    assert stored.size == drawn.size
    difference = np.abs(np.asarray(stored, np.int16) - np.asarray(drawn, np.int16))
    assert difference.mean() < 5  # of 255: lossy, and letters differ a little from one FreeType to the next
