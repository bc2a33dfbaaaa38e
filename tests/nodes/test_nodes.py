"""The nodes as others see them: sockets, texts, help pages, translations."""

import json
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import numpy as np
import pytest
import torch
from PIL import Image

from visual_insertion_pack.devtools import locales
from visual_insertion_pack.devtools.host import MOUNT

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "tests" / "schemas.json"
NODES = [
    "ObjectImageEncode",
    "EmbeddingOptimizerLoader",
    "EmbeddingOptimizer",
    "GuidanceControl",
    "ImageConditionedPix2PixSampler",
    "ImageConditionedPix2PixGuider",
    "SceneDecode",
    "PlayroomModels",
    "Pix2PixUNetLoader",
    "LocalRegionCrop",
    "LocalRegionPaste",
    "BoxToMask",
    "ArbitraryMask",
    "PaintByExampleLoader",
    "PaintByExampleEncode",
    "PaintByExampleConditioning",
    "PaintByExamplePlayroomModels",
    "RestoreScene",
    "SplitLayers",
    "SaveLayers",
    "PlaceObject",
    "FitForEdit",
    "UndoFit",
    "VisualInsertionDoctor",
    "InsertionModels",
    "PlayroomFlux",
    "PlayroomPictureWords",
    "AddItPrompt",
    "AddItPictureSubject",
    "AddItAttention",
    "AddItSubject",
    "AddItBlend",
    "AddItSampler",
    "LearnObject",
    "ApplyObject",
    "GuidanceSweep",
    "BestOf",
    "ApplyStudent",
]
HOST_LISTS = {"sampler_name", "scheduler", "name"}  # combos filled by the host or from its folders
PROMISED = ("optional", "default", "min", "max", "step", "options", "advanced", "control_after_generate")

direct = build_opener(ProxyHandler({})).open


@pytest.fixture(scope="module")
def schemas(comfy):
    return {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in locales.our_nodes()}


def sockets(schema):
    """What saved workflows and API clients rely on."""

    def describe(item):
        given = item.as_dict()
        settings = {name: given[name] for name in PROMISED if name in given}
        if item.id in HOST_LISTS:
            settings["options"] = "the host's"
        return {"id": item.id, "type": item.get_io_type(), **settings}

    return {
        "inputs": [describe(item) for item in schema.inputs],
        "outputs": [{"name": item.display_name, "type": item.get_io_type()} for item in schema.outputs],
    }


def test_sockets_are_a_promise(schemas, artifacts):
    found = {name: sockets(schema) for name, schema in schemas.items()}
    now = artifacts / "schemas.json"
    now.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    assert found == json.loads(SCHEMAS.read_text("utf-8")), (
        "The nodes' sockets are not those of tests/schemas.json. Saved workflows and scripts know inputs by id and by "
        "order: do not rename, retype, reorder or remove any, and do not change a default. A new input is optional and "
        f"comes last; a new output comes last. If the change keeps that promise, copy {now} to {SCHEMAS}."
    )


def test_the_nodes_of_the_interface_are_there(schemas):
    assert list(schemas) == NODES


@pytest.mark.parametrize("name", NODES)
def test_every_text_a_user_needs_is_there(schemas, name):
    schema = schemas[name]
    assert schema.display_name and schema.description and schema.category == "visual insertion"
    assert [item.id for item in schema.inputs if not item.tooltip] == []
    assert [item.display_name for item in schema.outputs if not (item.display_name and item.tooltip)] == []


@pytest.mark.parametrize("name", NODES)
def test_required_widgets_come_first(schemas, name):
    """The host lists required inputs before optional ones, and saved workflows hold widget values by position."""
    optional = [item.optional for item in schemas[name].inputs if hasattr(item, "default")]
    assert optional == sorted(optional)


def described(page):
    """The inputs and outputs of a help page's lists, by name: their lines."""
    return {line.split("`")[1]: line for line in page.splitlines() if line.startswith("- `")}


@pytest.mark.parametrize("name", NODES)
def test_every_node_has_a_help_page_that_names_its_sockets(schemas, name):
    schema = schemas[name]
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text("utf-8")
    assert page.startswith(f"# {schema.display_name}\n")
    names = [item.id for item in schema.inputs] + [item.display_name for item in schema.outputs]
    assert [name for name in names if name not in described(page)] == []


