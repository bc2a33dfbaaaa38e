"""One picture for each node that makes something: what goes in, and what comes out."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ...benchmarks.restoration_cases import make_case
from ...pipelines.paint_by_example.exemplar_picture import exemplar_pictures
from ...pipelines.pictures.objects import prepare_object
from ...pipelines.sampling.guidance import Guidance
from ...pipelines.sampling.schedule_picture import draw_schedule
from ..inprocess import InProcess
from ..workflows.sample_pictures import IN_THE_MIDDLE_ROOM, IN_THE_ROOM_BELOW
from . import adding, learning
from .layout import WIDTH, sheet
from .workshop import SCALES, SEED, Workshop, framed, photograph, picture_of, pixels_of, sample, tinted

CUP = {"x": 165, "y": 15, "width": 280, "height": 330}  # in coffee.png, px
TALL = (100, 0, 340, 512)  # of astronaut.png: a shape that is none of the model's
STANDING = {"x": 48, "y": 52, "width": 34, "height": 40}  # on the table of the sample scene, px


FEW_STEPS = dict(steps=6, sampler_name="euler_ancestral", scheduler="karras")  # as in the template sweep_and_choose


def corners(box: dict[str, int], grow: int = 0) -> tuple[int, int, int, int]:
    left = box["x"] - grow
    top = box["y"] - grow
    return left, top, box["x"] + box["width"] + grow, box["y"] + box["height"] + grow


def ellipse(size: tuple[int, int], box: tuple[int, int, int, int]) -> Tensor:
    """A mask [1,H,W] as if painted by hand."""
    page = Image.new("L", size)
    ImageDraw.Draw(page).ellipse(box, fill=255)
    return pixels_of(page)


def difference(one: Image.Image, other: Image.Image) -> Image.Image:
    """How far two pictures are apart, four times enlarged."""
    apart = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max(-1)
    return Image.fromarray((apart * 4).clip(0, 255).astype(np.uint8))


def arbitrary_mask(workshop: Workshop) -> Image.Image:
    scene = photograph("coffee.png")
    settings = {"extension": 0.4, "samples": 18, "jitter": 5}
    shapes = [
        tinted(scene, workshop("ArbitraryMask", image=pixels_of(scene), seed=seed, **CUP, **settings)[0])
        for seed in (0, 1)
    ]
    return sheet([("the box", framed(scene, corners(CUP)))], [("seed 0", shapes[0]), ("seed 1", shapes[1])])


def box_to_mask(workshop: Workshop) -> Image.Image:
    scene = photograph("coffee.png")
    (mask,) = workshop("BoxToMask", image=pixels_of(scene), **CUP)
    return sheet([("image, and the box", framed(scene, corners(CUP))), ">", ("mask", picture_of(mask))])


def embedding_optimizer(workshop: Workshop) -> Image.Image:
    results = [
        (f"strength {strength:g}", workshop.inserted("object", strength=strength)) for strength in (0.5, 1.0, 2.0)
    ]
    return sheet([("the object", sample("object")), "+", ("the scene", sample("scene"))], results)


def fit_for_edit(workshop: Workshop) -> Image.Image:
    scene = photograph("astronaut.png").crop(TALL)
    fitted = [
        (method, picture_of(workshop("FitForEdit", image=pixels_of(scene), model="GPT Image", method=method)[0]))
        for method in ("pad", "crop")
    ]
    return sheet([(f"{scene.width} x {scene.height}", scene), ">", *fitted])


def undo_fit(workshop: Workshop) -> Image.Image:
    scene = photograph("astronaut.png").crop(TALL)
    fitted, _, fit, *_ = workshop("FitForEdit", image=pixels_of(scene), model="GPT Image", method="pad")
    (back,) = workshop("UndoFit", fit=fit, image=fitted)
    return sheet(
        [
            (f"{scene.width} x {scene.height}", scene),
            ">",
            ("1024 x 1536", picture_of(fitted)),
            ">",
            (f"{back.shape[2]} x {back.shape[1]}", picture_of(back)),
        ]
    )


def guidance_control(workshop: Workshop) -> Image.Image:
    schedule = draw_schedule(Guidance(object_scale=7.5, scene_scale=1.5, object_end=0.7, scene_end=0.5))
    results = [
        (f"object_scale {scale:g}", workshop.inserted("object", object_scale=scale)) for scale in (1.0, 2.5, 8.0)
    ]
    return sheet([("the schedule, as the node draws it", schedule)], results)


def guider(workshop: Workshop) -> Image.Image:
    model, vae, *_ = workshop.toys
    positive, negative = workshop.conditioning(sample("object"))
    scene = pixels_of(sample("scene"))
    (guidance,) = workshop("GuidanceControl", **SCALES)
    guider, latent = workshop(
        "ImageConditionedPix2PixGuider",
        model=model,
        vae=vae,
        scene=scene,
        positive=positive,
        negative=negative,
        guidance=guidance,
    )
    results = []
    for name, steps in (("euler", 20), ("dpmpp_2m", 10), ("ddim", 30)):
        sampled, _ = workshop(
            "SamplerCustomAdvanced",
            noise=workshop("RandomNoise", noise_seed=SEED)[0],
            guider=guider,
            sampler=workshop("KSamplerSelect", sampler_name=name)[0],
            sigmas=workshop("BasicScheduler", model=model, scheduler="normal", steps=steps, denoise=1.0)[0],
            latent_image=latent,
        )
        results.append((f"{name}, {steps}", workshop.restored(scene, sampled, vae)))
    return sheet([("the object", sample("object")), "+", ("the scene", sample("scene"))], results)


def sampler(workshop: Workshop) -> Image.Image:
    scene = pixels_of(sample("scene"))
    latent, relevance = workshop.sampled(scene, sample("object"))
    result = workshop.restored(scene, latent, workshop.toys[1], relevance=relevance)
    return sheet(
        [("the object", sample("object")), "+", ("scene", sample("scene"))],
        [("decoded and restored", result), ("relevance", picture_of(relevance))],
    )


def local_region_crop(workshop: Workshop) -> Image.Image:
    scene = photograph("rocket.jpg")
    mask = ellipse(scene.size, (300, 90, 350, 300))
    crop, crop_mask, _ = _crop(workshop, scene, mask=mask, working_size=256)
    return sheet([("image, and the mask", tinted(scene, mask))], [("crop", crop), ("crop_mask", crop_mask)])


def _crop(workshop: Workshop, scene: Image.Image, **inputs: Any) -> tuple[Image.Image, Image.Image, Any]:
    settings = {"expansion": 0.5, "regions": "together", "minimum": 32, "shape": "square", "index": 0}
    crop, mask, region, _ = workshop("LocalRegionCrop", image=pixels_of(scene), **settings, **inputs)
    return picture_of(crop), picture_of(mask), region


def local_region_paste(workshop: Workshop) -> Image.Image:
    scene = sample("dollhouse")
    crop, _, region = _crop(workshop, scene, working_size=128, **IN_THE_MIDDLE_ROOM)
    latent, _ = workshop.sampled(pixels_of(crop), sample("object"))
    (edited,) = workshop("SceneDecode", latent=latent, vae=workshop.toys[1], scene=pixels_of(crop))
    image, changed = workshop(
        "LocalRegionPaste",
        local_region=region,
        image=edited,
        feather=16,
        colour_match=0.0,
        area="changes",
    )
    return sheet(
        [("the crop", crop), ">", ("edited", picture_of(edited))],
        [("image", picture_of(image)), ("changed", picture_of(changed))],
    )


def object_image_encode(workshop: Workshop) -> Image.Image:
    pixels = pixels_of(photograph("coffee.png"))
    return _seen_by_encoder(
        {
            "no mask": prepare_object(pixels),
            "mask, auto": prepare_object(pixels, _cup_mask(), background="auto"),
            "mask, white": prepare_object(pixels, _cup_mask(), background="white"),
        }
    )


def exemplar_encode(workshop: Workshop) -> Image.Image:
    pixels = pixels_of(photograph("coffee.png"))
    return _seen_by_encoder(
        {
            "no mask": exemplar_pictures(pixels, None)[0],
            "mask, auto": exemplar_pictures(pixels, _cup_mask(), background="auto")[0],
            "mask, grey": exemplar_pictures(pixels, _cup_mask(), background="grey")[0],
        }
    )


def _cup_mask() -> Tensor:
    return ellipse(photograph("coffee.png").size, (80, 10, 492, 398))


def _seen_by_encoder(prepared: dict[str, Tensor]) -> Image.Image:
    """A photograph and its mask, and below the squares that a CLIP encoder gets, by the settings that make them."""
    picture = photograph("coffee.png")
    squares = [
        (name, picture_of(pixels).resize((224, 224), Image.Resampling.BICUBIC)) for name, pixels in prepared.items()
    ]
    return sheet([("image", picture), ("mask", tinted(picture, _cup_mask()))], squares)


def exemplar_conditioning(workshop: Workshop) -> Image.Image:
    scene = sample("scene")
    pixels = pixels_of(scene)
    mask = workshop.toy_mask(pixels)
    hole = picture_of(pixels * (1 - mask[..., None]) + 0.5 * mask[..., None])
    result = workshop.painted(pixels, mask, sample("object"))
    return sheet(
        [("image", scene), "+", ("mask", picture_of(mask))],
        [("what the model is shown", hole), ">", ("sampled, decoded", result)],
    )


def doctor(workshop: Workshop) -> Image.Image:
    """The insertion that it tries, and what it checks: whatever is not the object is the scene's."""
    scene = sample("scene")
    result = workshop.inserted("object")
    return sheet(
        [("the sample object", sample("object")), "+", ("the sample scene", scene)],
        [("put in", result), ("differs from the scene", difference(scene, result))],
    )


