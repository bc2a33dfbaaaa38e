"""The example workflows out of one description: API graph, UI graph and thumbnail, and the samples they start with.

    python devtools/pack.py devtools.workflows [--thumbnails]

The host's own front end, in a Chromium without a window, turns each description into both kinds of JSON; we say where
the nodes lie. Thumbnails are what the graphs really make: draw them anew whenever the playroom models change.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from .demo import saved_image
from .environment import find_host
from .host import MOUNT, Host
from .pack import ROOT, Modules, load_pack

FOLDER = ROOT / "example_workflows"
SAMPLES = ROOT / "playroom_models" / "samples"

# What the workflows share; nothing else in this file repeats it.
SEED = 5
SECOND_PASS = 0.25  # denoise
SAMPLING = {"steps": 20, "sampler_name": "euler_ancestral", "scheduler": "normal"}
PLAYROOM_SCALES = {"object_scale": 2.5, "scene_scale": 1.2}
REAL_SCALES = {"object_scale": 7.5, "scene_scale": 1.5}
PAINTING = {"sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0}
PLAYROOM_PAINTING, REAL_PAINTING = {"steps": 20, "cfg": 3.0}, {"steps": 50, "cfg": 5.0}
AROUND = ("clip-vit-large-patch14", "embedding-optimizer-original")  # ids in the manifest
REAL_WEIGHTS = ("instruct-pix2pix", *AROUND)
PIPE_WEIGHTS = ("paint-by-inpaint-add-base-unet", "vae-ft-mse", *AROUND)
PAINTING_WEIGHTS = ("paint-by-example",)

# Seeds of triplets that no model was trained on.
SCENE = 900_001_871
OBJECTS = {"object": 900_001_625, "object2": 900_001_605}
OTHER_VIEW = 0  # of the first object
DOLLHOUSE, ROOM = 3, 256  # rooms per side, the sample scene in their middle; px of one
ON_THE_TABLE = {"x": 40, "y": 30, "width": 50, "height": 50}  # of the sample scene, px
IN_THE_HOUSE = {"x": 316, "y": 580, "width": 104, "height": 100}  # the same in the room below it

# The host's own colours for groups.
YELLOW, BROWN, VIOLET, GREEN, BLUE, CYAN = "#b58b2a", "#b06634", "#88A", "#8A8", "#3f789e", "#8AA"


# describing


@dataclass
class Node:
    number: str

    def __getitem__(self, output: int) -> list:
        return [self.number, output]


@dataclass
class Group:
    title: str
    colour: str
    nodes: list[str] = field(default_factory=list)


class Workflow:
    """A graph in API format, and its groups: stacks of them from left to right."""

    def __init__(self, name: str):
        self.name, self.note = name, NOTES[name]
        self.graph: dict[str, Any] = {}
        self.downloads: dict[str, dict[str, str]] = {}  # by node
        self.stacks = [[Group("About", YELLOW, ["note"])]]

    def group(self, title: str, colour: str, below: bool = False) -> None:
        """The nodes added from here on lie in a new group, right of the last one or below it."""
        if not below:
            self.stacks.append([])
        self.stacks[-1].append(Group(title, colour))

    def add(self, kind: str, title: str = "", /, **inputs: Any) -> Node:
        """A node; inputs that are left out take the front end's defaults."""
        number = str(len(self.graph) + 1)
        self.graph[number] = {"class_type": kind, "inputs": inputs, **({"_meta": {"title": title}} if title else {})}
        self.stacks[-1][-1].nodes.append(number)
        return Node(number)


@dataclass
class Models:
    model: list
    vae: list
    clip_vision: list
    embedding_optimizer: list
    clip: list | None = None


def playroom(w: Workflow) -> Models:
    w.group("Models", VIOLET, below=True)
    toys = w.add("PlayroomModels")
    return Models(toys[0], toys[1], toys[2], toys[3])


def painter(w: Workflow) -> Node:
    """Paint by Example's toys: model, vae, clip_vision, exemplar_encoder, as its loader gives them."""
    w.group("Models", VIOLET, below=True)
    return w.add("PaintByExamplePlayroomModels")


LOADERS = {  # by id or role in the manifest: the node and the widget that names the file
    "paint-by-example": ("PaintByExampleLoader", "name"),
    "checkpoint": ("CheckpointLoaderSimple", "ckpt_name"),
    "unet": ("Pix2PixUNetLoader", "name"),
    "vae": ("VAELoader", "vae_name"),
    "image_encoder": ("CLIPVisionLoader", "clip_name"),
    "embedding_optimizer": ("EmbeddingOptimizerLoader", "name"),
}


