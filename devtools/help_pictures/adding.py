"""The pictures of Add-It's nodes, and of the playroom's text-to-picture model that they show it with."""

from __future__ import annotations

import json
from typing import Any

import torch
from PIL import Image, ImageDraw

from ..workflows.adding import PLAYROOM_SAMPLING, SCENE
from .layout import sheet
from .workshop import FRAME, Workshop, picture_of, pixels_of, sample, tinted

TOLD = f"{SCENE} and a plain red ball on the table"
SUBJECT = "red ball"
SHOWN = f"{SCENE} and a toy on the table"
TOLD_SEED = 4
SHOWN_SEED = 4


class Adding:
    """The small FLUX and what several pictures need of it."""

    def __init__(self, workshop: Workshop):
        self.workshop = workshop
        self.model, self.clip, self.vae, self.clip_vision = workshop("PlayroomFlux")
        self.scene = pixels_of(sample("scene"))
        (self.latent,) = workshop("VAEEncode", pixels=self.scene, vae=self.vae)

    def told(self, prompt: str, subject: str = "") -> Any:
        return self.workshop("AddItPrompt", clip=self.clip, prompt=prompt, subject=subject)[0]

    def shown(self, name: str) -> Any:
        (seen,) = self.workshop("ObjectImageEncode", clip_vision=self.clip_vision, image=pixels_of(sample(name)))
        return self.workshop("PlayroomPictureWords", clip=self.clip, clip_vision_output=seen, prompt=SHOWN, word="toy")[
            0
        ]

    def patched(self, **settings: Any) -> tuple[Any, Any]:
        return self.workshop(
            "AddItAttention",
            model=self.model,
            source_latent=self.latent,
            source_conditioning=self.told(SCENE),
            **settings,
        )

    def sampled(self, model: Any, positive: Any, seed: int) -> torch.Tensor:
        (latent,) = self.workshop(
            "KSampler",
            model=model,
            positive=positive,
            negative=self.told(""),
            latent_image=self.latent,
            seed=seed,
            denoise=1.0,
            **PLAYROOM_SAMPLING,
        )
        return self.workshop("VAEDecode", samples=latent, vae=self.vae)[0]

    def added(self, **changes: Any) -> tuple[Any, ...]:
        words = {"scene_prompt": SCENE, "prompt": TOLD, "subject": SUBJECT, "seed": TOLD_SEED}
        parts = {"model": self.model, "clip": self.clip, "vae": self.vae, "scene": self.scene}
        return self.workshop("AddItSampler", **parts, **(words | changes), **PLAYROOM_SAMPLING)


def playroom_flux(workshop: Workshop) -> Image.Image:
    adding = Adding(workshop)
    captions = {
        "a blue mug": f"{SCENE} and a plain blue mug on the table",
        "a yellow star": f"{SCENE} and a plain yellow star on the floor",
        "two toys": f"{SCENE} , a striped red ball on the table and a plain green cone on the floor",
    }
    return sheet(
        [(name, picture_of(adding.sampled(adding.model, adding.told(text), 3))) for name, text in captions.items()]
    )


def picture_words(workshop: Workshop) -> Image.Image:
    adding = Adding(workshop)
    rows = []
    for name in ("object", "object2"):
        positive = adding.shown(name)
        drawn = [("drawn", picture_of(adding.sampled(adding.model, positive, seed))) for seed in (1, 2)]
        rows.append([("shown", sample(name)), ">", *drawn])
    return sheet(*rows)


def prompt(workshop: Workshop) -> Image.Image:
    adding = Adding(workshop)
    picture, place = _told(adding)
    return sheet([("the picture", picture_of(picture)), ("red ball, looked for", picture_of(place[3]))])


def _told(adding: Adding) -> tuple[torch.Tensor, tuple[Any, ...]]:
    model, run = adding.patched()
    picture = adding.sampled(model, adding.told(TOLD, SUBJECT), TOLD_SEED)
    return picture, adding.workshop("AddItSubject", add_it=run, image=picture)


