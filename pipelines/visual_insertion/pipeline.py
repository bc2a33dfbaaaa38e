"""Insertion without ComfyUI, on diffusers' InstructPix2Pix pipeline: same arithmetic as the nodes, same picture.

Three things are ours, everything else is diffusers': the guidance sits inside the UNet (`GuidedUNet`), the Euler
schedulers follow the host's noise levels (`follow`), and seeds draw the noise the host draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from ..layouts import kind_of
from ..pictures import Picture, mask_tensor, picture_tensor, pil_pictures
from ..samplers import make_scheduler, percent_to_sigma, training_levels
from . import embedding_optimizer as optimizers
from .guidance import Branch, Guidance, combine, needed_branches, scales_at
from .object_picture import prepare_object
from .scene import check_scene, crop_to, pad_to_multiple
from .vision_encoder import Encoder, load_encoder

Callback = Callable[[int, int, Tensor], object]  # steps done, steps in all, latents [B,C,h,w]

DEFAULT = Guidance()


# The guidance, inside the UNet.


class GuidedUNet(nn.Module):
    """To diffusers' pipeline a UNet that needs no guidance; inside, the branches that count and `combine`.

    diffusers' own guidance is the same formula, but always three branches, without intervals and rescale, and off at
    an object scale of 1 or less. The branches are combined as denoised latents, like in the host: the spread that a
    rescale measures depends on it. Sampling stays in float32 whatever the UNet's own precision.
    """

    dtype = torch.float32

    def __init__(
        self,
        unet: UNet2DConditionModel,
        null: Tensor,
        guidance: Guidance,
        prediction_type: str,
        levels: Tensor,
        sigma_of: Callable[[Tensor], float],
    ):
        super().__init__()
        self.unet, self.config, self.device = unet, unet.config, unet.device
        self.null, self.guidance, self.velocity = null, guidance, prediction_type == "v_prediction"
        self.levels, self.sigma_of = levels, sigma_of
        self.evaluations = 0  # one per branch and step

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, return_dict=False, **kwargs):
        """Noisy and scene latents [B,2C,h,w], a timestep, object contexts [B,N,D] -> guided output ([B,C,h,w],)."""
        sigma = self.sigma_of(timestep)
        scales = scales_at(self.guidance, sigma, partial(percent_to_sigma, self.levels))
        branches = needed_branches(self.guidance, scales)
        noisy, scene = sample.chunk(2, dim=1)
        scenes = [torch.zeros_like(scene) if branch == "empty" else scene for branch in branches]
        contexts = [encoder_hidden_states if branch == "full" else self.null for branch in branches]
        inputs = torch.cat([torch.cat([noisy, shown], 1) for shown in scenes]).to(self.unet.dtype)
        contexts = torch.cat(contexts).to(self.unet.dtype)
        outputs = self.unet(inputs, timestep, encoder_hidden_states=contexts, **kwargs, return_dict=False)[0].float()
        self.evaluations += len(branches)

        signal = (1 + sigma**2) ** -0.5  # noisy = signal * clean + signal * sigma * noise
        of_noisy, of_clean = (signal, 1.0) if self.velocity else (1.0, signal)
        predictions: dict[Branch, Tensor] = {
            branch: (of_noisy * noisy - signal * sigma * output) / of_clean
            for branch, output in zip(branches, outputs.chunk(len(branches)), strict=True)
        }
        clean = combine(self.guidance, scales, predictions)
        return ((of_noisy * noisy - of_clean * clean) / (signal * sigma),)


# What the encoder sees.


def encoder_pixels(picture: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pictures [B,H,W,3] as the vision encoder's input [B,3,size,size]: resized to a square, 8 bit, normalised."""
    pixels = picture.movedim(-1, 1)
    if pixels.shape[-2:] != (size, size):
        pixels = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True)
    pixels = (pixels * 255).clamp(0, 255).round() / 255
    shift, scale = (torch.tensor(values).to(pixels).view(3, 1, 1) for values in (mean, std))
    return (pixels - shift) / scale


def vision_tokens(
    encoder: Encoder,
    pictures: Sequence[Picture],
    masks: Sequence[Picture | None],
    framing: str,
    background: str,
) -> Tensor:
    """What an encoder sees of the pictures and their masks, [V,T,D]."""
    mean, std = encoder.mean, encoder.std
    prepared = (
        prepare_object(picture_tensor(picture), None if mask is None else mask_tensor(mask), framing, background, mean)
        for picture, mask in zip(pictures, masks, strict=True)
    )
    return encoder.tokens(torch.cat([encoder_pixels(picture, encoder.size, mean, std) for picture in prepared]))


@dataclass(frozen=True)
class Insertion:
    """What one call gives."""

    images: Tensor  # [B,H,W,3] float32 on the CPU, 0..1, the scene's own size
    latents: Tensor  # [B,C,h,w] float32 before decoding, of the padded scene; unscaled, like the host's LATENT
    unet_evaluations: int  # one per branch and step

    def pictures(self) -> list[Image.Image]:
        """The images as 8-bit pictures."""
        return pil_pictures(self.images)