def load(w: Workflow, weights: Sequence[str]) -> dict[str, Node]:
    """Loaders of these weights, by role; the front end offers to download what is missing."""
    w.group("Models", VIOLET, below=True)
    manifest = Modules(load_pack()).pipelines.weights.load_manifest()
    nodes = {}
    for weight in map(manifest.get, weights):
        kind, widget = LOADERS.get(weight.id) or LOADERS[weight.role]
        nodes[weight.role] = node = w.add(kind, **{widget: weight.file})
        w.downloads[node.number] = download(weight)
    return nodes


def real(w: Workflow) -> Models:
    of = load(w, REAL_WEIGHTS)
    model, clip, vae = (of["checkpoint"][output] for output in range(3))
    return Models(model, vae, of["image_encoder"][0], of["embedding_optimizer"][0], clip)


def paint_by_inpaint(w: Workflow) -> Models:
    of = load(w, PIPE_WEIGHTS)
    return Models(of["unet"][0], of["vae"][0], of["image_encoder"][0], of["embedding_optimizer"][0])


def real_painter(w: Workflow) -> Node:
    return load(w, PAINTING_WEIGHTS)["checkpoint"]


def download(weight: Any) -> dict[str, str]:
    """A weight of the manifest as the front end wants it in `properties.models`."""
    url = f"https://huggingface.co/{weight.repository}/resolve/{weight.revision}/{weight.path}"
    known = {"hash": weight.sha256, "hash_type": "SHA256"} if weight.sha256 else {}
    return {"name": weight.file, "url": url, "directory": weight.folder, **known}


def pictures(w: Workflow, *objects: str, scene: str = "scene") -> list[Node]:
    w.group("Pictures", BROWN)
    named = {"Scene": scene, **dict(zip(objects, OBJECTS, strict=False))}
    return [w.add("LoadImage", title, image=f"visual_insertion_{name}.png") for title, name in named.items()]


def look_at(w: Workflow, models: Models, thing: Node) -> Node:
    seen = w.add("ObjectImageEncode", clip_vision=models.clip_vision, image=thing[0])
    return w.add("EmbeddingOptimizer", embedding_optimizer=models.embedding_optimizer, clip_vision_output=seen[0])


def guide(w: Workflow, scales: dict[str, float] = PLAYROOM_SCALES) -> Node:
    w.group("Guidance", GREEN, below=True)
    return w.add("GuidanceControl", **scales)


def conditions(models: Models, scene: Node, tokens: Node | tuple[list, list], guidance: Node) -> dict[str, list]:
    """What our sampler and our guider both want; `tokens` are positive and negative."""
    return {
        "model": models.model,
        "vae": models.vae,
        "scene": scene[0],
        "positive": tokens[0],
        "negative": tokens[1],
        "guidance": guidance[0],
    }


def insert(
    w: Workflow, models: Models, scene: Node, tokens: Node | tuple[list, list], guidance: Node, seed: int = SEED
) -> Node:
    wanted = conditions(models, scene, tokens, guidance)
    sampled = w.add("ImageConditionedPix2PixSampler", **wanted, seed=seed, **SAMPLING, denoise=1.0)
    return w.add("SceneDecode", latent=sampled[0], vae=models.vae, scene=scene[0])


def sample(w: Workflow, models: Models, guider: list, latent: list, seed: int = SEED, denoise: float = 1.0) -> Node:
    """The host's own sampling."""
    noise = w.add("RandomNoise", noise_seed=seed)
    sampler = w.add("KSamplerSelect", sampler_name=SAMPLING["sampler_name"])
    steps, scheduler = SAMPLING["steps"], SAMPLING["scheduler"]
    sigmas = w.add("BasicScheduler", model=models.model, scheduler=scheduler, steps=steps, denoise=denoise)
    given = {"noise": noise[0], "guider": guider, "sampler": sampler[0], "sigmas": sigmas[0], "latent_image": latent}
    return w.add("SamplerCustomAdvanced", **given)


def jagged_mask(w: Workflow, scene: Node, box: dict[str, int], **settings: Any) -> Node:
    """The shape around a box, and a look at it."""
    w.group("Mask", GREEN)
    filled = w.add("BoxToMask", image=scene[0], **box)
    mask = w.add("ArbitraryMask", image=scene[0], seed=SEED, mask=filled[0], **settings)
    w.add("MaskPreview", "Mask", mask=mask[0])
    return mask


