"""Insertion without ComfyUI, on diffusers' InstructPix2Pix pipeline: same arithmetic as the nodes, same picture."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from torch import Tensor, nn

from ..encoders.vision import Encoder, as_views, find_encoder, load_encoder, vision_tokens
from ..pictures.files import Picture
from ..sampling.guidance import Guidance
from ..sampling.pix2pix import (
    DEFAULT,
    FACTS,
    Callback,
    GuidedPix2Pix,
    Insertion,
    check_folder,
    guidance_in,
    load_pix2pix,
)
from ..sampling.speed import EXACT, SPEEDS, UNMEASURED, Presets, presets_in
from ..weights.pretrained import present
from ..weights.unet_patch_reading import apply_patch
from . import optimizer_files as optimizers
from .context_encoder import ContextEncoder, object_context
from .distillation import student as student_files
from .distillation.student import Student
from .trained_files import OPTIMIZER_FILE, ModelFiles, chosen_patch, files_of_run


class VisualInsertionPipeline(GuidedPix2Pix):
    """Puts pictured objects into scenes."""

    def __init__(
        self,
        pipeline: StableDiffusionInstructPix2PixPipeline,
        encoder: Encoder,
        context_encoder: ContextEncoder,
        guidance: Guidance = DEFAULT,
        detail_encoder: Encoder | None = None,
        presets: Presets = UNMEASURED,
    ):
        """`context_encoder` tells the UNet what `encoder` sees of the object, an embedding optimizer as a rule.

        `guidance` is the default of every call, `presets` are the speeds of these models. `detail_encoder` sees the
        same pictures, for a context encoder that was trained with two encoders. Raises ValueError when the parts do not
        belong together.
        """
        super().__init__(pipeline, guidance, presets)
        context_width = pipeline.unet.config.cross_attention_dim
        if context_encoder.context_width != context_width:
            raise ValueError(
                f"The embedding optimizer gives contexts of width {context_encoder.context_width}, but the UNet's "
                f"cross-attention reads width {context_width} (768 is SD1.5)."
            )
        if context_encoder.encoder_width != encoder.width:
            raise ValueError(
                f"The embedding optimizer reads vision tokens of width {context_encoder.encoder_width}, but the image "
                f"encoder gives width {encoder.width} (1024 is CLIP ViT-L/14)."
            )
        detail_width = detail_encoder.width if detail_encoder else 0
        if context_encoder.detail_width != detail_width:
            raise ValueError(
                f"The embedding optimizer reads tokens of width {context_encoder.detail_width} of a second encoder (0: "
                f"none), but the detail encoder gives width {detail_width}. Name as detail encoder the one it was "
                "trained with (1024 is DINOv2-large), or none."
            )
        self.encoder = encoder
        self.context_encoder = context_encoder
        self.detail_encoder = detail_encoder

    @property
    def networks(self) -> list[nn.Module]:
        details = [self.detail_encoder.network] if self.detail_encoder else []
        return [*super().networks, self.encoder.network, self.context_encoder, *details]

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        embedding_optimizer: str | Path | None = None,
        image_encoder: str | Path | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        detail_encoder: str | Path | None = None,
        unet_patch: str | Path | None = None,
        student: str | Path | None = None,
        *,
        warn: Callable[[str], object] = warnings.warn,
    ) -> VisualInsertionPipeline:
        """From a diffusers InstructPix2Pix folder: the playroom's, Paint by Inpaint's, instruct-pix2pix's.

        `embedding_optimizer` (file) and `image_encoder` (CLIP vision folder) default to those in `folder`;
        `detail_encoder` is a transformers DINOv2 folder, for optimizers trained with one. `unet_patch` (file) is what
        the UNet learned beside the optimizer; "none" goes without. `student` (file) makes the UNet into one that needs
        one evaluation a step. Raises FileNotFoundError naming what is missing, ValueError for unreadable weights, parts
        that do not pair, and an optimizer whose patch is not named; `warn` is told of a patch that is not the
        optimizer's.
        """
        folder = Path(folder)
        check_folder(folder)
        vision_folder, pixels = find_encoder(folder, image_encoder)
        optimizer_file = present(Path(embedding_optimizer or folder / OPTIMIZER_FILE), "an embedding optimizer")
        patch = chosen_patch(optimizer_file, unet_patch, warn)
        optimizer = optimizers.load(optimizer_file)
        vision = load_encoder(vision_folder, pixels)
        details = load_encoder(Path(detail_encoder)) if detail_encoder else None
        made = cls.around(folder, vision, optimizer, device=device, dtype=dtype, details=details, unet_patch=patch)
        if student:
            made.distil(student_files.load(present(Path(student), "a student")))
        return made

    def distil(self, student: Student) -> None:
        """Make the UNet into a student; there is no way back. Raises ValueError for a student of another UNet."""
        student_files.apply(student, self.pipeline.unet)
        self.student = student
        presets: Presets = {speed: student.preset for speed in SPEEDS[1:]}
        self.presets = presets

    @classmethod
    def from_run(
        cls,
        run: str | Path,
        models: str | Path | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VisualInsertionPipeline:
        """From the folder of a training run: what it trained, on what it was trained on, or on the folder `models`.

        Raises FileNotFoundError for a run that is not finished or whose models are not there any more, and what
        `from_folder` does.
        """
        return cls.from_files(files_of_run(Path(run), models), device, dtype)

    @classmethod
    def from_files(
        cls,
        files: ModelFiles,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        warn: Callable[[str], object] = warnings.warn,
    ) -> VisualInsertionPipeline:
        """From parts wherever they are; raises what `from_folder` does."""
        return cls.from_folder(
            files.models,
            files.embedding_optimizer,
            files.image_encoder,
            device,
            dtype,
            detail_encoder=files.detail_encoder,
            unet_patch=files.unet_patch,
            student=files.student,
            warn=warn,
        )

    @classmethod
    def around(
        cls,
        folder: Path,
        vision: Encoder,
        context_encoder: ContextEncoder,
        *,
        device: str | torch.device,
        dtype: torch.dtype,
        details: Encoder | None = None,
        unet_patch: Path | None = None,
    ) -> VisualInsertionPipeline:
        """What tells the UNet of a diffusers folder about the object, with the rest of that folder around it.

        All of it is moved to the device. Raises what `load_pix2pix`, `apply_patch` and the class do.
        """
        pipeline = load_pix2pix(folder, device, dtype)
        if unet_patch:
            apply_patch(pipeline.unet, unet_patch)
        for encoder in (vision, details):
            if encoder:
                encoder.network.to(device, dtype)
        context_encoder.to(device, dtype)
        presets = presets_in(folder / FACTS)
        return cls(pipeline, vision, context_encoder, guidance_in(folder), details, presets)

    @torch.no_grad()
    def contexts(
        self,
        objects: Picture | Sequence[Picture],
        masks: Picture | Sequence[Picture | None] | None = None,
        framing: str = "squash",
        background: str = "keep",
        strength: float = 1.0,
        views: str = "average",
    ) -> tuple[Tensor, Tensor]:
        """(object, null) contexts [B,N,D] of pictures and their masks; the settings are `prepare_object`'s and
        `object_context`'s, and so are the errors."""
        pictures, masks = as_views(objects, masks)
        frame: dict[str, str] = {"framing": framing, "background": background}
        features = vision_tokens(self.encoder, pictures, masks, **frame)
        details = vision_tokens(self.detail_encoder, pictures, masks, **frame) if self.detail_encoder else None
        return object_context(self.context_encoder, features, strength=strength, views=views, details=details)

    def __call__(
        self,
        scene: Picture,
        objects: Picture | Sequence[Picture],
        masks: Picture | Sequence[Picture | None] | None = None,
        guidance: Guidance | None = None,
        *,
        steps: int = 20,
        seed: int = 0,
        sampler: str = "euler_ancestral",
        scheduler: str = "normal",
        speed: str = EXACT,
        sigmas: Tensor | None = None,
        latents: Tensor | None = None,
        mask: Picture | None = None,
        denoise: float = 1.0,
        framing: str = "squash",
        background: str = "keep",
        strength: float = 1.0,
        views: str = "average",
        callback: Callback | None = None,
    ) -> Insertion:
        """Insert the object into a scene of any size; several pictures are several views of it.

        `masks` are the object's, one per picture; `mask` is the scene's, where the object may appear. The settings are
        `contexts`' and `sample`'s, and so are the errors.
        """
        context, null = self.contexts(
            objects, masks, framing=framing, background=background, strength=strength, views=views
        )
        return self.sample(
            scene,
            context,
            null,
            guidance,
            steps=steps,
            seed=seed,
            sampler=sampler,
            scheduler=scheduler,
            speed=speed,
            sigmas=sigmas,
            latents=latents,
            mask=mask,
            denoise=denoise,
            callback=callback,
        )