class VisualInsertionPipeline:
    """Puts pictured objects into scenes. `pipeline` is diffusers' own: load LoRAs there, move it, look at it."""

    def __init__(
        self,
        pipeline: StableDiffusionInstructPix2PixPipeline,
        image_encoder: CLIPVisionModelWithProjection,
        embedding_optimizer: optimizers.EmbeddingOptimizer,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        guidance: Guidance = DEFAULT,
        detail_encoder: Encoder | None = None,
    ):
        """`image_mean` and `image_std` [3] are the encoder's; `guidance` is the default of every call.

        `detail_encoder` sees the same pictures, for an embedding optimizer that was trained with two encoders.

        Raises ValueError when the parts do not belong together.
        """
        check_pix2pix(pipeline.unet.config.in_channels, pipeline.vae.config.latent_channels)
        settings = embedding_optimizer.settings
        if settings.context_width != pipeline.unet.config.cross_attention_dim:
            raise ValueError(
                f"The embedding optimizer gives contexts of width {settings.context_width}, but the UNet's "
                f"cross-attention reads width {pipeline.unet.config.cross_attention_dim} (768 is SD1.5)."
            )
        if settings.encoder_width != image_encoder.config.hidden_size:
            raise ValueError(
                f"The embedding optimizer reads vision tokens of width {settings.encoder_width}, but the image "
                f"encoder gives width {image_encoder.config.hidden_size} (1024 is CLIP ViT-L/14)."
            )
        detail_config: Any = detail_encoder and detail_encoder.network.config
        detail_width = detail_config.hidden_size if detail_config else 0
        if settings.detail_width != detail_width:
            raise ValueError(
                f"The embedding optimizer reads tokens of width {settings.detail_width} of a second encoder (0: none), "
                f"but the detail encoder gives width {detail_width}. Name as detail encoder the one it was trained "
                "with (1024 is DINOv2-large), or none."
            )
        if pipeline.scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise ValueError(f"Prediction type '{pipeline.scheduler.config.prediction_type}' is not known here.")
        self.pipeline, self.image_encoder, self.embedding_optimizer = pipeline, image_encoder, embedding_optimizer
        self.image_mean, self.image_std, self.guidance = image_mean, image_std, guidance
        self.detail_encoder = detail_encoder
        self.levels = training_levels(pipeline.scheduler)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        embedding_optimizer: str | Path | None = None,
        image_encoder: str | Path | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        detail_encoder: str | Path | None = None,
    ) -> VisualInsertionPipeline:
        """From a diffusers InstructPix2Pix folder: the playroom's, Paint by Inpaint's, instruct-pix2pix's.

        `embedding_optimizer` (file) and `image_encoder` (CLIP vision folder) default to those in `folder`;
        `detail_encoder` is a transformers DINOv2 folder, for optimizers trained with one. Raises FileNotFoundError
        naming what is missing, ValueError for unreadable weights or parts that do not pair.
        """
        folder = Path(folder)
        optimizer_file = Path(embedding_optimizer or folder / "embedding_optimizer.safetensors")
        encoder = Path(image_encoder or folder / "image_encoder")
        pixels = encoder / "preprocessor_config.json"
        pixels = pixels if pixels.is_file() else folder / "feature_extractor" / "preprocessor_config.json"
        configs = [folder / "unet/config.json", folder / "vae/config.json", folder / "scheduler/scheduler_config.json"]
        for path in (*configs, encoder / "config.json", pixels, optimizer_file):
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path} is missing. Needed are a diffusers InstructPix2Pix folder (unet, vae, scheduler), a CLIP "
                    "vision encoder with its preprocessor_config.json, and an embedding optimizer."
                )
        optimizer = optimizers.load(optimizer_file)
        unet_config, vae_config, statistics = (json.loads(path.read_text("utf-8")) for path in (*configs[:2], pixels))
        check_pix2pix(unet_config["in_channels"], vae_config["latent_channels"])  # before gigabytes are read
        try:
            models = dict(
                unet=UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype),
                vae=AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=dtype),
                scheduler=EulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler"),
            )
            vision: Any = CLIPVisionModelWithProjection.from_pretrained(encoder)
        except (OSError, ValueError, RuntimeError) as error:
            raise ValueError(f"The models in {folder} cannot be read: {error}") from error
        pipeline = _pix2pix(**models).to(device)
        details = load_encoder(Path(detail_encoder)) if detail_encoder else None
        if details:
            details.network.to(device, dtype)
        facts = folder / "playroom.json"
        guidance = json.loads(facts.read_text("utf-8"))["guidance"] if facts.is_file() else {}
        mean, std = statistics["image_mean"], statistics["image_std"]
        vision, optimizer = vision.to(device, dtype), optimizer.to(device, dtype)
        return cls(pipeline, vision, optimizer, mean, std, Guidance(**guidance), details)

    @property
    def native_size(self) -> int:
        """Side of the pictures the UNet was trained on, px; 512 where its config does not say."""
        return (self.pipeline.unet.config.sample_size or 64) * self.pipeline.vae_scale_factor

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
        objects = objects if isinstance(objects, Sequence) else [objects]
        masks = masks if isinstance(masks, Sequence) else [masks] * len(objects)
        if not objects or len(masks) != len(objects):
            raise ValueError(f"{len(masks)} masks do not pair up with {len(objects)} pictures of the object.")
        size: Any = self.image_encoder.config.image_size
        look = partial(vision_tokens, pictures=objects, masks=masks, framing=framing, background=background)
        features = look(Encoder(self.image_encoder, size, self.image_mean, self.image_std))
        details = look(self.detail_encoder) if self.detail_encoder else None
        return optimizers.object_context(self.embedding_optimizer, features, strength, views, details)

    @torch.no_grad()
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
        sigmas: Tensor | None = None,
        latents: Tensor | None = None,
        framing: str = "squash",
        background: str = "keep",
        strength: float = 1.0,
        views: str = "average",
        callback: Callback | None = None,
    ) -> Insertion:
        """Insert the object into a scene of any size; several pictures are several views of it.

        `sampler` is one of SAMPLERS. The Euler ones follow `sigmas` [N+1], by default the host's "normal" ones for
        `steps`. `latents` [B,C,h,w] is unit-variance noise in place of the one `seed` draws. `callback(done, total,
        latents)` may raise to cancel. Batches pair up: one of either, or equally many.

        Raises ValueError for unusable pictures or settings, and batches that do not pair up.
        """
        config = self.pipeline.scheduler.config
        scheduler, steps, sigma_of = make_scheduler(sampler, config, self.levels, steps, sigmas)
        scene = check_scene(picture_tensor(scene))
        context, null = self.contexts(objects, masks, framing, background, strength, views)
        count = max(len(scene), len(context))
        if {len(scene), len(context)} - {1, count}:
            raise ValueError(f"{len(scene)} scenes and {len(context)} objects do not pair up.")

        vae, device = self.pipeline.vae, self.pipeline.unet.device
        cell = self.pipeline.vae_scale_factor  # px per latent cell
        padded = pad_to_multiple(scene, cell).movedim(-1, 1)
        shown = vae.encode((2 * padded - 1).to(device, vae.dtype)).latent_dist.mode().float()
        shown = shown.expand(count, -1, -1, -1)
        if latents is None:
            latents = torch.randn(shown.shape, generator=torch.Generator().manual_seed(seed))
        if latents.shape != shown.shape:
            raise ValueError(f"The noise is {tuple(latents.shape)}, the scene's latent {tuple(shown.shape)}.")

        unet = GuidedUNet(
            self.pipeline.unet,
            null.expand(count, -1, -1).float(),
            guidance or self.guidance,
            config.prediction_type,
            self.levels,
            sigma_of,
        )
        guided = _pix2pix(unet=unet, vae=vae, scheduler=scheduler)
        guided.set_progress_bar_config(disable=True)

        def report(_, step, __, tensors):
            if callback:
                callback(step + 1, steps, tensors["latents"])
            return {}

        # The host draws a step's noise on the run's device, on a CPU from the next seed.
        fresh = torch.Generator(device).manual_seed(seed + (device.type == "cpu"))
        sampled = guided(
            image=shown,
            prompt_embeds=context.expand(count, -1, -1).float(),
            guidance_scale=1.0,  # off: GuidedUNet does it
            num_inference_steps=steps,
            latents=latents.to(device, torch.float32),
            generator=fresh,
            callback_on_step_end=report,
            output_type="latent",
        ).images
        sampled = sampled / vae.config.scaling_factor
        images = vae.decode(sampled.to(vae.dtype)).sample.float().div(2).add(0.5).clamp(0, 1)
        images = crop_to(images.movedim(1, -1), scene.shape[1], scene.shape[2], cell)
        return Insertion(images.cpu(), sampled.cpu(), unet.evaluations)


def check_pix2pix(channels: int, latent_channels: int) -> None:
    """Raise ValueError unless a UNet of so many input channels takes a scene beside the noise."""
    if channels != 2 * latent_channels:
        raise ValueError(
            f"The UNet takes {channels} input channels, which is {kind_of(channels)}; an "
            f"InstructPix2Pix UNet takes {2 * latent_channels} (noise and scene). Use paint-by-inpaint/add-base, "
            "instruct-pix2pix, or the playroom models."
        )


def _pix2pix(**models: Any) -> Any:
    """diffusers' pipeline of these models, without a text encoder."""
    absent: dict[str, Any] = dict(text_encoder=None, tokenizer=None, safety_checker=None, feature_extractor=None)
    return StableDiffusionInstructPix2PixPipeline(**models, **absent, requires_safety_checker=False)
