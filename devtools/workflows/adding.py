"""Workflows of Add-It: a text-to-picture model adds to a scene what it is told, or shown."""

from __future__ import annotations

from .graph import BLUE, CYAN, GREEN, VIOLET, Workflow
from .stages import finish, pictures, show_changes

SCENE = "a room with a table"  # what the sample scene is, in the playroom's words
PLAYROOM_SAMPLING = {"steps": 20, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple"}
TOLD_SEED = 4
SHOWN_SEED = 4


def add_it() -> Workflow:
    workflow = Workflow("add_it")
    workflow.group("Models", VIOLET)
    loader = workflow.add("PlayroomFlux")
    (scene,) = pictures(workflow, {"Scene": "scene"})
    workflow.group("Add-It", BLUE)
    parts = {"model": loader[0], "clip": loader[1], "vae": loader[2], "scene": scene[0]}
    words = {
        "scene_prompt": SCENE,
        "prompt": f"{SCENE} and a plain red ball on the table",
        "subject": "red ball",
    }
    added = workflow.add("AddItSampler", **parts, **words, seed=TOLD_SEED, **PLAYROOM_SAMPLING)
    finish(workflow, scene[0], added[0])
    show_changes(workflow, added[1])
    return workflow


def add_it_shown() -> Workflow:
    workflow = Workflow("add_it_shown")
    workflow.group("Models", VIOLET)
    loader = workflow.add("PlayroomFlux")
    model, clip, vae, clip_vision = (loader[output] for output in range(4))
    scene, shown = pictures(workflow, {"Scene": "scene", "Object": "object2"})
    workflow.group("Prompts", GREEN)
    seen = workflow.add("ObjectImageEncode", clip_vision=clip_vision, image=shown[0])
    prompt = f"{SCENE} and a toy on the table"
    positive = workflow.add("PlayroomPictureWords", clip=clip, clip_vision_output=seen[0], prompt=prompt)
    scene_prompt = workflow.add("CLIPTextEncode", "Scene prompt", clip=clip, text=SCENE)
    negative = workflow.add("CLIPTextEncode", "Negative prompt", clip=clip, text="")
    workflow.group("Add-It", BLUE)
    source = workflow.add("VAEEncode", pixels=scene[0], vae=vae)
    patched = workflow.add("AddItAttention", model=model, source_latent=source[0], source_conditioning=scene_prompt[0])
    inputs = {"positive": positive[0], "negative": negative[0], "latent_image": source[0], "denoise": 1.0}
    latent = workflow.add("KSampler", model=patched[0], **inputs, seed=SHOWN_SEED, **PLAYROOM_SAMPLING)
    sampled = workflow.add("SceneDecode", latent=latent[0], vae=vae, scene=scene[0])
    subject = workflow.add("AddItSubject", add_it=patched[1], image=sampled[0])
    restored = workflow.add(
        "RestoreScene",
        scene=scene[0],
        edited=sampled[0],
        vae=vae,
        align_geometry=False,
        match_colour=False,
        relevance=subject[3],
    )
    finish(workflow, scene[0], restored[0])
    show_changes(workflow, restored[1])
    workflow.group("Where the model looked", CYAN)
    workflow.add("MaskPreview", "Where the model looked", mask=subject[3])
    return workflow


WORKFLOWS = (add_it, add_it_shown)