@pytest.mark.parametrize("name", ["ObjectImageEncode", "PaintByExampleEncode", "PlaceObject"])
def test_help_and_tooltip_say_that_load_image_inverts_its_mask(schemas, name):
    (mask,) = [item for item in schemas[name].inputs if item.id == ("object_mask" if name == "PlaceObject" else "mask")]
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text("utf-8")
    assert "**Invert Mask**" in page and "**inverted**" in page
    assert "Load Image's mask of a cut-out" in mask.tooltip and "Invert Mask" in mask.tooltip
    if name != "PlaceObject":
        assert "background = auto turns it" in mask.tooltip


@pytest.fixture
def cut_out(comfy):
    """A cut-out as Load Image gives it, (IMAGE, MASK), and as a file has it, [1,H,W,4] in 0..1."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 4), np.uint8)
    pixels[..., 3] = 0
    pixels[20:70, 30:80, 3] = 255
    Image.fromarray(pixels).save(comfy.base / "input" / "cutout.png")
    image, mask = comfy("LoadImage", image="cutout.png")
    return image, mask, torch.from_numpy(pixels.astype(np.float32) / 255)[None]


@pytest.mark.parametrize("background", ["mean", "auto"])
def test_a_cut_out_of_load_image_is_seen_right_through_invert_mask_and_by_auto_as_it_comes(comfy, cut_out, background):
    image, mask, whole = cut_out
    clip_vision = comfy("PlayroomModels")[2]
    given = mask if background == "auto" else comfy("InvertMask", mask=mask)[0]
    seen, expected = (
        comfy("ObjectImageEncode", clip_vision=clip_vision, background=background, **inputs)[0]["last_hidden_state"]
        for inputs in (dict(image=image, mask=given), dict(image=whole))
    )
    assert torch.allclose(seen, expected, atol=1e-5)


def test_an_api_graph_without_a_background_keeps_it(comfy, cut_out):
    image, mask, _ = cut_out
    clip_vision = comfy("PlayroomModels")[2]
    seen, kept = (
        comfy("ObjectImageEncode", clip_vision=clip_vision, image=image, mask=mask, **inputs)[0]["last_hidden_state"]
        for inputs in ({}, {"background": "keep"})
    )
    assert torch.equal(seen, kept)


@pytest.mark.parametrize("name", NODES)
def test_a_help_page_states_ranges_and_defaults_as_they_are(schemas, name):
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text("utf-8")
    rows = described(page)
    for item in schemas[name].inputs:
        settings = item.as_dict()
        if "min" in settings and settings["max"] <= 1000:
            assert f"{settings['min']:g} to {settings['max']:g}" in rows[item.id], item.id
        if "options" in settings and item.id not in HOST_LISTS:
            assert [option for option in settings["options"] if option not in rows[item.id]] == []
        if "default" in settings:
            default = settings["default"]
            shown = ("on" if default else "off") if isinstance(default, bool) else default
            shown = f"{shown:g}" if isinstance(shown, float) else str(shown) or "empty"
            assert f"**{shown}**" in rows[item.id], item.id


def test_no_help_page_is_left_over():
    assert {path.stem for path in (ROOT / "web" / "docs").glob("*.md")} == set(NODES)


def test_the_server_offers_help_pages_and_texts(server):
    texts = server.get("/i18n")
    for language in ("en", *locales.LANGUAGES):
        assert set(NODES) <= set(texts[language]["nodeDefs"])
    for name in NODES:
        with direct(f"{server.url}/extensions/{MOUNT}/docs/{name}.md") as reply:
            assert reply.headers.get_content_type() != "text/html"
            page = reply.read().decode("utf-8")
        assert page == (ROOT / "web" / "docs" / f"{name}.md").read_text("utf-8")
        with direct(f"{server.url}/extensions/{MOUNT}/docs/pictures/{name}.webp") as reply:
            assert reply.read() == (ROOT / "web" / "docs" / "pictures" / f"{name}.webp").read_bytes()
