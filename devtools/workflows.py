"""The example workflows out of one description: API graph, UI graph and thumbnail, and the samples they start with.

    python devtools/pack.py devtools.workflows [--thumbnails]

The host's own front end, in a Chromium without a window, turns each description into both kinds of JSON; we say where
the nodes lie. Thumbnails are what the graphs really make: regenerate them whenever the playroom models change.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from .environment import find_host
from .host import Host
from .pack import ROOT, Modules, load_pack

FOLDER = ROOT / "example_workflows"
SAMPLES = ROOT / "playroom_models" / "samples"

# What every workflow uses; nothing else in this file repeats it.
SEED, STEPS, SAMPLER, SCHEDULER = 1, 20, "euler_ancestral", "normal"
PLAYROOM_SCALES = {"object_scale": 3.0, "scene_scale": 1.2}
REAL_SCALES = {"object_scale": 7.5, "scene_scale": 1.5}
REAL_WEIGHTS = ("instruct-pix2pix", "clip-vit-large-patch14", "embedding-optimizer-original")  # ids in the manifest

# Triplets that no model was trained on.
SCENE, OBJECT, OBJECT2 = 900_001_871, 900_001_625, 900_001_605

REAL_HINT = """
## Photographs
The toy models have seen drawn rooms and toys only. For photographs open *insert_object_real*: it names the files, and
`python -m pipelines weights fetch` in the pack's folder gets them. In this graph, put its three loaders where
**Playroom Models** is, and set the scales to 7.5 and 1.5."""


# describing


@dataclass
class Group:
    title: str
    colour: str
    columns: list[list[str]] = field(default_factory=lambda: [[]])


@dataclass
class Node:
    number: str

    def __getitem__(self, slot: int) -> list:
        return [self.number, slot]


class Workflow:
    """A graph in API format, and its groups: stacks of them from left to right, columns of nodes in each."""

    def __init__(self, name: str, note: str):
        self.name, self.note = name, note.strip()
        self.graph: dict[str, Any] = {}
        self.stacks: list[list[Group]] = []
        self.models: dict[str, dict] = {}  # download metadata of a node

    def group(self, title: str, colour: str, below: bool = False) -> None:
        """The nodes added from here on lie in a new group: right of the last, or below it."""
        if not below:
            self.stacks.append([])
        self.stacks[-1].append(Group(title, colour))

    def column(self) -> None:
        self.stacks[-1][-1].columns.append([])

    def add(self, kind: str, title: str = "", **inputs: Any) -> Node:
        """A node; inputs left out take the front end's defaults."""
        number = str(len(self.graph) + 1)
        self.graph[number] = {"class_type": kind, "inputs": inputs} | ({"_meta": {"title": title}} if title else {})
        self.stacks[-1][-1].columns[-1].append(number)
        return Node(number)


BROWN, PURPLE, GREEN, BLUE, RED = "#b06634", "#88A", "#8A8", "#3f789e", "#A88"


def pictures(w: Workflow, *objects: str) -> list[Node]:
    w.group("Pictures", BROWN)
    files = {"Scene": "scene", **dict(zip(objects, ("object", "object2"), strict=False))}
    return [w.add("LoadImage", title, image=f"visual_insertion_{file}.png") for title, file in files.items()]


def playroom(w: Workflow) -> tuple[list, list, list, list]:
    w.group("Models", PURPLE)
    models = w.add("PlayroomModels")
    return models[0], models[1], models[2], models[3]


def real(w: Workflow) -> tuple[list, list, list, list]:
    w.group("Models", PURPLE)
    manifest = Modules(load_pack()).pipelines.weights.load_manifest()
    checkpoint, encoder, optimizer = (manifest[name] for name in REAL_WEIGHTS)
    nodes = [
        w.add("CheckpointLoaderSimple", ckpt_name=checkpoint.file),
        w.add("CLIPVisionLoader", clip_name=encoder.file),
        w.add("EmbeddingOptimizerLoader", name=optimizer.file),
    ]
    w.models = {n.number: download(m) for n, m in zip(nodes, (checkpoint, encoder, optimizer), strict=True)}
    return nodes[0][0], nodes[0][2], nodes[1][0], nodes[2][0]


