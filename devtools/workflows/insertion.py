"""Workflows that put an object into a scene: no mask, no prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .graph import BLUE, GREEN, VIOLET, Node, Workflow, read_note
from .sample_pictures import IN_THE_MIDDLE_ROOM
from .stages import SEED, cut_out, finish, load, pictures, put_back, restore, show_changes

SAMPLING = {"steps": 20, "sampler_name": "euler_ancestral", "scheduler": "normal"}
FEW_STEPS = {"steps": 6, "sampler_name": "euler_ancestral", "scheduler": "karras"}  # where many are drawn
SECOND_PASS = 0.25  # denoise
SECOND_SEED = 7  # of a second object: with it the toy stands on the table
PLAYROOM_SCALES = {"object_scale": 2.5, "scene_scale": 1.2}
REAL_SCALES = {"object_scale": 7.5, "scene_scale": 1.5}

# Ids in the manifest.
AROUND = ("clip-vit-large-patch14", "embedding-optimizer-original")
REAL_WEIGHTS = ("instruct-pix2pix-pruned-fp16", *AROUND)
PAINT_BY_INPAINT_WEIGHTS = ("paint-by-inpaint-add-base-unet", "vae-ft-mse", *AROUND)

Tokens = Node | tuple[list, list]  # the positive and the negative conditioning


# stages


@dataclass
class Models:
    model: list
    vae: list
    clip_vision: list
    embedding_optimizer: list
    clip: list | None = None


def playroom(workflow: Workflow) -> Models:
    """The toys; the note says what to take for photographs."""
    workflow.note += "\n\n" + read_note("endings/insertion_toys")
    workflow.group("Models", VIOLET)
    toys = workflow.add("PlayroomModels")
    return Models(model=toys[0], vae=toys[1], clip_vision=toys[2], embedding_optimizer=toys[3])


def real(workflow: Workflow) -> Models:
    checkpoint, clip_vision, embedding_optimizer = load(workflow, REAL_WEIGHTS)
    return Models(
        model=checkpoint[0],
        clip=checkpoint[1],
        vae=checkpoint[2],
        clip_vision=clip_vision[0],
        embedding_optimizer=embedding_optimizer[0],
    )


def paint_by_inpaint(workflow: Workflow) -> Models:
    unet, vae, clip_vision, embedding_optimizer = load(workflow, PAINT_BY_INPAINT_WEIGHTS)
    return Models(unet[0], vae[0], clip_vision[0], embedding_optimizer[0])


def encode(workflow: Workflow, models: Models, picture: Node, **how: list | str) -> Node:
    """The object in a picture as tokens."""
    features = workflow.add("ObjectImageEncode", clip_vision=models.clip_vision, image=picture[0], **how)
    return optimize(workflow, models, features)


def optimize(workflow: Workflow, models: Models, features: Node) -> Node:
    optimizer = models.embedding_optimizer
    return workflow.add("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=features[0])


def guide(workflow: Workflow, scales: Mapping[str, float] = PLAYROOM_SCALES) -> list:
    workflow.group("Guidance", GREEN)
    return workflow.add("GuidanceControl", **scales)[0]


def conditions(models: Models, scene: Node, tokens: Tokens, guidance: list) -> dict[str, list]:
    """What our sampler and our guider both want."""
    return {
        "model": models.model,
        "vae": models.vae,
        "scene": scene[0],
        "positive": tokens[0],
        "negative": tokens[1],
        "guidance": guidance,
    }


def sample_pix2pix(
    workflow: Workflow,
    models: Models,
    *,
    scene: Node,
    tokens: Tokens,
    guidance: list,
    seed: int = SEED,
    **how: str,
) -> tuple[Node, Node]:
    """Our sampler, and the picture that its latent decodes to."""
    inputs = conditions(models, scene, tokens, guidance)
    latent = workflow.add("ImageConditionedPix2PixSampler", **inputs, seed=seed, **SAMPLING, denoise=1.0, **how)
    return latent, workflow.add("SceneDecode", latent=latent[0], vae=models.vae, scene=scene[0])


def insert(
    workflow: Workflow, models: Models, *, scene: Node, tokens: Tokens, guidance: list, seed: int = SEED
) -> Node:
    """The scene with the object in it, by our sampler, restored."""
    latent, edited = sample_pix2pix(workflow, models, scene=scene, tokens=tokens, guidance=guidance, seed=seed)
    return restore(workflow, scene, edited, vae=models.vae, relevance=latent[1])


def sample(workflow: Workflow, models: Models, *, guider: Node, latent: list, denoise: float = 1.0) -> Node:
    """A latent by the host's own sampling."""
    noise = workflow.add("RandomNoise", noise_seed=SEED)
    sampler = workflow.add("KSamplerSelect", sampler_name=SAMPLING["sampler_name"])
    schedule = {"scheduler": SAMPLING["scheduler"], "steps": SAMPLING["steps"]}
    sigmas = workflow.add("BasicScheduler", model=models.model, **schedule, denoise=denoise)
    return workflow.add(
        "SamplerCustomAdvanced",
        noise=noise[0],
        guider=guider[0],
        sampler=sampler[0],
        sigmas=sigmas[0],
        latent_image=latent,
    )