def paint(w: Workflow, models: Node, scene: Node, thing: Node, mask: list, settings: dict[str, float]) -> Node:
    """The object in the mask, by the host's own sampler; the rest of the scene has been through the VAE."""
    model, vae, clip_vision, exemplar_encoder = (models[output] for output in range(4))
    w.group("Object", GREEN)
    tokens = w.add("PaintByExampleEncode", clip_vision=clip_vision, exemplar_encoder=exemplar_encoder, image=thing[0])
    w.group("Scene with a hole", GREEN, below=True)
    given = {"positive": tokens[0], "negative": tokens[1], "vae": vae, "image": scene[0], "mask": mask}
    both = w.add("PaintByExampleConditioning", **given)
    w.group("Painting", BLUE)
    shown = {"model": model, "positive": both[0], "negative": both[1], "latent_image": both[2]}
    sampled = w.add("KSampler", **shown, seed=SEED, **settings, **PAINTING)
    return w.add("SceneDecode", latent=sampled[0], vae=vae, scene=scene[0])


def cut_out(w: Workflow, scene: Node, below: bool = False, **where: Any) -> Node:
    w.group("Cut out", VIOLET, below=below)
    return w.add("LocalRegionCrop", image=scene[0], **where)


def put_back(w: Workflow, cut: Node, edited: Node, **how: Any) -> Node:
    w.group("Put back", VIOLET, below=True)
    result = w.add("LocalRegionPaste", local_region=cut[2], image=edited[0], **how)
    w.group("What changed", CYAN, below=True)
    w.add("MaskPreview", "What changed", mask=result[1])
    return result


def finish(w: Workflow, before: Node, after: Node, enlarge: float = 3.0) -> None:
    """Save the result; show scene and result, one above the other and enlarged, for toys are small."""
    w.group("Result", CYAN)
    w.add("SaveImage", "Result", images=after[0], filename_prefix=f"visual_insertion/{w.name}")
    both = w.add("ImageStitch", image1=before[0], image2=after[0], direction="down")
    if enlarge != 1:
        both = w.add("ImageScaleBy", "Enlarge to look at it", image=both[0], upscale_method="lanczos", scale_by=enlarge)
    w.group("Before and after", CYAN)
    w.add("PreviewImage", "Before and after", images=both[0])


def insert_object() -> Workflow:
    return one_object("insert_object", PLAYROOM_SCALES, playroom, enlarge=3.0)


def insert_object_real() -> Workflow:
    return one_object("insert_object_real", REAL_SCALES, real, enlarge=1.0)


def insert_object_paint_by_inpaint() -> Workflow:
    return one_object("insert_object_paint_by_inpaint", REAL_SCALES, paint_by_inpaint, enlarge=1.0)


def one_object(name: str, scales: dict[str, float], load_models: Any, enlarge: float) -> Workflow:
    w = Workflow(name)
    models = load_models(w)
    scene, thing = pictures(w, "Object")
    w.group("Object", GREEN)
    tokens = look_at(w, models, thing)
    guidance = guide(w, scales)
    w.group("Insertion", BLUE)
    finish(w, scene, insert(w, models, scene, tokens, guidance), enlarge)
    return w


def insert_object_stock_nodes() -> Workflow:
    w = Workflow("insert_object_stock_nodes")
    models = playroom(w)
    scene, thing = pictures(w, "Object")
    w.group("Object", GREEN)
    seen = w.add("CLIPVisionEncode", clip_vision=models.clip_vision, image=thing[0], crop="none")
    tokens = w.add("EmbeddingOptimizer", embedding_optimizer=models.embedding_optimizer, clip_vision_output=seen[0])
    w.group("Three branches", GREEN, below=True)
    both = w.add(
        "InstructPixToPixConditioning", positive=tokens[0], negative=tokens[1], vae=models.vae, pixels=scene[0]
    )
    guider = w.add(
        "DualCFGGuider",
        model=models.model,
        cond1=both[0],
        cond2=both[1],
        negative=tokens[1],
        cfg_conds=PLAYROOM_SCALES["object_scale"],
        cfg_cond2_negative=PLAYROOM_SCALES["scene_scale"],
        style="regular",
    )
    w.group("Sampling", BLUE)
    sampled = sample(w, models, guider[0], both[2])
    finish(w, scene, w.add("VAEDecode", samples=sampled[0], vae=models.vae))
    return w