def exemplar_toys(workshop: Workshop) -> Image.Image:
    scene = sample("dollhouse")
    (mask,) = workshop("BoxToMask", image=pixels_of(scene), **IN_THE_ROOM_BELOW)
    crop, crop_mask, *_ = _crop(workshop, scene, mask=mask, working_size=128)
    results = [
        ("painted", workshop.painted(pixels_of(crop), pixels_of(crop_mask), sample(name)))
        for name in ("object", "object2")
    ]
    masked = tinted(crop, pixels_of(crop_mask))
    return sheet(
        [("exemplar", sample("object")), "+", ("scene, mask", masked), ">", results[0]],
        [("exemplar", sample("object2")), "+", ("scene, mask", masked), ">", results[1]],
    )


def toys(workshop: Workshop) -> Image.Image:
    scene = ("scene", sample("scene"))
    return sheet(
        *(
            [("object", sample(name)), "+", scene, ">", ("result", workshop.inserted(name))]
            for name in ("object", "object2")
        )
    )


def place_object(workshop: Workshop) -> Image.Image:
    _, (image, _, effect, _) = _placed(workshop)
    return sheet(
        [("object_image", sample("object_cutout")), "+", ("scene, and the box", framed(_room(), _box()))],
        [("image", picture_of(image)), ("effect", picture_of(effect))],
    )