# workflows


def insert_object() -> Workflow:
    workflow = Workflow("insert_object")
    models = playroom(workflow)
    guidance = guide(workflow)
    scene, picture = pictures(workflow, {"Scene": "scene", "Object": "object"})
    workflow.group("Object", GREEN)
    tokens = encode(workflow, models, picture)
    workflow.group("Insertion", BLUE)
    result = insert(workflow, models, scene=scene, tokens=tokens, guidance=guidance)
    finish(workflow, scene[0], result[0])
    show_changes(workflow, result[1])
    return workflow


def insert_cutout() -> Workflow:
    workflow = Workflow("insert_cutout")
    models = playroom(workflow)
    guidance = guide(workflow)
    scene, picture = pictures(workflow, {"Scene": "scene", "Object": "object2_cutout"})
    workflow.group("Object", GREEN)
    tokens = encode(workflow, models, picture, mask=picture[1], background="auto")
    workflow.group("Insertion", BLUE)
    result = insert(workflow, models, scene=scene, tokens=tokens, guidance=guidance)
    finish(workflow, scene[0], result[0])
    show_changes(workflow, result[1])
    return workflow


def insert_object_fast() -> Workflow:
    workflow = Workflow("insert_object_fast")
    models = playroom(workflow)
    models.model = workflow.add("ApplyStudent", model=models.model, name="playroom: few_step")[0]
    guidance = guide(workflow)
    scene, picture = pictures(workflow, {"Scene": "scene", "Object": "object"})
    workflow.group("Object", GREEN)
    tokens = encode(workflow, models, picture)
    workflow.group("Insertion", BLUE)
    _, edited = sample_pix2pix(workflow, models, scene=scene, tokens=tokens, guidance=guidance, speed="fast")
    result = restore(workflow, scene, edited, vae=models.vae)
    finish(workflow, scene[0], result[0])
    show_changes(workflow, result[1])
    return workflow


def insert_object_real() -> Workflow:
    return photograph("insert_object_real", real)


def insert_object_paint_by_inpaint() -> Workflow:
    return photograph("insert_object_paint_by_inpaint", paint_by_inpaint)


def insert_object_with_text() -> Workflow:
    return photograph("insert_object_with_text", real, text="put it on the table")


