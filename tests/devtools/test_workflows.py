"""The shipped example workflows as files: each kind of JSON says the same, and it is what the description says."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.devtools import workflows

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "example_workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
NOTES = {"Note", "MarkdownNote"}
EDITING = {describe().name for describe in workflows.editing.WORKFLOWS}  # no model of ours
SEEDLESS = {"place_object"}
SHOWING = {"compare_view"}  # widgets that have nothing to save, but that the host wants a word of
ANYTHING = "*"  # the type of a socket that takes all types
TITLE = 30  # height of a node's title, above its position

every_workflow = pytest.mark.parametrize("name", NAMES)


def read(path):
    return json.loads(path.read_text("utf-8"))


def ui_graph(name):
    return read(FOLDER / f"{name}.json")


def api_graph(name):
    return read(FOLDER / "api" / f"{name}.json")


def working(ui):
    return {str(node["id"]): node for node in ui["nodes"] if node["type"] not in NOTES}


def settings(node):
    """(name, value) of a UI node's widgets; a seed is followed by what happens to it after a run."""
    values = iter(node["widgets_values"])
    for name in (entry["widget"]["name"] for entry in node["inputs"] if "widget" in entry):
        if name in SHOWING:
            continue
        yield name, next(values)
        if name in ("seed", "noise_seed"):
            yield "control_after_generate", next(values)
    assert not list(values)


def strings(value):
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def test_each_workflow_has_its_three_files():
    described = {describe().name for describe in workflows.WORKFLOWS}
    for pattern in ("*.json", "*.jpg", "api/*.json"):
        assert {path.stem for path in FOLDER.glob(pattern)} == described
    assert "insert_object" in described


def test_each_template_that_runs_as_it_is_was_looked_at():
    judgement = read(ROOT / "docs" / "template_judgement.json")
    ready = {workflow.name for describe in workflows.WORKFLOWS if not (workflow := describe()).needs}
    assert judgement.keys() == ready
    for verdict in judgement.values():
        assert isinstance(verdict["keep"], bool) and verdict["why"]


@every_workflow
def test_api_and_ui_graph_agree(name):
    api, ui = api_graph(name), ui_graph(name)
    origins = {link: [str(origin), slot] for link, origin, slot, *_ in ui["links"]}
    nodes = working(ui)
    assert {number: node["class_type"] for number, node in api.items()} == {n: nodes[n]["type"] for n in nodes}
    for number, node in api.items():
        links = {e["name"]: origins[e["link"]] for e in nodes[number]["inputs"] if e.get("link") is not None}
        values = dict(settings(nodes[number]))
        saved = {name: value for name, value in node["inputs"].items() if name not in SHOWING}
        assert saved == links | {name: values[name] for name in saved.keys() - links.keys()}
        assert values.keys() - node["inputs"].keys() <= {"upload", "control_after_generate"}
        assert node["_meta"]["title"] == nodes[number].get("title", node["_meta"]["title"])


@every_workflow
def test_links_are_known_at_both_ends(name):
    ui = ui_graph(name)
    nodes = {node["id"]: node for node in ui["nodes"]}
    for link, origin, output, target, entry, kind in ui["links"]:
        assert link in nodes[origin]["outputs"][output]["links"]
        assert nodes[target]["inputs"][entry]["link"] == link
        assert kind == nodes[origin]["outputs"][output]["type"]
        assert nodes[target]["inputs"][entry]["type"] in (kind, ANYTHING)
    used = [entry["link"] for node in ui["nodes"] for entry in node["inputs"] if entry.get("link") is not None]
    assert sorted(used) == sorted(link[0] for link in ui["links"])
    assert max(nodes) == ui["last_node_id"]


@every_workflow
def test_it_is_what_the_description_says(name):
    (workflow,) = (w for describe in workflows.WORKFLOWS if (w := describe()).name == name)
    api = api_graph(name)
    assert api.keys() == workflow.graph.keys()
    for number, node in workflow.graph.items():
        assert api[number]["class_type"] == node["class_type"]
        assert node["inputs"].items() <= api[number]["inputs"].items()
    assert [n["widgets_values"] for n in ui_graph(name)["nodes"] if n["type"] in NOTES] == [[workflow.note]]


@every_workflow
def test_nodes_and_sockets_exist_in_the_host(name, known_nodes):
    known, api = known_nodes, api_graph(name)
    for node in api.values():
        schema = known[node["class_type"]]
        required, optional = schema["input"].get("required", {}), schema["input"].get("optional", {})
        given = [
            (socket.partition(".")[0], value) for socket, value in node["inputs"].items()
        ]  # of a growing list: a.a0
        assert required.keys() <= dict(given).keys() <= required.keys() | optional.keys()
        for socket, value in given:
            if isinstance(value, list):
                origin, output = value
                kind, *facts = (required | optional)[socket]
                if kind == "COMFY_AUTOGROW_V3":
                    ((kind, *_),) = facts[0]["template"]["input"]["required"].values()
                assert kind in (known[api[origin]["class_type"]]["output"][output], ANYTHING), (
                    node["class_type"],
                    socket,
                )


@every_workflow
def test_it_names_no_place_on_a_machine(name):
    for text in [*strings(ui_graph(name)), *strings(api_graph(name))]:
        assert not Path(text).is_absolute() and ":\\" not in text, text


@every_workflow
def test_seeds_are_fixed(name):
    controls = [v for node in working(ui_graph(name)).values() for key, v in settings(node) if "control" in key]
    assert set(controls) <= {"fixed"} and bool(controls) == (name not in SEEDLESS)