def picture_subject(workshop: Workshop) -> Image.Image:
    adding = Adding(workshop)
    image, *_ = adding.added(positive=adding.shown("object2"), seed=SHOWN_SEED)
    panes = [("shown", sample("object2")), "+", ("scene", sample("scene")), ">", ("image", picture_of(image))]
    return sheet(panes)


def attention(workshop: Workshop) -> Image.Image:
    adding = Adding(workshop)
    positive = adding.told(TOLD, SUBJECT)
    blind, _ = adding.patched(double_until=0.0, single_until=0.0, blend=False)
    seeing, _ = adding.patched()
    return sheet(
        [
            ("scene", sample("scene")),
            ("without a look", picture_of(adding.sampled(blind, positive, TOLD_SEED))),
            ("Add-It", picture_of(adding.sampled(seeing, positive, TOLD_SEED))),
        ]
    )


def subject(workshop: Workshop) -> Image.Image:
    adding = Adding(workshop)
    picture, (mask, points, boxes, looked) = _told(adding)
    marked = picture_of(picture).resize((512, 512), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(marked)
    for point in json.loads(points):
        x, y = 4 * point["x"], 4 * point["y"]
        pen.ellipse((x - 10, y - 10, x + 10, y + 10), fill=FRAME)
    left, top = 4 * boxes["x"], 4 * boxes["y"]
    pen.rectangle((left, top, left + 4 * boxes["width"], top + 4 * boxes["height"]), outline=FRAME, width=6)
    return sheet(
        [("image", picture_of(picture)), ("map", picture_of(looked))],
        [("mask", tinted(picture_of(picture), mask)), ("points and box", marked)],
    )


def blend(workshop: Workshop) -> Image.Image:
    adding = Adding(workshop)
    model, run = adding.patched(blend=False)
    positive = adding.told(TOLD, SUBJECT)
    (sigmas,) = workshop("BasicScheduler", model=model, scheduler="simple", steps=20, denoise=1.0)
    first, second = workshop("SplitSigmas", sigmas=sigmas, step=13)
    (guider,) = workshop("CFGGuider", model=model, positive=positive, negative=adding.told(""), cfg=3.0)
    settings = {"guider": guider, "sampler": workshop("KSamplerSelect", sampler_name="euler")[0]}
    (noise,) = workshop("RandomNoise", noise_seed=TOLD_SEED)
    half, estimate = workshop(
        "SamplerCustomAdvanced", noise=noise, sigmas=first, latent_image=adding.latent, **settings
    )
    (so_far,) = workshop("VAEDecode", samples=estimate, vae=adding.vae)
    mask, *_ = workshop("AddItSubject", add_it=run, image=so_far)
    (blended,) = workshop("AddItBlend", add_it=run, model=model, latent=half, sigmas=second, mask=mask)
    (nothing,) = workshop("DisableNoise")
    done, _ = workshop("SamplerCustomAdvanced", noise=nothing, sigmas=second, latent_image=blended, **settings)
    (picture,) = workshop("VAEDecode", samples=done, vae=adding.vae)
    return sheet(
        [
            ("denoised_output", picture_of(so_far)),
            ("mask", tinted(picture_of(so_far), mask)),
            ("finished", picture_of(picture)),
        ]
    )


def sampler(workshop: Workshop) -> Image.Image:
    adding = Adding(workshop)
    image, effect, *_ = adding.added()
    return sheet([("scene", sample("scene")), ("image", picture_of(image)), ("effect", picture_of(effect))])


DRAWN = {
    "PlayroomFlux": playroom_flux,
    "PlayroomPictureWords": picture_words,
    "AddItPrompt": prompt,
    "AddItPictureSubject": picture_subject,
    "AddItAttention": attention,
    "AddItSubject": subject,
    "AddItBlend": blend,
    "AddItSampler": sampler,
}