def download(weight: Any) -> dict[str, str]:
    """What the front end asks a loader's `properties.models` for."""
    url = f"https://huggingface.co/{weight.repository}/resolve/{weight.revision}/{weight.path}"
    known = {"hash": weight.sha256, "hash_type": "SHA256"} if weight.sha256 else {}
    return {"name": weight.file, "url": url, "directory": weight.folder, **known}


def understand(
    w: Workflow, clip_vision: list, optimizer: list, image: list, encoder: str = "ObjectImageEncode"
) -> Node:
    settings = {"crop": "none"} if encoder == "CLIPVisionEncode" else {}
    seen = w.add(encoder, clip_vision=clip_vision, image=image, **settings)
    return w.add("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen[0])


def insert(w: Workflow, model: list, vae: list, scene: list, tokens: Node, guidance: Node, **settings: Any) -> Node:
    """Sample and decode."""
    sampled = w.add(
        "ImageConditionedPix2PixSampler",
        model=model,
        vae=vae,
        scene=scene,
        positive=tokens[0],
        negative=tokens[1],
        guidance=guidance[0],
        **{"seed": SEED, "steps": STEPS, "sampler_name": SAMPLER, "scheduler": SCHEDULER, **settings},
    )
    return w.add("SceneDecode", latent=sampled[0], vae=vae, scene=scene)


def finish(w: Workflow, before: list, after: list) -> None:
    w.group("Result", RED)
    w.add("SaveImage", "Result", images=after, filename_prefix=f"visual_insertion/{w.name}")
    w.column()
    w.add("ImageCompare", "Before and after", image_a=before, image_b=after)


def insert_object(
    models: Callable = playroom, scales: dict = PLAYROOM_SCALES, name="insert_object", note=""
) -> Workflow:
    w = Workflow(name, note or NOTES[name] + REAL_HINT)
    scene, thing = pictures(w, "Object")
    model, vae, clip_vision, optimizer = models(w)
    w.group("What the object looks like", GREEN, below=True)
    tokens = understand(w, clip_vision, optimizer, thing[0])
    w.group("Insertion", BLUE)
    guidance = w.add("GuidanceControl", **scales)
    w.column()
    result = insert(w, model, vae, scene[0], tokens, guidance)
    finish(w, scene[0], result[0])
    return w


def insert_object_real() -> Workflow:
    return insert_object(real, REAL_SCALES, "insert_object_real", NOTES["insert_object_real"])


def insert_object_stock_nodes() -> Workflow:
    w = Workflow("insert_object_stock_nodes", NOTES["insert_object_stock_nodes"] + REAL_HINT)
    scene, thing = pictures(w, "Object")
    model, vae, clip_vision, optimizer = playroom(w)
    w.group("What the object looks like", GREEN, below=True)
    tokens = understand(w, clip_vision, optimizer, thing[0], encoder="CLIPVisionEncode")
    w.group("Three branches", BLUE)
    both = w.add("InstructPixToPixConditioning", positive=tokens[0], negative=tokens[1], vae=vae, pixels=scene[0])
    guider = w.add(
        "DualCFGGuider",
        model=model,
        cond1=both[0],
        cond2=both[1],
        negative=tokens[1],
        cfg_conds=PLAYROOM_SCALES["object_scale"],
        cfg_cond2_negative=PLAYROOM_SCALES["scene_scale"],
        style="regular",
    )
    w.group("Sampling", BLUE)
    noise = w.add("RandomNoise", noise_seed=SEED)
    sampler = w.add("KSamplerSelect", sampler_name=SAMPLER)
    sigmas = w.add("BasicScheduler", model=model, scheduler=SCHEDULER, steps=STEPS, denoise=1.0)
    w.column()
    sampled = w.add(
        "SamplerCustomAdvanced",
        noise=noise[0],
        guider=guider[0],
        sampler=sampler[0],
        sigmas=sigmas[0],
        latent_image=both[2],
    )
    result = w.add("VAEDecode", samples=sampled[0], vae=vae)
    finish(w, scene[0], result[0])
    return w


def insert_two_objects() -> Workflow:
    w = Workflow("insert_two_objects", NOTES["insert_two_objects"] + REAL_HINT)
    scene, first, second = pictures(w, "Object", "Second object")
    model, vae, clip_vision, optimizer = playroom(w)
    w.group("Guidance", PURPLE, below=True)
    guidance = w.add("GuidanceControl", **PLAYROOM_SCALES)
    picture, seed = scene, SEED
    for title, thing in (("First object", first), ("Second object", second)):
        w.group(title, BLUE, below=thing is second)
        tokens = understand(w, clip_vision, optimizer, thing[0])
        w.column()
        picture = insert(w, model, vae, picture[0], tokens, guidance, seed=seed)
        seed += 1
    finish(w, scene[0], picture[0])
    return w


def insert_and_upscale() -> Workflow:
    w = Workflow("insert_and_upscale", NOTES["insert_and_upscale"] + REAL_HINT)
    scene, thing = pictures(w, "Object")
    model, vae, clip_vision, optimizer = playroom(w)
    w.group("What the object looks like", GREEN, below=True)
    tokens = understand(w, clip_vision, optimizer, thing[0])
    w.group("Insertion", BLUE)
    guidance = w.add("GuidanceControl", **PLAYROOM_SCALES)
    w.column()
    small = insert(w, model, vae, scene[0], tokens, guidance)
    w.group("Twice the size", GREEN)
    large = w.add("ImageScaleBy", image=small[0], upscale_method="lanczos", scale_by=2.0)
    sharp = insert(w, model, vae, large[0], tokens, guidance, denoise=0.3)
    finish(w, large[0], sharp[0])
    return w


WORKFLOWS = (insert_object, insert_object_stock_nodes, insert_two_objects, insert_and_upscale, insert_object_real)

NOTES = {
    "insert_object": """
# Put an object into a scene
Press **Run**. The object appears where it makes sense: no mask, no prompt.

- *Scene*, *Object*: your own pictures; the object large in its frame.
- **Guidance Control**: more *object_scale*, more object; more *scene_scale*, more of the scene as it was.
- **seed**: another seed, another place.
""",
    "insert_object_stock_nodes": """
# The same with stock nodes
**Embedding Optimizer** speaks the language of the stock nodes: CLIP Vision Encode before it, InstructPixToPix
Conditioning and Dual CFG Guider after it. The picture is the one *insert_object* makes.

- *cond1* sees object and scene, *cond2* the scene, *negative* nothing.
- *cfg_conds* is the object's scale, *cfg_cond2_negative* the scene's.
- Sides that are no multiple of 8 px are cropped here; our sampler keeps them.
""",
    "insert_two_objects": """
# Two objects, one after another
The first result is the second scene. Each object has its own sampler and its own seed, so one can be placed anew while
the other stays as it is, and only what changed runs again.
""",
    "insert_and_upscale": """
# Insert, then enlarge
The result is enlarged twofold, then sampled once more at a low *denoise*: the same model, shown the enlarged picture as
its scene, draws the edges anew.
""",
    "insert_object_real": """
# Photographs
The same graph as *insert_object* on real weights: InstructPix2Pix, CLIP ViT-L/14, and an embedding optimizer trained for
the two. A GPU with 6 GB is enough; a CPU takes minutes.

In the pack's folder `python -m pipelines weights list` tells which files there are, how large, under which licence, and
what is on your disk; `weights fetch` gets them. Press **R** afterwards.

- *Scene*, *Object*: photographs; about 512 px on the short side suit the model best.
- 50 steps for a keeper.
""",
}


# laying out; all lengths in canvas units

WIDTH, GAP, PADDING, TITLE, GROUP_TITLE = 320, 40, 24, 30, 46
SIZES = {  # of nodes that show a picture
    "LoadImage": (WIDTH, 370),
    "GuidanceControl": (WIDTH, 470),
    "SaveImage": (420, 480),
    "ImageCompare": (420, 480),
}
NOTE_SIZE = (400, 480)


def arrange(ui: dict[str, Any], workflow: Workflow) -> None:
    """Give the nodes of a UI graph their places, group by group; the groups end on one line."""
    nodes = {str(node["id"]): node for node in ui["nodes"]}
    for node in nodes.values():
        wanted = SIZES.get(node["type"], (WIDTH, 0))
        node["size"] = [wanted[0], max(wanted[1], round(node["size"][1]))]
    groups: list[dict[str, Any]] = []
    stacks: list[list[dict[str, Any]]] = []
    left = NOTE_SIZE[0] + GAP
    for stack in workflow.stacks:
        top, stacks = 0, [*stacks, []]
        for group in stack:
            x, height = left + PADDING, 0
            for column in group.columns:
                y = top + GROUP_TITLE + TITLE
                for number in column:
                    node = nodes[number]
                    node["pos"] = [x, y]
                    y += node["size"][1] + TITLE + PADDING
                x += max(nodes[number]["size"][0] for number in column) + GAP
                height = max(height, y - TITLE - top)
            box = [left, top, x - GAP + PADDING - left, height]
            groups.append({"id": len(groups) + 1, "title": group.title, "bounding": box, "color": group.colour})
            stacks[-1].append(groups[-1])
            top += height + GAP
        width = max(group["bounding"][2] for group in stacks[-1])
        for group in stacks[-1]:
            group["bounding"][2] = width
        left += width + GAP
    bottom = max(group["bounding"][1] + group["bounding"][3] for group in groups)
    for *_, last in stacks:
        last["bounding"][3] = bottom - last["bounding"][1]
    ui["groups"] = [group | {"font_size": 24, "flags": {}} for group in groups]


def dress(ui: dict[str, Any], workflow: Workflow) -> dict[str, Any]:
    """The front end's serialised graph with our layout, note, metadata and fixed seeds, and nothing of the day."""
    arrange(ui, workflow)
    for node in ui["nodes"]:
        values = node.get("widgets_values", [])
        node["widgets_values"] = ["fixed" if value == "randomize" else value for value in values]
        if weight := workflow.models.get(str(node["id"])):
            node["properties"]["models"] = [weight]
    ui["last_node_id"] += 1
    note = {
        "id": ui["last_node_id"],
        "type": "MarkdownNote",
        "title": "About this workflow",
        "pos": [0, GROUP_TITLE + TITLE],
        "size": list(NOTE_SIZE),
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [workflow.note],
        "color": "#432",
        "bgcolor": "#000",
    }
    ui["nodes"].append(note)
    ui["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, workflow.name))
    ui["extra"] = {}
    return ui


# making the files

CONVERT = """async ([graph, name]) => {
    app.loadApiJson(graph, name)
    return JSON.stringify({ui: app.rootGraph.serialize(), api: (await app.graphToPrompt()).output})
}"""


def convert(workflow: Workflow, page: Any) -> tuple[dict, dict]:
    """(UI graph, API graph), by the front end in a Playwright page."""
    made = json.loads(page.evaluate(CONVERT, [workflow.graph, workflow.name]))
    for number, node in workflow.graph.items():
        assert node["inputs"].items() <= made["api"][number]["inputs"].items(), (workflow.name, node, made["api"])
    return dress(made["ui"], workflow), made["api"]


def browser() -> str:
    """The program of a Chromium on this machine, or nothing."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((found for name in names if (found := shutil.which(name))), "")


def write_samples() -> None:
    import numpy as np

    triplets = Modules(load_pack()).pipelines.playroom.triplets
    SAMPLES.mkdir(parents=True, exist_ok=True)
    Image.fromarray(triplets.make_triplet(SCENE).scene).save(SAMPLES / "scene.png")
    for name, seed in (("object", OBJECT), ("object2", OBJECT2)):
        toy = triplets.make_triplet(seed).toy
        picture = triplets.object_picture(np.random.default_rng(seed), toy, size=256)
        Image.fromarray(picture).save(SAMPLES / f"{name}.png")


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")


def thumbnail(host: Host, graph: dict[str, Any]) -> Image.Image:
    raise NotImplementedError


def main() -> int:
    parser = argparse.ArgumentParser("devtools.workflows", description=__doc__)
    parser.add_argument("--thumbnails", action="store_true", help="run the graphs and draw the thumbnails anew")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    write_samples()
    with Host(home, variables={"OMP_NUM_THREADS": "1"}) as host, sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser() or None, args=["--no-sandbox"]).new_page()
        page.goto(host.url)
        page.wait_for_function("window.app?.vueAppReady")
        for describe in WORKFLOWS:
            workflow = describe()
            ui, api = convert(workflow, page)
            write_json(FOLDER / f"{workflow.name}.json", ui)
            write_json(FOLDER / "api" / f"{workflow.name}.json", api)
            print(workflow.name)
    return 0