def insert_two_objects() -> Workflow:
    w = Workflow("insert_two_objects")
    models, guidance = playroom(w), guide(w)
    scene, *objects = pictures(w, "Object", "Second object")
    result = scene
    for number, thing in enumerate(objects):
        w.group(("First object", "Second object")[number], BLUE)
        result = insert(w, models, result, look_at(w, models, thing), guidance, seed=SEED + number)
    finish(w, scene, result)
    return w


def insert_and_upscale() -> Workflow:
    w = Workflow("insert_and_upscale")
    models, guidance = playroom(w), guide(w)
    scene, thing = pictures(w, "Object")
    w.group("Insertion", BLUE)
    tokens = look_at(w, models, thing)
    small = insert(w, models, scene, tokens, guidance)
    w.group("Twice the size", VIOLET)
    double = {"upscale_method": "lanczos", "scale_by": 2.0}
    large_scene = w.add("ImageScaleBy", "Enlarge the scene", image=scene[0], **double)
    large = w.add("ImageScaleBy", "Enlarge the result", image=small[0], **double)
    start = w.add("VAEEncode", pixels=large[0], vae=models.vae)
    guider = w.add("ImageConditionedPix2PixGuider", **conditions(models, large_scene, tokens, guidance))
    w.group("Second pass", BLUE)
    sampled = sample(w, models, guider[0], start[0], denoise=SECOND_PASS)
    sharp = w.add("SceneDecode", latent=sampled[0], vae=models.vae, scene=large_scene[0])
    w.group("Result", CYAN)
    w.add("PreviewImage", "Enlarged only", images=large[0])
    w.add("SaveImage", "Result", images=sharp[0], filename_prefix=f"visual_insertion/{w.name}")
    return w


def insert_object_two_views() -> Workflow:
    w = Workflow("insert_object_two_views")
    models, guidance = playroom(w), guide(w)
    scene, first = pictures(w, "One view")
    second = w.add("LoadImage", "Another view", image="visual_insertion_object_other_view.png")
    w.group("Object", GREEN)
    both = w.add("BatchImagesNode", **{"images.image0": first[0], "images.image1": second[0]})
    tokens = look_at(w, models, both)
    w.group("Insertion", BLUE)
    finish(w, scene, insert(w, models, scene, tokens, guidance))
    return w


