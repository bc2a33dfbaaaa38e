"""The templates around edit models of others: a drifting editor in the model's place proves the wiring.

What the editor does to every pixel is undone, what it drew stays: tests/nodes/drifting_editor.
"""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import label

from visual_insertion_pack.devtools.pictures import sheet
from visual_insertion_pack.devtools.workflows import editing
from visual_insertion_pack.pipelines.pictures.files import pil_pictures
from visual_insertion_pack.tests.openraster_files import composite, read

ROOT = Path(__file__).resolve().parents[2]
NAMES = [workflow.name for describe in editing.WORKFLOWS if (workflow := describe()).needs]
SAMPLES = ROOT / "playroom_models" / "samples"


def only(graph, kind):
    (number,) = (number for number, node in graph.items() if node["class_type"] == kind)
    return number


def titled(graph, title):
    (number,) = (number for number, node in graph.items() if node.get("_meta", {}).get("title") == title)
    return number


def needed(graph, *wanted):
    """The nodes that others are made of, by number."""
    numbers = set(wanted)
    while True:
        links = [value for number in numbers for value in graph[number]["inputs"].values() if isinstance(value, list)]
        grown = numbers | {origin for origin, _ in links}
        if grown == numbers:
            return numbers
        numbers = grown


def drifting(name, scene=None):
    """A template's graph with the drifting editor in place of all that is the model's; and its own graph."""
    stored = json.loads((ROOT / "example_workflows" / "api" / f"{name}.json").read_text("utf-8"))
    graph = json.loads(json.dumps(stored))
    editor = {"class_type": "DriftingEditor", "inputs": {"image": [only(graph, "FitForEdit"), 0]}}
    graph[titled(graph, editing.EDITED)] = editor | {"_meta": {"title": editing.EDITED}}
    graph[only(graph, "RestoreScene")]["inputs"].pop("vae", None)  # it went through none
    if scene:
        graph[titled(graph, "Scene")]["inputs"]["image"] = scene
    graph["raw"] = {"class_type": "PreviewImage", "inputs": {"images": [only(graph, "UndoFit"), 0]}}
    graph["any"] = {
        "class_type": "ThresholdMask",
        "inputs": {"mask": graph[titled(graph, "What changed")]["inputs"]["mask"], "value": 0.0},
    }
    graph["effect"] = {"class_type": "MaskPreview", "inputs": {"mask": ["any", 0]}}
    outputs = [only(graph, "SaveImage"), only(graph, "SaveLayers"), titled(graph, "What changed"), "raw", "effect"]
    return {number: node for number, node in graph.items() if number in needed(graph, *outputs)}, stored


def pixels(picture):
    return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [None, (613, 475)], ids=["sample", "an odd size"])
def test_the_scene_stays_whatever_the_editor_does_to_it(name, size, server, tmp_path, artifacts):
    scene = Image.open(SAMPLES / "dollhouse.png").convert("RGB")
    upload = None
    if size:
        scene = scene.resize(size, Image.Resampling.LANCZOS)
        scene.save(tmp_path / "scene.png")
        upload = server.upload("odd_scene.png", (tmp_path / "scene.png").read_bytes())
    graph, _ = drifting(name, upload)
    entry = server.run(graph)

    def picture(number):
        return Image.open(io.BytesIO(server.view(entry["outputs"][number]["images"][0])))

    result, raw = picture(only(graph, "SaveImage")), picture("raw")
    assert result.size == raw.size == scene.size
    effect = picture("effect").convert("L")
    sheet({"scene": scene, "edited": raw, "restored": result, "changed": effect}).save(
        artifacts / f"{name}_{result.width}.png"
    )
    same_raw = (pixels(raw) == pixels(scene)).all(2)
    outside = np.asarray(effect) == 0
    assert same_raw.mean() < 0.1, "the editor drifts"
    assert (pixels(result)[outside] == pixels(scene)[outside]).all()
    assert outside.mean() > 0.85
    red = pixels(result)[..., 0] - pixels(result)[..., 1:].max(2) > 100
    assert 0.005 < (red & ~outside).mean() < 0.05, "the ball is there"

    (layers,) = entry["outputs"][only(graph, "SaveLayers")]["layers"]
    file = server.base / "output" / layers["subfolder"] / layers["filename"]
    size, placed, merged, _ = read(file)
    assert np.abs(pixels(merged) - pixels(result)).max() <= 1  # Save Image cuts to 8 bits, layers are rounded
    assert (pixels(merged)[outside] == pixels(scene)[outside]).all()
    assert np.abs(np.asarray(composite(size, placed)).astype(int)[..., :3] - pixels(merged)).max() <= 1