ROOM = 3  # times as large as the sample


def _room() -> Image.Image:
    scene = sample("scene")
    return scene.resize((scene.width * ROOM, scene.height * ROOM), Image.Resampling.LANCZOS)


def _box() -> tuple[int, int, int, int]:
    left, top, right, bottom = (ROOM * side for side in corners(STANDING))
    return left, top, right, bottom


def _placed(workshop: Workshop) -> tuple[Tensor, tuple[Tensor, ...]]:
    scene = pixels_of(_room())
    box = {name: ROOM * value for name, value in STANDING.items()}
    settings = {"shadow": 0.8, "softness": 0.5, "light": 0.5}
    return scene, workshop(
        "PlaceObject", scene=scene, object_image=pixels_of(sample("object_cutout")), **box, **settings
    )


def restore_scene(workshop: Workshop) -> Image.Image:
    case = make_case("coffee.png", "zoom 1.05, shift 2 %, colour")
    scene = torch.from_numpy(case.scene.copy())[None]
    edited = torch.from_numpy(case.edited)[None]
    image, *_ = workshop("RestoreScene", scene=scene, edited=edited)
    before = picture_of(scene)
    return sheet(
        [("scene", before)],
        [("edited: moved", picture_of(edited)), ("image", picture_of(image))],
        [
            ("edited - scene", difference(before, picture_of(edited))),
            ("image - scene", difference(before, picture_of(image))),
        ],
    )


def split_layers(workshop: Workshop) -> Image.Image:
    scene, (image, mask, effect, _) = _placed(workshop)
    layers = workshop("SplitLayers", scene=scene, image=image, object_mask=mask, effect_mask=effect)
    names = ("object", "shadow", "light: none")
    return sheet(
        [("scene", picture_of(scene)), ("image", picture_of(image))],
        [(name, picture_of(layer)) for name, layer in zip(names, layers, strict=True)],
    )


def save_layers(workshop: Workshop) -> Image.Image:
    """The layers as they lie in the file."""
    scene, (image, mask, effect, _) = _placed(workshop)
    workshop(
        "SaveLayers",
        scene=scene,
        image=image,
        object_mask=mask,
        effect_mask=effect,
        filename_prefix="help/layers",
        object_name="object",
    )
    (path,) = (workshop.comfy.base / "output" / "help").glob("*.ora")
    with zipfile.ZipFile(path) as file:
        merged = Image.open(file.open("mergedimage.png"))
        merged.load()
        layers = _layers_of(file, merged.size)
    return sheet([("the file, opened", merged)], [(name, layer) for name, layer in layers])


def _layers_of(file: zipfile.ZipFile, size: tuple[int, int]) -> list[tuple[str, Image.Image]]:
    """By name, the lowest first, each at its place."""
    layers = []
    for entry in ElementTree.fromstring(file.read("stack.xml")).iter("layer"):
        canvas = Image.new("RGBA", size)
        canvas.paste(Image.open(file.open(entry.attrib["src"])), (int(entry.get("x", 0)), int(entry.get("y", 0))))
        layers.append((entry.attrib["name"], canvas))
    return layers[::-1]