def photograph(name: str, load_models: Callable[[Workflow], Models], text: str = "") -> Workflow:
    """An object, and a text if there is one, in a photograph that the model sees at a size it knows."""
    workflow = Workflow(name)
    models = load_models(workflow)
    scene, picture = pictures(workflow, {"Scene": "photo_scene", "Object": "photo_object"})
    workflow.group("A size the model likes", VIOLET)
    fitted = workflow.add("FitForEdit", image=scene[0], model="SD 1.5", method="pad")
    workflow.group("Object", GREEN)
    encoded = encode(workflow, models, picture)
    tokens: Tokens = encoded
    if text:
        workflow.group("Text", GREEN)
        words = workflow.add("CLIPTextEncode", clip=models.clip, text=text)
        joined = {"conditioning_to": encoded[0], "conditioning_from": words[0]}
        both = workflow.add("ConditioningConcat", "Object and text", **joined)
        tokens = (both[0], encoded[1])
    guidance = guide(workflow, REAL_SCALES)
    workflow.group("Insertion", BLUE)
    edited = sample_pix2pix(workflow, models, scene=fitted, tokens=tokens, guidance=guidance)[1]
    workflow.group("Scene restored", VIOLET)
    unfitted = workflow.add("UndoFit", fit=fitted[2], image=edited[0])
    result = restore(workflow, scene, unfitted, vae=models.vae)
    finish(workflow, scene[0], result[0])
    show_changes(workflow, result[1])
    return workflow


def insert_object_stock_nodes() -> Workflow:
    workflow = Workflow("insert_object_stock_nodes")
    models = playroom(workflow)
    scene, picture = pictures(workflow, {"Scene": "scene", "Object": "object"})
    workflow.group("Object", GREEN)
    features = workflow.add("CLIPVisionEncode", clip_vision=models.clip_vision, image=picture[0], crop="none")
    tokens = optimize(workflow, models, features)
    workflow.group("Three branches", GREEN)
    both = workflow.add(
        "InstructPixToPixConditioning", positive=tokens[0], negative=tokens[1], vae=models.vae, pixels=scene[0]
    )
    guider = workflow.add(
        "DualCFGGuider",
        model=models.model,
        cond1=both[0],
        cond2=both[1],
        negative=tokens[1],
        cfg_conds=PLAYROOM_SCALES["object_scale"],
        cfg_cond2_negative=PLAYROOM_SCALES["scene_scale"],
        style="regular",
    )
    workflow.group("Sampling", BLUE)
    latent = sample(workflow, models, guider=guider, latent=both[2])
    edited = workflow.add("VAEDecode", samples=latent[0], vae=models.vae)
    result = restore(workflow, scene, edited, vae=models.vae)
    finish(workflow, scene[0], result[0])
    show_changes(workflow, result[1])
    return workflow


def insert_two_objects() -> Workflow:
    workflow = Workflow("insert_two_objects")
    models = playroom(workflow)
    guidance = guide(workflow)
    scene, *objects = pictures(workflow, {"Scene": "scene", "Object": "object", "Second object": "object2"})
    result = scene
    effects = []
    for title, picture, seed in zip(("First object", "Second object"), objects, (SEED, SECOND_SEED), strict=True):
        workflow.group(title, BLUE)
        tokens = encode(workflow, models, picture)
        result = insert(workflow, models, scene=result, tokens=tokens, guidance=guidance, seed=seed)
        effects.append(result[1])
    finish(workflow, scene[0], result[0])
    show_changes(workflow, *effects)
    return workflow


def insert_and_upscale() -> Workflow:
    workflow = Workflow("insert_and_upscale")
    models = playroom(workflow)
    guidance = guide(workflow)
    scene, picture = pictures(workflow, {"Scene": "scene", "Object": "object"})
    workflow.group("Insertion", BLUE)
    tokens = encode(workflow, models, picture)
    small = insert(workflow, models, scene=scene, tokens=tokens, guidance=guidance)
    workflow.group("Twice the size", VIOLET)
    double = {"upscale_method": "lanczos", "scale_by": 2.0}
    large_scene = workflow.add("ImageScaleBy", "Enlarge the scene", image=scene[0], **double)
    large = workflow.add("ImageScaleBy", "Enlarge the result", image=small[0], **double)
    latent = workflow.add("VAEEncode", pixels=large[0], vae=models.vae)
    guider = workflow.add("ImageConditionedPix2PixGuider", **conditions(models, large_scene, tokens, guidance))
    workflow.group("Second pass", BLUE)
    latent = sample(workflow, models, guider=guider, latent=latent[0], denoise=SECOND_PASS)
    sharp = workflow.add("SceneDecode", latent=latent[0], vae=models.vae, scene=large_scene[0])
    result = restore(workflow, large_scene, sharp, vae=models.vae)
    finish(workflow, large[0], result[0], "Enlarged only, and sampled again")
    show_changes(workflow, result[1])
    return workflow