def insert_in_local_region() -> Workflow:
    w = Workflow("insert_in_local_region")
    models, guidance = playroom(w), guide(w)
    scene, thing = pictures(w, "Object", scene="dollhouse")
    w.group("Object", GREEN)
    tokens = look_at(w, models, thing)
    box = dict(x=ROOM * 5 // 4, y=ROOM * 5 // 4, width=ROOM // 2, height=ROOM // 2)
    cut = cut_out(w, scene, below=True, expansion=0.5, working_size=128, **box)
    w.group("Insertion", BLUE)
    edited = insert(w, models, cut, tokens, guidance)
    finish(w, scene, put_back(w, cut, edited), enlarge=1.0)
    return w


def insert_object_with_text() -> Workflow:
    w = Workflow("insert_object_with_text")
    models = real(w)
    scene, thing = pictures(w, "Object")
    w.group("Object", GREEN)
    tokens = look_at(w, models, thing)
    w.group("Text", GREEN, below=True)
    text = w.add("CLIPTextEncode", clip=models.clip, text="put it on the table")
    both = w.add("ConditioningConcat", "Object and text", conditioning_to=tokens[0], conditioning_from=text[0])
    guidance = guide(w, REAL_SCALES)
    w.group("Insertion", BLUE)
    finish(w, scene, insert(w, models, scene, (both[0], tokens[1]), guidance), enlarge=1.0)
    return w


def paint_by_example() -> Workflow:
    w = Workflow("paint_by_example")
    models = painter(w)
    scene, thing = pictures(w, "Object")
    mask = jagged_mask(w, scene, ON_THE_TABLE, jitter=1)
    painted = paint(w, models, scene, thing, mask[0], PLAYROOM_PAINTING)
    w.group("Put back", VIOLET)
    sharp = w.add("MaskToImage", mask=mask[0])
    blurred = w.add("ImageBlur", "Soft edge", image=sharp[0], blur_radius=4, sigma=2.0)
    soft = w.add("ImageToMask", image=blurred[0], channel="red")
    both = {"destination": scene[0], "source": painted[0], "mask": soft[0]}
    finish(w, scene, w.add("ImageCompositeMasked", **both))
    return w


def paint_by_example_local_region() -> Workflow:
    return paint_locally("paint_by_example_local_region", painter, PLAYROOM_PAINTING, working_size=128, jitter=2)


def paint_by_example_real() -> Workflow:
    return paint_locally("paint_by_example_real", real_painter, REAL_PAINTING, working_size=512, jitter=5)


def paint_locally(name: str, load_models: Any, settings: dict[str, float], working_size: int, jitter: int) -> Workflow:
    w = Workflow(name)
    models = load_models(w)
    scene, thing = pictures(w, "Object", scene="dollhouse")
    mask = jagged_mask(w, scene, IN_THE_HOUSE, extension=0.1, jitter=jitter)
    cut = cut_out(w, scene, expansion=0.5, working_size=working_size, mask=mask[0])
    painted = paint(w, models, cut, thing, cut[1], settings)
    finish(w, scene, put_back(w, cut, painted, area="mask"), enlarge=1.0)
    return w


WORKFLOWS = (
    insert_object,
    insert_object_stock_nodes,
    insert_two_objects,
    insert_and_upscale,
    insert_object_two_views,
    insert_in_local_region,
    insert_object_real,
    insert_object_with_text,
    insert_object_paint_by_inpaint,
    paint_by_example,
    paint_by_example_local_region,
    paint_by_example_real,
)

TO_REAL_WEIGHTS = """

### Photographs
**Playroom Models** are toys: they know drawn rooms. For photographs open *insert_object_real*, or put its three loaders
in the place of **Playroom Models** here, with scales of 7.5 and 1.5."""

TO_PHOTOGRAPHS = """

### Photographs
**Paint by Example Playroom Models** are toys: they know drawn rooms. For photographs open *paint_by_example_real*. To
put an object in without saying where, *insert_object*, and *insert_object_real* for photographs."""

NOTES = {
    "insert_object": """# Put an object into a scene
Press **Run**. The object appears where it makes sense: no mask, no prompt.

- **Scene**, **Object**: drop your pictures there; the object large in its frame.
- **Guidance Control**: more *object_scale* for more of the object, more *scene_scale* to keep more of the scene.
- **seed**: another seed, another place."""
    + TO_REAL_WEIGHTS,
    "insert_object_stock_nodes": """# The same with stock nodes
**Embedding Optimizer** fits between the host's own nodes; the picture is the one that *insert_object* makes.

- *cond1* sees object and scene, *cond2* only the scene, *negative* nothing.
- *cfg_conds* is the object's scale, *cfg_cond2_negative* the scene's.
- These nodes crop a scene whose sides are no multiples of 8 px; our sampler keeps it whole."""
    + TO_REAL_WEIGHTS,
    "insert_two_objects": """# Two objects, one after the other
The first result is the scene of the second. Each object has a seed of its own: change the second, and only the second
is placed anew; the first comes out of the cache."""
    + TO_REAL_WEIGHTS,
    "insert_and_upscale": """# Insert, then enlarge
The result is enlarged twofold, noised in part, and sampled once more: the guider now shows the enlarged scene, so edges
come out sharp and the object is drawn anew where it is. *Enlarged only* is the picture without this second pass.

- *denoise* of the second pass: less stays closer to the enlarged picture, more draws more anew."""
    + TO_REAL_WEIGHTS,
    "insert_object_two_views": """# Two views of one object
A batch is several views of one object. **Embedding Optimizer** joins them:

- *average*: the mean of what it makes of each; what one view hides, another shows.
- *concatenate*: all views side by side; more tokens, a little slower.
- *separate*: no views but objects, one per scene of a batch.

Pictures of another size than the first are resized to it: crop alike beforehand."""
    + TO_REAL_WEIGHTS,
    "insert_in_local_region": """# Into a part of a large picture
The model sees one room of the house at its own size; every pixel that *What changed* does not show is the scene's, to
the last bit. The time does not depend on the size of the scene.

- **Local Region Crop**: the box says where, *expansion* how much around it the model sees. Or connect a mask: paint one
  in the scene's **Load Image** with *Open in MaskEditor*.
- *working_size* is what the model likes: 128 for these toys, 512 for Stable Diffusion 1.5.
- **Local Region Paste**, *area*: only what the model changed, the whole window, or only what is masked.
- Several places at once: a mask with several parts, and *regions* = each."""
    + TO_REAL_WEIGHTS,
    "insert_object_with_text": f"""# An object and a text
The picture says what comes, the text what a picture cannot say: where, how, and what else changes. The graph of
*insert_object_real* with the checkpoint's own text encoder; what to download is the same:

```
python pipelines weights fetch
  {REAL_WEIGHTS[0]}
  {REAL_WEIGHTS[1]}
  {REAL_WEIGHTS[2]}
```

- **Conditioning (Concat)**: object and text side by side, 154 tokens; the UNet attends to both, in whatever order.
- **Conditioning (Average)** in its place: token by token a mixture of the two, so the text fades the object. Keep its
  share small.
- *negative* stays the Embedding Optimizer's: no object, no text.
- Write an instruction, as InstructPix2Pix knows them. Nothing here was trained on objects and texts together: a weak
  object wants more *object_scale*, a deaf one a shorter text.""",
    "insert_object_real": f"""# Photographs
The graph of *insert_object* on real weights: InstructPix2Pix, CLIP ViT-L/14, and an embedding optimizer for the two.

Sizes and licences: `python pipelines weights list`, in the folder of this pack. To get them, on one line:

```
python pipelines weights fetch
  {REAL_WEIGHTS[0]}
  {REAL_WEIGHTS[1]}
  {REAL_WEIGHTS[2]}
```

Then press **R** here. Files that you download by hand must get the names that the loaders show.

- **Scene**, **Object**: photographs, the scene about 512 px on its short side.
- 20 steps for a look, 50 for a keeper.
- For a first try in a drawn room without any download: *insert_object*.""",
    "insert_object_paint_by_inpaint": f"""# Photographs, with the model trained to add
The graph of *insert_object_real* on Paint by Inpaint: InstructPix2Pix trained further on adding objects, and what the
embedding optimizer was trained on. **Load Pix2Pix UNet** reads the published file as it is; the stock loaders do not.

Sizes and licences: `python pipelines weights list`, in the folder of this pack. To get them, on one line:

```
python pipelines weights fetch
  {PIPE_WEIGHTS[0]}
  {PIPE_WEIGHTS[1]}
  {PIPE_WEIGHTS[2]}
  {PIPE_WEIGHTS[3]}
```

Then press **R** here. Files that you download by hand must get the names that the loaders show.

- Its authors show it with 50 steps, scales of 7 and 1.5.
- *weights*: this file holds one copy; the 7.7 GB InstructPix2Pix checkpoint has an averaged one beside it.
- A fine-tuned cross-attention patch goes between model and sampler with the host's own **Load LoRA**.""",
    "paint_by_example": """# Paint an object into a mask
The model sees the scene with a hole in it and one picture of the object, and paints the object into the hole.

- **Box to Mask**: where. **Arbitrary Mask** makes of the box a shape as in training, with another *seed* another. Or
  paint a mask in the scene's **Load Image** with *Open in MaskEditor*, and connect its MASK in their place.
- The mask is generous: the object takes the room that it needs. Cover an old object whole, with its shadow.
- **KSampler**: any sampler; *cfg* is the similarity to the object, 3 for these toys.
- **Put back**: all that the mask does not touch is the scene's own, to the last bit. *Soft edge* hides the seam."""
    + TO_PHOTOGRAPHS,
    "paint_by_example_local_region": """# Paint an object into a part of a large picture
The model sees the surroundings of the mask at its own size; the time does not depend on the size of the scene. Every
pixel that *What changed* does not show is the scene's, to the last bit.

- **Box to Mask**, **Arbitrary Mask**: where, in px of the large picture. Or paint a mask in the scene's **Load Image**
  with *Open in MaskEditor*, and connect its MASK in their place.
- **Local Region Crop**: *expansion* is how much around the mask the model sees, *working_size* what it likes: 128 for
  these toys, 512 for the published model.
- **Local Region Paste**: with *area* = mask only what was painted, and a soft edge of *feather* px.
- Several places at once: a mask with several parts, and *regions* = each."""
    + TO_PHOTOGRAPHS,
    "paint_by_example_real": f"""# Photographs, painted into a mask
The graph of *paint_by_example_local_region* on the published Paint by Example. **Load Paint by Example** reads its
checkpoint right; the stock loader does not.

Size and licence: `python pipelines weights list`, in the folder of this pack. To get it:

```
python pipelines weights fetch
  {PAINTING_WEIGHTS[0]}
```

Then press **R** here. A file that you download by hand must get the name that the loader shows.

- **Scene**, **Object**: photographs of any size, the object large in its frame.
- **Mask**: move the box, or paint a mask in the scene's **Load Image** with *Open in MaskEditor* and connect its MASK
  in place of these nodes.
- The model works at 512 px, around the mask; the rest of the photograph is untouched.
- *cfg* is the similarity, 5 as published; much more burns the colours.
- For a first try in a drawn room without any download: *paint_by_example*. To put an object in without saying where:
  *insert_object_real*.""",
}


# laying out; lengths in units of the canvas

PADDING, GAP, NODE_TITLE, GROUP_TITLE = 16, 24, 30, 42
FOOTER = 24  # what Nodes 2.0 draws below a node of a pack
SIZES = {  # at least; the nodes named here show something, and are stretched where a stack has room to spare
    "MarkdownNote": (320, 400),
    "LoadImage": (300, 340),
    "GuidanceControl": (300, 450),
    "ImageConditionedPix2PixSampler": (300, 540),
    "KSampler": (300, 540),
    "SamplerCustomAdvanced": (300, 330),
    "SaveImage": (300, 330),
    "MaskPreview": (300, 300),
    "PreviewImage": (400, 340),
}


def arrange(nodes: dict[str, dict[str, Any]], stacks: Sequence[Sequence[Group]]) -> list[dict[str, Any]]:
    """Give the nodes their places and sizes; the groups in the UI's format. All stacks end on one line."""
    for node in nodes.values():
        width, height = SIZES.get(node["type"], (300, 0))
        node["size"] = [width, max(height, round(node["size"][1]) + FOOTER)]

    def height_of(stack: Sequence[Group]) -> int:
        boxes = [sum(NODE_TITLE + nodes[n]["size"][1] + PADDING for n in group.nodes) for group in stack]
        return sum(boxes) + GROUP_TITLE * len(stack) + GAP * (len(stack) - 1)

    groups: list[dict[str, Any]] = []
    bottom, left = max(map(height_of, stacks)), 0
    for stack in stacks:
        inside = [nodes[number] for group in stack for number in group.nodes]
        stretched = [node for node in inside if node["type"] in SIZES]
        spare = bottom - height_of(stack)
        for node in stretched:
            node["size"][1] += spare // len(stretched)
        width, top = max(node["size"][0] for node in inside), 0
        for group in stack:
            y = top + GROUP_TITLE
            for number in group.nodes:
                nodes[number]["pos"] = [left + PADDING, y + NODE_TITLE]
                nodes[number]["size"][0] = width
                y += NODE_TITLE + nodes[number]["size"][1] + PADDING
            end = bottom if group is stack[-1] else y
            box = [left, top, width + 2 * PADDING, end - top]
            look = {"color": group.colour, "font_size": 24, "flags": {}}
            groups.append({"id": len(groups) + 1, "title": group.title, "bounding": box, **look})
            top = y + GAP
        left += width + 2 * PADDING + GAP
    return groups


def dress(ui: dict[str, Any], workflow: Workflow, ours: set[str]) -> dict[str, Any]:
    """The front end's serialised graph with our layout, note and metadata; fixed seeds, and nothing of the day."""
    for node in ui["nodes"]:
        node["properties"]["cnr_id"] = MOUNT if node["type"] in ours else "comfy-core"
        if known := workflow.downloads.get(str(node["id"])):
            node["properties"]["models"] = [known]
        values = node.get("widgets_values", [])
        node["widgets_values"] = ["fixed" if value == "randomize" else value for value in values]
    ui["last_node_id"] += 1
    note = {
        "id": ui["last_node_id"],
        "type": "MarkdownNote",
        "title": "Note",
        "size": [0, 0],
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
    nodes = {str(node["id"]): node for node in ui["nodes"]} | {"note": note}
    groups = arrange(nodes, workflow.stacks)
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, workflow.name))
    return {**ui, "id": identity, "nodes": list(nodes.values()), "groups": groups, "extra": {}}