def scene_decode(workshop: Workshop) -> Image.Image:
    _, vae, *_ = workshop.toys
    scene = sample("scene").crop((4, 7, 125, 120))
    pixels = pixels_of(scene)
    wide = torch.nn.functional.pad(pixels.movedim(-1, 1), (0, 7, 0, 7), mode="replicate").movedim(1, -1)
    (latent,) = workshop("VAEEncode", pixels=wide, vae=vae)
    stock = picture_of(workshop("VAEDecode", samples=latent, vae=vae)[0])
    (ours,) = workshop("SceneDecode", latent=latent, vae=vae, scene=pixels)
    result = picture_of(ours)
    return sheet(
        [
            (f"scene {scene.width}x{scene.height}", scene),
            (f"VAE: {stock.width}x{stock.height}", framed(stock, (0, 0, scene.width - 1, scene.height - 1), width=1)),
            (f"image {result.width}x{result.height}", result),
        ]
    )


def full_width(picture: Image.Image) -> Image.Image:
    """A picture that has its own letters, as wide as a sheet."""
    return picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)


def guidance_sweep(workshop: Workshop) -> Image.Image:
    """The sheet as in the template sweep_and_choose."""
    model, vae, clip_vision, optimizer = workshop.toys
    positive, negative = workshop.conditioning(sample("object"))
    made = workshop(
        "GuidanceSweep",
        model=model,
        vae=vae,
        scene=pixels_of(sample("scene")),
        positive=positive,
        negative=negative,
        clip_vision=clip_vision,
        object_image=pixels_of(sample("object")),
        embedding_optimizer=optimizer,
        seed=SEED,
        seeds=1,
        **FEW_STEPS,
        pick="best",
        object_scales="1.5, 2.5, 4",
        scene_scales="1, 1.2, 1.5",
    )
    return full_width(picture_of(made[2]))


def best_of(workshop: Workshop) -> Image.Image:
    """Four seeds, and the object beside them."""
    model, vae, clip_vision, optimizer = workshop.toys
    scene = pixels_of(sample("scene"))
    positive, negative = workshop.conditioning(sample("object"))
    latent, _ = workshop(
        "ImageConditionedPix2PixSampler",
        model=model,
        vae=vae,
        scene=scene.repeat(4, 1, 1, 1),
        positive=positive,
        negative=negative,
        guidance=workshop("GuidanceControl", **SCALES)[0],
        seed=SEED,
        denoise=1.0,
        **FEW_STEPS,
    )
    (edited,) = workshop("SceneDecode", latent=latent, vae=vae, scene=scene)
    made = workshop(
        "BestOf",
        images=edited,
        scene=scene,
        clip_vision=clip_vision,
        object_image=pixels_of(sample("object")),
        embedding_optimizer=optimizer,
        align_geometry=False,
    )
    asked = sheet([("the object", sample("object")), "+", ("the scene", sample("scene"))])
    ranked = full_width(picture_of(made[2]))
    page = Image.new("RGB", (WIDTH, asked.height + ranked.height))
    page.paste(asked, (0, 0))
    page.paste(ranked, (0, asked.height))
    return page


DRAWN: dict[str, Callable[[Workshop], Image.Image]] = {
    "ArbitraryMask": arbitrary_mask,
    "BestOf": best_of,
    "BoxToMask": box_to_mask,
    "EmbeddingOptimizer": embedding_optimizer,
    "FitForEdit": fit_for_edit,
    "GuidanceControl": guidance_control,
    "GuidanceSweep": guidance_sweep,
    "ImageConditionedPix2PixGuider": guider,
    "ImageConditionedPix2PixSampler": sampler,
    "LocalRegionCrop": local_region_crop,
    "LocalRegionPaste": local_region_paste,
    "ObjectImageEncode": object_image_encode,
    "PaintByExampleConditioning": exemplar_conditioning,
    "PaintByExampleEncode": exemplar_encode,
    "PaintByExamplePlayroomModels": exemplar_toys,
    "PlaceObject": place_object,
    "PlayroomModels": toys,
    "RestoreScene": restore_scene,
    "SaveLayers": save_layers,
    "SceneDecode": scene_decode,
    "SplitLayers": split_layers,
    "UndoFit": undo_fit,
    "VisualInsertionDoctor": doctor,
    **adding.DRAWN,
    **learning.DRAWN,
}


def draw(home: Path, names: list[str]) -> Iterator[tuple[str, Image.Image]]:
    """These nodes' ids with their pictures, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(InProcess(home, Path(folder)))
        for name in names:
            yield name, DRAWN[name](workshop)
