"""ComfyUI's nodes and ours as calls, and the toys and photographs that the help's pictures begin with."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..inprocess import InProcess
from ..pictures import SAMPLES
from ..workflows.sample_pictures import ON_THE_TABLE

SEED = 5
SCALES = {"object_scale": 2.5, "scene_scale": 1.2}  # of the toys
FRAME = (255, 220, 60)
TINT = np.array([40, 190, 255])


def picture_of(pixels: Tensor) -> Image.Image:
    """The first of a batch of pictures [B,H,W,C] or masks [B,H,W]."""
    return Image.fromarray((pixels[0].clamp(0, 1).numpy() * 255).round().astype(np.uint8))


def pixels_of(picture: Image.Image) -> Tensor:
    """[1,H,W,C] in 0..1."""
    return torch.from_numpy(np.asarray(picture, np.float32) / 255)[None]


@cache
def sample(name: str) -> Image.Image:
    """A picture that ships with the pack; see devtools/workflows/sample_pictures.py."""
    with Image.open(SAMPLES / f"{name}.png") as file:
        file.load()
    return file


@cache
def photograph(name: str) -> Image.Image:
    """A photograph of scikit-image's data folder."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / name) as file:
        return file.convert("RGB")


def framed(picture: Image.Image, box: tuple[int, int, int, int], width: int = 4) -> Image.Image:
    """A picture with a box (left, top, right, bottom) drawn on it."""
    page = picture.convert("RGB")
    ImageDraw.Draw(page).rectangle(box, outline=FRAME, width=width)
    return page


def tinted(picture: Image.Image, mask: Tensor) -> Image.Image:
    """A picture with a mask [1,H,W] laid over it."""
    share = 0.6 * mask[0].numpy()[..., None]
    return Image.fromarray((np.asarray(picture) * (1 - share) + TINT * share).round().astype(np.uint8))


class Workshop:
    """`workshop(NODE, input=value)` runs one node; the rest is what several pictures need."""

    def __init__(self, comfy: InProcess):
        self.comfy = comfy

    def __call__(self, node: str, **inputs: Any) -> tuple[Any, ...]:
        return self.comfy(node, **inputs)

    @cached_property
    def toys(self) -> tuple[Any, ...]:
        """model, vae, clip_vision, embedding_optimizer."""
        return self("PlayroomModels")

    @cached_property
    def exemplar_toys(self) -> tuple[Any, ...]:
        """model, vae, clip_vision, exemplar_encoder."""
        return self("PaintByExamplePlayroomModels")

    def conditioning(self, object_picture: Image.Image, strength: float = 1.0) -> tuple[Any, Any]:
        _, _, clip_vision, optimizer = self.toys
        picture = pixels_of(object_picture)
        (seen,) = self("ObjectImageEncode", clip_vision=clip_vision, image=picture, framing="squash", background="auto")
        positive, negative = self(
            "EmbeddingOptimizer",
            embedding_optimizer=optimizer,
            clip_vision_output=seen,
            strength=strength,
            views="average",
        )
        return positive, negative

    def sampled(
        self,
        scene: Tensor,
        object_picture: Image.Image,
        *,
        strength: float = 1.0,
        student: str = "",
        **scales: float,
    ) -> tuple[Any, Tensor]:
        """The latent with the object in the scene, and the relevance, as in the template insert_object.

        With the name of a student as in insert_object_fast.
        """
        model, vae, *_ = self.toys
        if student:
            (model,) = self("ApplyStudent", model=model, name=student)
        positive, negative = self.conditioning(object_picture, strength)
        (guidance,) = self("GuidanceControl", **(SCALES | scales))
        latent, relevance = self(
            "ImageConditionedPix2PixSampler",
            model=model,
            vae=vae,
            scene=scene,
            positive=positive,
            negative=negative,
            guidance=guidance,
            seed=SEED,
            steps=20,
            sampler_name="euler_ancestral",
            scheduler="normal",
            denoise=1.0,
            speed="fast" if student else "exact",
        )
        return latent, relevance

    def inserted(self, object_name: str, **settings: Any) -> Image.Image:
        """A sample object in the sample scene: what the template insert_object makes of them."""
        scene = pixels_of(sample("scene"))
        latent, relevance = self.sampled(scene, sample(object_name), **settings)
        return self.restored(scene, latent, self.toys[1], relevance=relevance)

    def restored(self, scene: Tensor, latent: Any, vae: Any, **hints: Tensor) -> Image.Image:
        (edited,) = self("SceneDecode", latent=latent, vae=vae, scene=scene)
        return picture_of(self("RestoreScene", scene=scene, edited=edited, vae=vae, align_geometry=False, **hints)[0])

    def painted(self, scene: Tensor, mask: Tensor, exemplar: Image.Image) -> Image.Image:
        """The template paint_by_example on other pictures."""
        model, _, clip_vision, encoder = self.exemplar_toys
        positive, negative = self(
            "PaintByExampleEncode",
            clip_vision=clip_vision,
            exemplar_encoder=encoder,
            image=pixels_of(exemplar),
            framing="squash",
            background="auto",
            margin=10,
            strength=1.0,
        )
        return self.painted_from(scene, mask, model=model, positive=positive, negative=negative)

    def painted_from(self, scene: Tensor, mask: Tensor, *, model: Any, positive: Any, negative: Any) -> Image.Image:
        """The same with a model and conditionings that are there."""
        vae = self.exemplar_toys[1]
        positive, negative, latent = self(
            "PaintByExampleConditioning",
            positive=positive,
            negative=negative,
            vae=vae,
            image=scene,
            mask=mask,
            mask_resize="rounded",
        )
        (latent,) = self(
            "KSampler",
            model=model,
            positive=positive,
            negative=negative,
            latent_image=latent,
            seed=SEED,
            steps=20,
            cfg=3.0,
            sampler_name="ddim",
            scheduler="ddim_uniform",
            denoise=1.0,
        )
        return self.restored(scene, latent, vae, mask=mask)

    def toy_mask(self, scene: Tensor) -> Tensor:
        """A mask of no particular shape on the table."""
        settings = {"extension": 0.4, "samples": 18, "jitter": 1}
        return self("ArbitraryMask", image=scene, seed=SEED, **ON_THE_TABLE, **settings)[0]