# making the files

CONVERT = """async ([graph, name]) => {
    app.loadApiJson(graph, name)
    return JSON.stringify({ui: app.rootGraph.serialize(), api: (await app.graphToPrompt()).output})
}"""


def convert(workflow: Workflow, page: Any, ours: set[str]) -> tuple[dict, dict]:
    """(UI graph, API graph) by the front end in a Playwright page."""
    made = json.loads(page.evaluate(CONVERT, [workflow.graph, workflow.name]))
    for number, node in workflow.graph.items():
        exported = made["api"][number]["inputs"]
        assert node["inputs"].items() <= exported.items(), f"{workflow.name}: {node} became {exported}"
    return dress(made["ui"], workflow, ours), made["api"]


def chromium() -> str | None:
    """The program of a Chromium on this machine."""
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None)


def samples() -> dict[str, Image.Image]:
    """The pictures the workflows start with, by name; always the same."""
    import numpy as np

    triplets = Modules(load_pack()).pipelines.playroom.triplets
    drawn = {"scene": Image.fromarray(triplets.make_triplet(SCENE).scene)}
    for name, seed in OBJECTS.items():
        toy = triplets.make_triplet(seed).toy
        drawn[name] = Image.fromarray(triplets.object_picture(np.random.default_rng(seed), toy, size=256))
    toy = triplets.make_triplet(OBJECTS["object"]).toy
    view = triplets.object_picture(np.random.default_rng(OTHER_VIEW), toy, size=256)
    drawn["object_other_view"] = Image.fromarray(view)
    drawn["dollhouse"] = house = Image.new("RGB", (DOLLHOUSE * ROOM, DOLLHOUSE * ROOM))
    for number in range(DOLLHOUSE**2):
        room = Image.fromarray(triplets.make_triplet(SCENE + number - DOLLHOUSE**2 // 2).scene)
        place = (number % DOLLHOUSE * ROOM, number // DOLLHOUSE * ROOM)
        house.paste(room.resize((ROOM, ROOM), Image.Resampling.LANCZOS), place)
    return drawn


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((json.dumps(content, indent=2) + "\n").encode())


def thumbnail(host: Host, workflow: Workflow, graph: dict[str, Any]) -> Image.Image:
    """What goes in, one above the other, and what comes out; without toy models, a card that says so."""
    given = [node["inputs"]["image"] for node in graph.values() if node["class_type"] == "LoadImage"]
    inputs = [Image.open(SAMPLES / name.removeprefix("visual_insertion_")) for name in given]
    width, gap, count = 400, 6, len(given)
    side = round((width - gap / count) * count / (count + 1))  # of the result; those of the inputs add up to it
    tile = width - gap - side
    if workflow.downloads:
        result = Image.new("RGB", (side, side), "#3f789e")
        text = "your photographs,\nreal weights"
        ImageDraw.Draw(result).text((side // 2, side // 2), text, "white", anchor="mm", align="center", font_size=26)
    else:
        entry = host.result(host.queue(graph))
        result = Image.open(io.BytesIO(host.view(saved_image(graph, entry)))).convert("RGB")
    page = Image.new("RGB", (width, side), "#202020")
    for row, picture in enumerate(inputs):
        page.paste(picture.convert("RGB").resize((tile, tile), Image.Resampling.LANCZOS), (0, row * (tile + gap)))
    page.paste(result.resize((side, side), Image.Resampling.LANCZOS), (tile + gap, 0))
    return page


def main() -> int:
    parser = argparse.ArgumentParser("devtools.workflows", description=__doc__)
    parser.add_argument("--thumbnails", action="store_true", help="run the graphs and draw the thumbnails anew")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    SAMPLES.mkdir(parents=True, exist_ok=True)
    for name, picture in samples().items():
        picture.save(SAMPLES / f"{name}.png")
    with Host(home, variables={"OMP_NUM_THREADS": "1"}) as host, sync_playwright() as playwright:
        known = host.object_info()
        ours = {name for name, node in known.items() if node["python_module"] == f"custom_nodes.{MOUNT}"}
        page = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"]).new_page()
        for describe in WORKFLOWS:
            page.goto(host.url)  # anew: the front end gives a node what one of its number had in the graph before
            page.wait_for_function("window.app?.vueAppReady")
            workflow = describe()
            ui, api = convert(workflow, page, ours)
            write_json(FOLDER / f"{workflow.name}.json", ui)
            write_json(FOLDER / "api" / f"{workflow.name}.json", api)
            if options.thumbnails:
                thumbnail(host, workflow, api).save(FOLDER / f"{workflow.name}.jpg", quality=90)
            print(workflow.name, flush=True)
    return 0
