"""The blueprints in the real host: served by it, and run as one node would be."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.devtools.host import MOUNT

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "subgraphs"
TITLES = sorted(path.stem for path in FOLDER.glob("*.json"))
INPUTS = -10
SCENE = {"class_type": "LoadImage", "inputs": {"image": "visual_insertion_scene.png"}}
OBJECT = {"class_type": "LoadImage", "inputs": {"image": "visual_insertion_object.png"}}
BOX = {"class_type": "BoxToMask", "inputs": {"image": ["scene", 0], "x": 40, "y": 30, "width": 50, "height": 50}}
PASTED = {
    "class_type": "ImageCompositeMasked",
    "inputs": {"destination": ["scene", 0], "source": ["small", 0], "x": 40, "y": 20, "resize_source": False},
}
SMALL = {
    "class_type": "ImageScale",
    "inputs": {"image": ["object", 0], "upscale_method": "area", "width": 40, "height": 40, "crop": "disabled"},
}
AROUND = {"scene": SCENE, "object": OBJECT, "images": SCENE, "mask": BOX, "small": SMALL, "edited": PASTED}
EDITING = [title for title in TITLES if not title.startswith("Learn") and "photographs" not in title]


def read(title):
    return json.loads((FOLDER / f"{title}.json").read_text("utf-8"))


def settings(node):
    """(name, value) of a node's widgets; a seed is followed by what happens to it after a run."""
    values = iter(node["widgets_values"])
    for name in (entry["widget"]["name"] for entry in node["inputs"] if "widget" in entry):
        yield name, next(values)
        if name == "seed":
            next(values)


def flattened(subgraph):
    """The graph in API format that the front end makes of a node of this blueprint, with pictures at its inputs."""
    origins = {link["id"]: (link["origin_id"], link["origin_slot"]) for link in subgraph["links"]}
    graph = {name: dict(node) for name, node in AROUND.items()}
    for node in subgraph["nodes"]:
        inputs = dict(settings(node))
        for entry in node["inputs"]:
            if entry.get("link") is None:
                continue
            origin, slot = origins[entry["link"]]
            if origin != INPUTS:
                inputs[entry["name"]] = [str(origin), slot]
            elif "widget" not in entry:
                inputs[entry["name"]] = [subgraph["inputs"][slot]["name"], 0]
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    for entry in subgraph["outputs"]:
        origin, slot = origins[entry["linkIds"][0]]
        shows = {
            "image": ("PreviewImage", "images"),
            "preview": ("PreviewImage", "images"),
            "changed": ("MaskPreview", "mask"),
        }.get(entry["name"])
        if shows:
            kind, socket = shows
            graph[entry["name"]] = {"class_type": kind, "inputs": {socket: [str(origin), slot]}}
    return graph


def test_the_host_serves_every_blueprint_as_it_is_on_the_disk(server):
    served = server.get("/global_subgraphs")
    ours = {
        entry["name"]: key for key, entry in served.items() if entry["info"]["node_pack"] == f"custom_nodes.{MOUNT}"
    }
    assert sorted(ours) == TITLES
    for title, key in ours.items():
        assert json.loads(server.get(f"/global_subgraphs/{key}")["data"]) == read(title)


@pytest.mark.parametrize("title", TITLES)
def test_nodes_and_sockets_exist_in_the_host(title, server):
    known = server.object_info()
    (subgraph,) = read(title)["definitions"]["subgraphs"]
    for node in flattened(subgraph).values():
        schema = known[node["class_type"]]
        required, optional = schema["input"].get("required", {}), schema["input"].get("optional", {})
        assert required.keys() <= node["inputs"].keys() <= required.keys() | optional.keys()


def pixels_of(server, entry, number):
    picture = Image.open(io.BytesIO(server.view(entry["outputs"][number]["images"][0])))
    return np.asarray(picture.convert("RGB")).astype(int)


def sample(name):
    return np.asarray(Image.open(ROOT / "playroom_models" / "samples" / name).convert("RGB")).astype(int)


def test_what_was_learned_is_painted_into_its_own_picture(server):
    (subgraph,) = read("Learn an Object (toys)")["definitions"]["subgraphs"]
    graph = flattened(subgraph)
    (learning,) = (node for node in graph.values() if node["class_type"] == "LearnObject")
    learning["inputs"]["steps"] = 3
    entry = server.run(graph)
    change = np.abs(pixels_of(server, entry, "preview") - sample("scene.png")).max(-1)
    box = np.zeros(change.shape, bool)
    box[30:80, 40:90] = True  # of BOX
    assert change[box].mean() > 3 * change[~box].mean()


@pytest.mark.parametrize("title", EDITING)
def test_it_changes_a_part_of_the_scene_and_no_bit_of_the_rest(title, server):
    (subgraph,) = read(title)["definitions"]["subgraphs"]
    entry = server.run(flattened(subgraph))
    changed = np.abs(pixels_of(server, entry, "image") - sample("scene.png")).max(-1)
    outside = pixels_of(server, entry, "changed").max(-1) == 0
    assert 0.01 < (changed > 24).mean() < 0.3
    assert (changed[outside] > 1).sum() == 0  # an effect of less than half a step of the preview is black there
    assert 0.5 < outside.mean() < 0.99
