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
    assert [item.id for item in schema.outputs if not item.display_name] == []


@pytest.mark.parametrize("name", NODES)
def test_required_widgets_come_first(schemas, name):
    """The host lists required inputs before optional ones, and saved workflows hold widget values by position."""
    optional = [item.optional for item in schemas[name].inputs if hasattr(item, "default")]
    assert optional == sorted(optional)


@pytest.mark.parametrize("name", NODES)
def test_every_node_has_a_help_page_that_names_its_sockets(schemas, name):
    schema = schemas[name]
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text("utf-8")
    assert page.startswith(f"# {schema.display_name}\n")
    names = [item.id for item in schema.inputs] + [item.display_name for item in schema.outputs]
    assert [name for name in names if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("name", ["ObjectImageEncode", "PaintByExampleEncode", "PlaceObject"])
def test_help_and_tooltip_say_that_load_image_inverts_its_mask(schemas, name):
    (mask,) = [item for item in schemas[name].inputs if item.id == ("object_mask" if name == "PlaceObject" else "mask")]
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text("utf-8")
    assert "**Invert Mask**" in page and "**inverted**" in page
    assert "Load Image's mask of a cut-out" in mask.tooltip and "Invert Mask" in mask.tooltip


def test_a_cut_out_of_load_image_is_seen_right_through_invert_mask(comfy):
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 4), np.uint8)
    pixels[..., 3] = 0
    pixels[20:70, 30:80, 3] = 255
    Image.fromarray(pixels).save(comfy.base / "input" / "cutout.png")
    image, mask = comfy("LoadImage", image="cutout.png")
    clip_vision = comfy("PlayroomModels")[2]
    inverted = comfy("InvertMask", mask=mask)[0]
    whole = torch.from_numpy(pixels.astype(np.float32) / 255)[None]
    seen, expected = (
        comfy("ObjectImageEncode", clip_vision=clip_vision, background="mean", **inputs)[0]["last_hidden_state"]
        for inputs in (dict(image=image, mask=inverted), dict(image=whole))
    )
    assert torch.allclose(seen, expected, atol=1e-5)


@pytest.mark.parametrize("name", NODES)
def test_a_help_page_states_ranges_and_defaults_as_they_are(schemas, name):
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text("utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in page.splitlines() if line.startswith("| `")}
    for item in schemas[name].inputs:
        settings = item.as_dict()
        if "min" in settings and settings["max"] <= 1000:
            assert f"{settings['min']:g} to {settings['max']:g}" in rows[item.id], item.id
        if "options" in settings and item.id not in HOST_LISTS:
            assert [option for option in settings["options"] if option not in rows[item.id]] == []
        if "default" in settings:
            default = settings["default"]
            shown = ("on" if default else "off") if isinstance(default, bool) else default
            shown = f"{shown:g}" if isinstance(shown, float) else str(shown)
            assert f"**{shown}**" in rows[item.id], item.id


def test_no_help_page_is_left_over():
    assert {path.stem for path in (ROOT / "web" / "docs").glob("*.md")} == set(NODES)


def test_english_texts_are_those_of_the_schemas(schemas):
    assert locales.ENGLISH.read_text("utf-8") == locales.node_definitions(), (
        "a text changed: run `python devtools/pack.py devtools.locales` in the development environment"
    )


def test_no_text_holds_what_the_translation_syntax_takes_for_a_command(schemas):
    """Braces, @, | and $ mean something in the front end's message format."""
    texts = json.loads(locales.ENGLISH.read_text("utf-8"))
    shown = [text for node in texts.values() for text in (node["display_name"], node["description"])]
    shown += [part["tooltip"] for node in texts.values() for part in node["inputs"].values()]
    assert [text for text in shown if set(text) & set("{}@|$")] == []


def test_the_server_offers_help_pages_and_texts(server):
    texts = server.get("/i18n")["en"]["nodeDefs"]
    assert set(NODES) <= set(texts)
    for name in NODES:
        with direct(f"{server.url}/extensions/{MOUNT}/docs/{name}.md") as reply:
            assert reply.headers.get_content_type() != "text/html"
            page = reply.read().decode("utf-8")
        assert page == (ROOT / "web" / "docs" / f"{name}.md").read_text("utf-8")