@every_workflow
def test_a_note_tells_what_it_does_and_how_to_get_real_weights(name):
    (note,) = (node["widgets_values"][0] for node in ui_graph(name)["nodes"] if node["type"] in NOTES)
    assert note.startswith("# ")
    if name not in EDITING:  # those name other files, and where each goes
        assert ("weights fetch" if name == "insert_object_real" else "insert_object_real") in note


@every_workflow
def test_nodes_lie_apart_and_inside_their_groups(name):
    def box(node):
        (x, y), (width, height) = node["pos"], node["size"]
        return x, y - TITLE, x + width, y + height

    def apart(a, b):
        return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]

    ui = ui_graph(name)
    nodes = [box(node) for node in ui["nodes"]]
    groups = [(x, y, x + width, y + height) for x, y, width, height in (g["bounding"] for g in ui["groups"])]
    for boxes in (nodes, groups):
        assert all(apart(a, b) for a, b in combinations(boxes, 2))
    for left, top, right, bottom in nodes:
        assert sum(g[0] <= left and g[1] <= top and right <= g[2] and bottom <= g[3] for g in groups) == 1
    assert all(group["title"] for group in ui["groups"])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in EDITING])
def test_weights_are_offered_as_the_manifest_knows_them(name):
    """Those of edit models are none of the manifest's: tests/nodes/test_edit_templates.py."""
    manifest = {weight["file"]: weight for weight in read(ROOT / "weights_manifest.json")["weights"]}
    for node in working(ui_graph(name)).values():
        wanted = [manifest[value] for value in node["widgets_values"] if value in manifest]
        assert node["properties"].get("models", []) == [
            {
                "name": weight["file"],
                "url": "https://huggingface.co/{repository}/resolve/{revision}/{path}".format(**weight),
                "directory": weight["folder"],
            }
            | ({"hash": weight["sha256"], "hash_type": "SHA256"} if weight["sha256"] else {})
            for weight in wanted
        ]
        assert bool(wanted) == ("Load" in node["type"] and node["type"] != "LoadImage")


@every_workflow
def test_the_thumbnail_is_a_small_picture(name):
    path = FOLDER / f"{name}.jpg"
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
        assert 300 <= picture.width <= 450
        assert np.asarray(picture).std() > 10
    assert path.stat().st_size < 60_000


def test_the_samples_are_what_their_seeds_draw():
    folder = ROOT / "playroom_models" / "samples"
    drawn = workflows.samples()
    assert {path.stem for path in folder.glob("*.png")} == drawn.keys()
    for name, picture in drawn.items():
        stored = np.asarray(Image.open(folder / f"{name}.png")).astype(int)
        assert np.abs(stored - np.asarray(picture)).max() <= 1  # another numpy may round the other way


def test_the_photographs_are_free_ones_cut_out():
    folder = ROOT / "playroom_models" / "samples"
    cut = workflows.photographs()
    assert {path.stem for path in folder.glob("*.jpg")} == cut.keys()
    licences = (folder / "README.md").read_text("utf-8")
    for name, picture in cut.items():
        path = folder / f"{name}.jpg"
        stored = np.asarray(Image.open(path)).astype(int)
        assert np.abs(stored - np.asarray(picture)).mean() < 4  # JPEG's loss
        assert path.stat().st_size < 100_000
        assert f"`{path.name}`" in licences


@every_workflow
def test_it_opens_at_a_view_that_can_be_read_and_with_a_form(name):
    ui = ui_graph(name)
    smallest_text = 12  # units, of the host's canvas
    assert ui["extra"]["ds"]["scale"] * smallest_text >= 8
    nodes = working(ui)
    form = ui["extra"]["linearData"]
    widgets = [(nodes[str(number)], widget) for number, widget in form["inputs"]]
    assert all(widget in dict(settings(node)) for node, widget in widgets)
    images = [node["title"] for node, widget in widgets if widget == "image"]
    assert images == [node["title"] for node in nodes.values() if node["type"] == "LoadImage"]
    assert [nodes[str(number)]["type"] for number in form["outputs"]] == ["SaveImage"]
    assert bool([widget for _, widget in widgets if "seed" in widget]) == (name not in SEEDLESS)


@every_workflow
def test_every_command_in_a_note_is_one_line_for_each_kind_of_comfyui(name):
    (note,) = (node["widgets_values"][0] for node in ui_graph(name)["nodes"] if node["type"] in NOTES)
    blocks = note.split("```")[1::2]
    assert all(len(block.strip().splitlines()) == 1 for block in blocks)
    commands = [block.strip() for block in blocks]
    assert bool(commands) == ("weights fetch" in note)
    for command in commands:
        python, _, rest = command.partition(" ")
        assert python in ("python", "python_embeded\\python.exe")
        assert "weights fetch " in rest
    assert len(commands) in (0, 2)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in EDITING])
def test_a_note_says_what_a_download_is_to_be_renamed(name):
    ui = ui_graph(name)
    (note,) = (node["widgets_values"][0] for node in ui["nodes"] if node["type"] in NOTES)
    for node in working(ui).values():
        for weight in node["properties"].get("models", []):
            downloaded = weight["url"].rpartition("/")[2]
            row = f"| `{downloaded}` | `{weight['directory']}/{weight['name']}` |"
            assert (row in note) == (downloaded != weight["name"])


def test_photographs_ask_for_the_small_checkpoint():
    offers = [o for node in ui_graph("insert_object_real")["nodes"] for o in node["properties"].get("models", [])]
    manifest = {weight["file"]: weight for weight in read(ROOT / "weights_manifest.json")["weights"]}
    assert sum(manifest[o["name"]]["bytes"] or manifest[o["name"]]["bytes_approximate"] for o in offers) < 4e9