def test_after_ten_edits_what_none_of_them_touched_is_the_scene(comfy, artifacts):
    from visual_insertion_pack.tests.nodes.drifting_editor import drifted

    scene = torch.from_numpy(pixels(Image.open(SAMPLES / "dollhouse.png"))[None] / 255).float()
    image, raw = scene, scene
    touched = torch.zeros(scene.shape[:3], dtype=torch.bool)
    for number in range(10):
        row, column = divmod(number, 4)
        place = (0.15 + 0.23 * column, 0.2 + 0.3 * row, 0.05)
        raw = drifted(raw, place)
        image, effect, *_ = comfy("RestoreScene", scene=image, edited=drifted(image, place))
        touched |= effect > 0
    pictures = {"scene": scene, "ten edits": raw, "each restored": image}
    sheet({name: pil_pictures(one)[0] for name, one in pictures.items()}).save(artifacts / "ten_edits.png")
    assert torch.equal(image[~touched], scene[~touched])
    assert touched.float().mean() < 0.3
    red = image[..., 0] - image[..., 1:].amax(-1) > 0.4
    assert label(red[0].numpy())[1] >= 10, "all ten balls are there"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_model_sees_is_the_fitted_scene_and_the_object(name):
    """The drifting editor stands for all that lies between Fit for Edit and Undo Fit."""
    graph, stored = drifting(name)
    edited = titled(stored, editing.EDITED)
    assert stored[only(stored, "UndoFit")]["inputs"]["image"] == [edited, 0]
    assert stored[only(stored, "UndoFit")]["inputs"]["fit"] == [only(stored, "FitForEdit"), 2]
    model = needed(stored, edited) - needed(stored, only(stored, "FitForEdit"))
    assert needed(stored, edited) >= {only(stored, "FitForEdit"), titled(stored, "Object")}
    for number in model - {titled(stored, "Object")}:
        assert titled(stored, "Scene") not in [
            value[0] for value in stored[number]["inputs"].values() if isinstance(value, list)
        ]
    assert graph.keys() - {"raw", "any", "effect"} <= stored.keys() - (model - {edited})


@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_others_are_named_with_folder_and_licence(name):
    ui = json.loads((ROOT / "example_workflows" / f"{name}.json").read_text("utf-8"))
    (note,) = (node["widgets_values"][0] for node in ui["nodes"] if node["type"] == "MarkdownNote")
    files = {file.name: file for file in editing.files.EDITOR_FILES}
    offered = [offer for node in ui["nodes"] for offer in node["properties"].get("models", [])]
    loaded = [value for node in ui["nodes"] for value in node.get("widgets_values", []) if value in files]
    assert sorted(offer["name"] for offer in offered) == sorted(loaded)
    assert bool(offered) != ("log in" in note)
    for offer in offered:
        file = files[offer["name"]]
        assert offer == file.offer and file.licence in ("Apache 2.0", "MIT")
        assert f"| `{file.name}` | `{file.folder}` | {file.licence} |" in note


def models(content):
    """Every entry of `models` anywhere in a workflow, subgraphs too: name, url and directory."""
    if isinstance(content, list):
        return [model for part in content for model in models(part)]
    if not isinstance(content, dict):
        return []
    own = content.get("models")
    return [*(own if isinstance(own, list) else []), *models(list(content.values()))]


def test_the_hosts_own_templates_load_the_same_files():
    """Where the package with the host's templates is installed: the same name, address and folder, for every file."""
    templates = pytest.importorskip("comfyui_workflow_templates_json")
    folder = Path(templates.__file__).parent / "templates"
    compared = []
    for name, files in {
        "image_qwen_image_edit_2511": ("QWEN_EDIT", "QWEN_LIGHTNING", "QWEN_VAE"),
        "image_qwen_image_edit_2509": ("QWEN_TEXT", "QWEN_VAE"),
        "image_flux2_klein_image_edit_4b_distilled": ("KLEIN", "KLEIN_TEXT", "KLEIN_VAE"),
    }.items():
        text = (folder / f"{name}.json").read_text("utf-8")
        for file in files:
            offer = getattr(editing.files, file).offer
            assert offer in models(json.loads(text))
            compared.append(getattr(editing.files, file))
    assert set(compared) == set(editing.files.EDITOR_FILES)
