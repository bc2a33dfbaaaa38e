"""Paint by Example without ComfyUI, on diffusers' networks and schedulers: same arithmetic as the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionModel

from ..encoders.vision import as_views, encoder_pixels
from ..pictures.batches import paired
from ..pictures.files import Picture, mask_tensor, picture_tensor
from ..pictures.scene import check_scene, crop_to
from ..sampling.guidance import LARGEST_SCALE, check_scale
from ..sampling.latents import Callback, Sampled, decode, encode, first_noise, step_generator
from ..sampling.schedulers import check_steps, make_schedule, read_scheduler, spread_sigmas, training_levels
from ..sampling.speed import EXACT, UNMEASURED, Presets, Run, chosen, presets_in
from ..weights.configs import pixel_statistics, read_json
from ..weights.pretrained import load_model, present
from . import exemplar_encoder as exemplars
from .checkpoints import ENCODER_FILES, check_channels, model_folder, open_first, open_paint_by_example, part_of
from .exemplar_picture import exemplar_pictures
from .inpainting import CELL, binary_mask, guided, latent_mask, masked_scene, nine_channels, pad_scene
from .vision_tower import build_tower, statistics_file

SAMPLERS = ("plms", "ddim", "euler", "euler_ancestral")
PLMS = dict(skip_prk_steps=True, set_alpha_to_one=False)
REFERENCE = dict(  # PNDMScheduler's settings in the published folder; DDIM's timesteps are then 1, 21, ..., 981
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
)
FACTS = "facts.json"
OWN = "exemplar_encoder.safetensors"  # in a folder that this pack's training wrote


class PaintByExamplePipeline:
    """Paints a pictured object into a mask of a scene."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        scheduler_config: Any,
        image_encoder: CLIPVisionModel,
        exemplar_encoder: exemplars.ExemplarEncoder,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        presets: Presets = UNMEASURED,
    ):
        """`image_mean` and `image_std` [3] are the encoder's, `presets` the speeds of these models.

        Raises ValueError when the parts do not pair up."""
        check_channels(Path(str(unet.config.get("_name_or_path") or "the UNet")), unet.config["in_channels"])
        settings = exemplar_encoder.settings
        width = unet.config["cross_attention_dim"]
        if settings.context_width != width:
            raise ValueError(
                f"The exemplar encoder gives a context of width {settings.context_width}, the UNet reads {width}. "
                "They do not belong together."
            )
        if settings.encoder_width != image_encoder.config.hidden_size:
            raise ValueError(
                f"The exemplar encoder reads pooled vectors of width {settings.encoder_width}, the vision encoder "
                f"gives {image_encoder.config.hidden_size}. They do not belong together."
            )
        self.unet: Any = unet
        self.vae: Any = vae
        self.scheduler_config = scheduler_config
        self.image_encoder = image_encoder
        self.exemplar_encoder = exemplar_encoder
        self.image_mean = image_mean
        self.image_std = image_std
        self.presets = presets
        self.levels = training_levels(DDIMScheduler.from_config(scheduler_config))

    @classmethod
    def from_folder(
        cls, folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> PaintByExamplePipeline:
        """From the published diffusers folder, or one of this pack's training, or that of the run that made it.

        Parts that are missing in the folder are taken from the one above it: the playroom's share a VAE and an image
        encoder. Raises FileNotFoundError naming what is missing, ValueError for unreadable weights or other models.
        """
        folder = model_folder(Path(folder))
        own = folder / OWN
        config_file = folder / "unet" / "config.json"
        vision_config = part_of(folder, "image_encoder/config.json")
        image_mean, image_std = pixel_statistics(statistics_file(folder))
        vae_folder = part_of(folder, "vae/config.json").parent
        schedule = read_scheduler(part_of(folder, "scheduler/scheduler_config.json"))
        config = read_json(present(config_file, "a diffusers folder of Paint by Example"))
        check_channels(folder, config.get("in_channels", 0))  # before gigabytes are read
        if own.is_file():
            encoder = exemplars.load(own)
            tower = open_first(vision_config.parent, ENCODER_FILES).read_below("")
        else:
            files = open_paint_by_example(folder)
            encoder = files.exemplar_encoder()
            tower = files.vision()
        image_encoder: Any = build_tower(read_json(vision_config), vision_config, tower)
        return cls(
            load_model(UNet2DConditionModel, folder / "unet", dtype).to(device),
            load_model(AutoencoderKL, vae_folder, dtype).to(device),
            scheduler_config=REFERENCE | schedule,
            image_encoder=image_encoder.to(device, dtype),
            exemplar_encoder=encoder.to(device, dtype),
            image_mean=image_mean,
            image_std=image_std,
            presets=presets_in(folder / FACTS),
        )

    @property
    def networks(self) -> list[nn.Module]:
        """All that a result depends on."""
        return [self.unet, self.vae, self.image_encoder, self.exemplar_encoder]

    @property
    def native_size(self) -> int:
        """Side of the pictures the UNet was trained on, px; 512 where its config does not say."""
        return (cast(Any, self.unet.config).sample_size or 64) * CELL

    @torch.no_grad()
    def contexts(
        self,
        exemplar: Picture | Sequence[Picture],
        mask: Picture | Sequence[Picture | None] | None = None,
        framing: str = "squash",
        background: str = "keep",
        margin: int = 10,
        strength: float = 1.0,
        views: str = "separate",
    ) -> tuple[Tensor, Tensor]:
        """Contexts (exemplar, null) [B,N,C] of the exemplars' pictures; a mask cuts them to the object.

        The settings and the errors are `prepare_object`'s, `crop_to_object`'s and `exemplar_context`'s.
        """
        size: Any = self.image_encoder.config.image_size
        frame = dict(framing=framing, background=background, margin=margin, mean_colour=self.image_mean)
        pixels = [
            encoder_pixels(square, size, self.image_mean, self.image_std)
            for picture, own in zip(*as_views(exemplar, mask), strict=True)
            for square in exemplar_pictures(
                picture_tensor(picture), None if own is None else mask_tensor(own), **cast(Any, frame)
            )
        ]
        parameter = next(self.image_encoder.parameters())
        pooled = self.image_encoder(pixel_values=torch.cat(pixels).to(parameter)).pooler_output
        return exemplars.exemplar_context(self.exemplar_encoder, pooled, strength, views)

    @torch.no_grad()
    def __call__(
        self,
        scene: Picture,
        mask: Picture,
        exemplar: Picture | Sequence[Picture] | None = None,
        exemplar_mask: Picture | Sequence[Picture | None] | None = None,
        *,
        contexts: tuple[Tensor, Tensor] | None = None,
        similarity: float = 5.0,
        steps: int = 50,
        seed: int = 0,
        sampler: str = "plms",
        speed: str = EXACT,
        latents: Tensor | None = None,
        framing: str = "squash",
        background: str = "keep",
        margin: int = 10,
        strength: float = 1.0,
        views: str = "separate",
        mask_resize: str = "rounded",
        callback: Callback | None = None,
    ) -> Sampled:
        """Paint the exemplar into the mask [H,W] (1 where it goes) of a scene of any size.

        Several pictures of one object are joined by `views` "concatenate" or "average"; as "separate" they are several.
        `contexts` (object, null) [B,N,C] take the place of an exemplar: what `contexts()` gives, or a learned object's.
        `similarity` is the guidance scale: 1 is none, the documented runs use 5. A `speed` other than "exact" decides
        steps and sampler itself, by the model's `presets`. `latents` [B,C,h,w] is unit-variance
        noise in place of the one `seed` draws. The whole picture comes out of the VAE; paste the mask's part into the
        scene for an untouched background. Batches pair up: one of either, or equally many.

        Raises ValueError for unusable pictures, masks or settings, and batches that do not pair up.
        """
        check_steps(steps)
        check_scale("similarity", similarity, least=-LARGEST_SCALE)
        scheduler = self._scheduler(chosen(speed, self.presets) or Run(sampler, "normal", steps))
        scene = check_scene(picture_tensor(scene))
        height, width = scene.shape[1:3]
        painted = binary_mask(mask_tensor(mask), scene)
        if contexts is None:
            if exemplar is None:
                raise ValueError("There is nothing to paint: neither an exemplar's picture nor contexts are given.")
            contexts = self.contexts(exemplar, exemplar_mask, framing, background, margin, strength, views)
        context, null = contexts
        count = paired(scenes=len(scene), masks=len(painted), exemplars=len(context))

        padded, painted = pad_scene(scene, painted)
        cells = latent_mask(painted, mask_resize).to(self.unet.device)
        scale = self.vae.config["scaling_factor"]
        masked = (encode(self.vae, masked_scene(padded, painted)) * scale).expand(count, -1, -1, -1)
        noise = first_noise(latents, masked, seed)
        branches = [context] if similarity == 1 else [null, context]
        sampled = self._run(
            scheduler,
            noise,
            masked=masked,
            cells=cells,
            contexts=torch.cat([one.expand(count, -1, -1) for one in branches]).to(noise.device, self.unet.dtype),
            similarity=similarity,
            generator=step_generator(seed, noise.device),
            callback=callback,
        )
        sampled = sampled / scale
        images = crop_to(decode(self.vae, sampled), height, width, CELL)
        return Sampled(images.cpu(), sampled.cpu())

    def _run(
        self,
        scheduler: Any,
        noise: Tensor,
        *,
        masked: Tensor,
        cells: Tensor,
        contexts: Tensor,
        similarity: float,
        generator: torch.Generator,
        callback: Callback | None,
    ) -> Tensor:
        """Latents [B,C,h,w], scaled, from noise of unit variance by all steps.

        `masked` [B,C,h,w] are the masked scene's, scaled, `cells` [B,1,h,w] its mask. `contexts` [B,N,D] are the
        exemplars', or [2B,N,D], the null ones before them, for guidance by `similarity`.
        """
        step = scheduler.step
        if "generator" in signature(step).parameters:
            step = partial(step, generator=generator)
        branches = len(contexts) // len(noise)
        latents = noise * float(scheduler.init_noise_sigma)
        for number, timestep in enumerate(scheduler.timesteps, 1):
            inputs = nine_channels(scheduler.scale_model_input(latents, timestep), masked, cells)
            inputs = torch.cat([inputs] * branches).to(contexts.dtype)
            predicted = self.unet(inputs, timestep, encoder_hidden_states=contexts).sample.float()
            if branches == 2:
                predicted = guided(*predicted.chunk(2), scale=similarity)
            latents = step(predicted, timestep, latents).prev_sample
            if callback:
                callback(number, len(scheduler.timesteps), latents)
        return latents

    def _scheduler(self, run: Run) -> Any:
        """A scheduler with its timesteps set. "plms" is the original's, "ddim" what it uses without --plms."""
        sampler, steps = run.sampler, run.steps
        if sampler not in SAMPLERS:
            raise ValueError(f"Unknown sampler '{sampler}'; use {', '.join(SAMPLERS)}.")
        if sampler in ("plms", "ddim"):
            kind: Any = PNDMScheduler if sampler == "plms" else DDIMScheduler
            more: dict[str, Any] = PLMS if sampler == "plms" else {"clip_sample": False}
            scheduler = kind.from_config(self.scheduler_config, **more)
        else:
            euler: Any = EulerDiscreteScheduler.from_config(self.scheduler_config)
            scheduler, steps, _ = make_schedule(
                sampler, euler.config, self.levels, steps, sigmas=spread_sigmas(self.levels, run.scheduler, steps)
            )
        scheduler.set_timesteps(steps, device=self.unet.device)
        return scheduler