def insert_object_two_views() -> Workflow:
    workflow = Workflow("insert_object_two_views")
    models = playroom(workflow)
    guidance = guide(workflow)
    samples = {"Scene": "scene", "One view": "object_detail", "Another view": "object_other_view"}
    scene, one, other = pictures(workflow, samples)
    workflow.group("One view", BLUE)
    tokens = encode(workflow, models, one)
    alone = insert(workflow, models, scene=scene, tokens=tokens, guidance=guidance)
    workflow.group("Both views", BLUE)
    views = workflow.add("BatchImagesNode", **{"images.image0": one[0], "images.image1": other[0]})
    tokens = encode(workflow, models, views)
    result = insert(workflow, models, scene=scene, tokens=tokens, guidance=guidance)
    finish(workflow, alone[0], result[0], "One view, and both")
    show_changes(workflow, result[1])
    return workflow


def sweep_and_choose() -> Workflow:
    workflow = Workflow("sweep_and_choose")
    models = playroom(workflow)
    scene, picture = pictures(workflow, {"Scene": "scene", "Object": "object"})
    workflow.group("Object", GREEN)
    tokens = encode(workflow, models, picture)
    eye = {
        "clip_vision": models.clip_vision,
        "object_image": picture[0],
        "embedding_optimizer": models.embedding_optimizer,
    }
    workflow.group("Scales", GREEN)
    conditioning = conditions(models, scene, tokens, [])
    del conditioning["guidance"]
    swept = workflow.add(
        "GuidanceSweep",
        **conditioning,
        **eye,
        object_scales="1.5, 2.5, 4",
        scene_scales="1, 1.2, 1.5",
        seed=SEED,
        seeds=1,
        **FEW_STEPS,
        pick="best",
    )
    workflow.add("PreviewImage", "All cells", images=swept[2])
    workflow.group("Four seeds", BLUE)
    four = workflow.add("RepeatImageBatch", image=scene[0], amount=4)
    inputs = conditions(models, four, tokens, swept[0])
    latent = workflow.add("ImageConditionedPix2PixSampler", **inputs, seed=SEED, **FEW_STEPS, denoise=1.0)
    edited = workflow.add("SceneDecode", latent=latent[0], vae=models.vae, scene=scene[0])
    best = workflow.add("BestOf", images=edited[0], scene=scene[0], **eye, align_geometry=False)
    result = restore(workflow, scene, best, vae=models.vae)
    finish(workflow, scene[0], result[0])
    show_changes(workflow, result[1])
    return workflow


def insert_in_local_region() -> Workflow:
    workflow = Workflow("insert_in_local_region")
    models = playroom(workflow)
    guidance = guide(workflow)
    scene, picture = pictures(workflow, {"Scene": "dollhouse", "Object": "object"})
    workflow.group("Object", GREEN)
    tokens = encode(workflow, models, picture)
    cut = cut_out(workflow, scene, expansion=0.5, working_size=128, **IN_THE_MIDDLE_ROOM)
    workflow.group("Insertion", BLUE)
    edited = insert(workflow, models, scene=cut, tokens=tokens, guidance=guidance)
    result = put_back(workflow, cut, edited)
    finish(workflow, scene[0], result[0])
    show_changes(workflow, result[1])
    return workflow


WORKFLOWS = (
    insert_object,
    insert_cutout,
    insert_object_fast,
    insert_object_stock_nodes,
    insert_two_objects,
    insert_and_upscale,
    insert_object_two_views,
    insert_in_local_region,
    sweep_and_choose,
    insert_object_real,
    insert_object_with_text,
    insert_object_paint_by_inpaint,
)
