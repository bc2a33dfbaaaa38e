"""Our pipelines as those of diffusers: loaded, saved, moved and called by the names that are known from there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..commands._scenes import restored
from ..paint_by_example.pipeline import PaintByExamplePipeline as OwnPaintByExample
from ..pictures.files import mask_tensor, picture_tensor, pil_pictures
from ..pictures.masks import optional_mask
from ..sampling.guidance import Guidance
from ..sampling.latents import Sampled, round_trip
from ..systems import load_add_it
from ..training.run_record import RECORD
from ..visual_insertion.pipeline import VisualInsertionPipeline as OwnVisualInsertion
from . import calls, inputs, saving

SHIPPED = Path(__file__).resolve().parents[2]  # where the toy models are
SAMPLES = SHIPPED / "playroom_models" / "samples"
OUTPUTS = ("pil", "np", "pt")
COMMON = ("num_images_per_prompt", "generator", "output_type", "restore")  # of every pipeline here


@dataclass(frozen=True)
class Output:
    """What one call gives, picture by picture."""

    images: Any  # list of PIL pictures, or as output_type says: [B,H,W,3] in 0..1, numpy or torch
    seeds: list[int]  # that made them
    results: list[Sampled]  # all that our pipeline says of each: latents, relevance, ...


class Pipeline(ABC):
    """What our pipelines have in common here. `own` is the pipeline itself, in which nothing is translated."""

    aliases: ClassVar[Mapping[str, str]]  # our settings by diffusers' names
    more: ClassVar[tuple[str, ...]] = ()  # settings that are translated by `settle`
    pictures: ClassVar[tuple[str, ...]]  # settings that are pictures
    paired: ClassVar[tuple[str, ...]] = ()  # settings that a list has one of for each scene
    refused: ClassVar[Mapping[str, str]] = calls.REFUSED

    def __init__(self, own: Any, folder: str | Path | None = None):
        """`folder` is where it was loaded from."""
        self.own = own
        self.folder = folder

    @classmethod
    @abstractmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> Pipeline:
        """The pipeline of a folder on this machine."""

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that `from_pretrained` takes."""

    @property
    def networks(self) -> list[nn.Module]:
        """All that a result depends on."""
        return self.own.networks

    def to(self, *where: Any) -> Pipeline:
        """Move all networks to a device, or a type of numbers, or both; the pipeline itself comes back."""
        for network in self.networks:
            network.to(*where)
        return self

    def settle(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings of one picture as the own pipeline takes them."""
        return settings

    def vae(self) -> Any:
        """What turns pictures into latents and back."""
        return self.own.vae

    def __call__(self, image: Any = None, **given: Any) -> Output:
        """Make pictures of one scene or of several; each of several is made by itself, and may have its own size.

        Settings go by our names or by diffusers'. Beside the own pipeline's, these are taken:
        `num_images_per_prompt` pictures of each scene, with seeds that follow each other; `generator`, a
        torch.Generator or one for each picture, which the seeds are drawn from; `output_type` "pil", "np" or "pt";
        `restore` (True) gives back every pixel of the scene that the object did not change, False leaves the picture
        as the VAE made it.

        Raises TypeError for a setting that is not known, naming the right one; what the own pipeline raises.
        """
        parameters = list(signature(self.own.__call__).parameters)
        first = parameters[0]
        if image is not None:
            given = {"image": image, **given}
        known = {*parameters, *self.more, *COMMON}
        settings = calls.own_names(given, {"image": first, **self.aliases}, known, self.refused)
        if first not in settings:
            raise TypeError("image= is missing: the scene, or a list of scenes.")
        scenes = inputs.scenes_of(settings.pop(first))
        output_type = settings.pop("output_type", "pil")
        if output_type not in OUTPUTS:
            raise ValueError(f"output_type must be one of {', '.join(OUTPUTS)}, not {output_type!r}.")
        copies = int(settings.pop("num_images_per_prompt", 1))
        restore = settings.pop("restore", True)
        generator = settings.pop("generator", None)
        seeds = calls.seeds_of(settings.pop("seed", 0), generator, len(scenes) * copies)
        for name in self.pictures:
            if name in settings:
                settings[name] = inputs.as_pictures(settings[name], name)
        rows = self._rows(settings, len(scenes))
        results = []
        images = []
        for number, (scene, row) in enumerate(zip(scenes, rows, strict=True)):
            of_scene = [self.own(scene, **row, seed=seed) for seed in seeds[number * copies : (number + 1) * copies]]
            results += of_scene
            drift = round_trip(self.vae(), scene) if restore and of_scene else None  # once, whatever the copies
            images += [self.restored(scene, one, row, drift) if restore else one.images for one in of_scene]
        return Output(_as(output_type, images), seeds, results)

    def _rows(self, settings: dict[str, Any], count: int) -> list[dict[str, Any]]:
        """The settings of each scene."""
        own = {
            name: inputs.each(value, count, name, nested=name not in self.paired)
            if name in self.pictures
            else [value] * count
            for name, value in settings.items()
        }
        return [self.settle({name: values[row] for name, values in own.items()}) for row in range(count)]

    def restored(self, scene: Tensor, result: Any, settings: dict[str, Any], drift: Tensor | None) -> Tensor:
        """The result [B,H,W,3] with the scene's own pixels wherever the object changed nothing.

        `drift` [B,H,W,3] is what the VAE alone makes of the scene.
        """
        mask = settings.get("mask")
        if mask is not None:
            mask = optional_mask(mask_tensor(mask), *scene.shape[1:3])
        relevance = self.relevance(result)
        return restored(scene, result.images, self.vae(), mask=mask, relevance=relevance, drift=drift)

    def relevance(self, result: Any) -> Tensor | None:
        """Where the object mattered to the model, [B,H,W] in 0..1, if it says so."""
        return getattr(result, "relevance", None)


class VisualInsertionPipeline(Pipeline):
    """Puts a pictured object into a scene, without a mask.

    >>> import visual_insertion_pack as vi
    >>> pipe = vi.VisualInsertionPipeline.from_pretrained("playroom_models")
    >>> output = pipe(vi.SAMPLES / "scene.png", objects=vi.SAMPLES / "object.png", num_inference_steps=2)
    >>> output.images[0].size
    (128, 128)
    """

    aliases = {
        "num_inference_steps": "steps",
        "guidance_scale": "object_scale",
        "image_guidance_scale": "scene_scale",
        "mask_image": "mask",
    }
    more = ("object_scale", "scene_scale")
    pictures = ("objects", "masks", "mask")
    paired = ("mask",)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: str | torch.device = "cpu",
        torch_dtype: torch.dtype = torch.float32,
        **parts: Any,
    ) -> VisualInsertionPipeline:
        """From a diffusers InstructPix2Pix folder, or the folder of a run of `train`; nothing is downloaded.

        `parts` are those of the own `from_folder`: embedding_optimizer, image_encoder, detail_encoder, unet_patch; of a
        run, `models` alone, where the models that it was trained on have moved. Raises what these do.
        """
        place = saving.found(folder)
        if (place / RECORD).is_file():
            return cls(OwnVisualInsertion.from_run(place, device=device, dtype=torch_dtype, **parts))
        details = place / saving.DETAILS
        if details.is_dir():
            parts = {"detail_encoder": details, **parts}
        return cls(OwnVisualInsertion.from_folder(place, device=device, dtype=torch_dtype, **parts))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that `from_pretrained` takes, and diffusers too; a UNet patch is in its weights then.

        >>> import tempfile, visual_insertion_pack as vi
        >>> pipe = vi.VisualInsertionPipeline.from_pretrained("playroom_models")
        >>> folder = tempfile.mkdtemp()
        >>> pipe.save_pretrained(folder + "/mine")
        >>> again = vi.VisualInsertionPipeline.from_pretrained(folder + "/mine")
        """
        saving.save_visual_insertion(self.own, Path(folder))

    def settle(self, settings: dict[str, Any]) -> dict[str, Any]:
        if "objects" not in settings:
            raise TypeError("objects= is missing: a picture of the object, or a list of views of it.")
        if not isinstance(settings.get("guidance", self.own.guidance), Guidance | None):
            raise TypeError("guidance= is a Guidance; numbers go by guidance_scale= and image_guidance_scale=.")
        scales = {name: float(settings.pop(name)) for name in ("object_scale", "scene_scale") if name in settings}
        if scales:
            settings["guidance"] = replace(settings.get("guidance") or self.own.guidance, **scales)
        return settings

    def vae(self) -> Any:
        return self.own.pipeline.vae


class PaintByExamplePipeline(Pipeline):
    """Paints a pictured object into a mask of a scene.

    >>> import numpy as np, visual_insertion_pack as vi
    >>> pipe = vi.PaintByExamplePipeline.from_pretrained("playroom_models/paint_by_example")
    >>> mask = np.zeros((128, 128))
    >>> mask[70:110, 40:80] = 1
    >>> output = pipe(vi.SAMPLES / "scene.png", mask_image=mask, example_image=vi.SAMPLES / "object.png",
    ...               num_inference_steps=2, guidance_scale=5.0)
    >>> output.images[0].size
    (128, 128)
    """

    aliases = {
        "num_inference_steps": "steps",
        "guidance_scale": "similarity",
        "mask_image": "mask",
        "example_image": "exemplar",
        "objects": "exemplar",
    }
    pictures = ("mask", "exemplar", "exemplar_mask")
    paired = ("mask",)
    refused = calls.REFUSED | {
        "image_guidance_scale": "here the scene is kept by its mask; similarity= is the guidance"
    }

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, device: str | torch.device = "cpu", torch_dtype: torch.dtype = torch.float32
    ) -> PaintByExamplePipeline:
        """From the published diffusers folder, or that of a run of `train`; raises what the own `from_folder` does."""
        return cls(OwnPaintByExample.from_folder(saving.found(folder), device, torch_dtype))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder as it was published; `from_pretrained` here takes it, and so do the nodes.

        >>> import tempfile, visual_insertion_pack as vi
        >>> pipe = vi.PaintByExamplePipeline.from_pretrained("playroom_models/paint_by_example")
        >>> folder = tempfile.mkdtemp()
        >>> pipe.save_pretrained(folder + "/mine")
        >>> again = vi.PaintByExamplePipeline.from_pretrained(folder + "/mine")
        """
        saving.save_paint_by_example(self.own, Path(folder))

    def settle(self, settings: dict[str, Any]) -> dict[str, Any]:
        for name, what in (("mask", "where it goes"), ("exemplar", "a picture of the object")):
            if name not in settings:
                raise TypeError(f"{name}= is missing: {what}.")
        return settings


class AddItPipeline(Pipeline):
    """Adds what a prompt says to a scene, without training (Add-it).

    >>> import visual_insertion_pack as vi
    >>> pipe = vi.AddItPipeline.from_pretrained("playroom_flux")
    >>> output = pipe(vi.SAMPLES / "scene.png", prompt="a room with a red ball", subject="red ball",
    ...               num_inference_steps=2)
    >>> output.images[0].size
    (128, 128)
    """

    aliases = {"num_inference_steps": "steps", "guidance_scale": "guidance"}
    pictures = ("picture",)
    refused = {
        **{name: reason for name, reason in calls.REFUSED.items() if "prompt" not in name},
        "negative_prompt": "there is no negative prompt here",
        "prompt_2": "both text encoders read prompt=",
        "image_guidance_scale": "settings=AddItSettings(gamma=...) weighs the scene against the prompt",
        "mask_image": "Add-it finds the place itself",
        "callback": "give progress=, a function of (steps done, steps in all)",
        "callback_on_step_end": "give progress=, a function of (steps done, steps in all)",
    }

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, device: str | torch.device = "cpu", torch_dtype: torch.dtype = torch.float32
    ) -> AddItPipeline:
        """From a folder of diffusers' FluxPipeline, or the playroom's toy; raises what `load_add_it` does."""
        return cls(load_add_it(saving.found(folder), torch.device(device), torch_dtype), folder)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a copy of the folder it was loaded from: Add-it changes no weights.

        >>> import tempfile, visual_insertion_pack as vi
        >>> pipe = vi.AddItPipeline.from_pretrained("playroom_flux")
        >>> folder = tempfile.mkdtemp()
        >>> pipe.save_pretrained(folder + "/mine")
        >>> again = vi.AddItPipeline.from_pretrained(folder + "/mine")
        """
        saving.save_copy(saving.found(self.folder or ""), Path(folder))

    def to(self, *where: Any) -> AddItPipeline:
        super().to(*where)
        if hasattr(self.own.prompts, "device"):
            self.own.prompts.device = self.own.prompts.clip.device
        return self

    def settle(self, settings: dict[str, Any]) -> dict[str, Any]:
        for name, what in (("prompt", "of the whole new picture"), ("subject", "what is added, in the prompt's words")):
            if name not in settings:
                raise TypeError(f"{name}= is missing: {what}.")
        if settings.get("picture") is not None:
            settings["picture"] = picture_tensor(settings["picture"])[..., :3]
        return settings

    def relevance(self, result: Any) -> Tensor | None:
        return result.place.relevance


def _as(output_type: str, images: list[Tensor]) -> list[Image.Image] | np.ndarray | Tensor:
    """Pictures [1,H,W,3] in the form that is asked for. Raises ValueError for an array of several sizes."""
    if output_type == "pil":
        return [picture for image in images for picture in pil_pictures(image)]
    if len({image.shape for image in images}) > 1:
        raise ValueError("Scenes of several sizes make no one array; take output_type='pil'.")
    joined = torch.cat(images)
    return joined.numpy() if output_type == "np" else joined
