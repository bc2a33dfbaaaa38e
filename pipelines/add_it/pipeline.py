"""Add-it without ComfyUI: a scene, a prompt and its subject to a picture with the subject in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor, nn

from ..pictures.boxes import Box
from ..pictures.masks import mask_box
from ..pictures.scene import check_scene, crop_to, pad_to_multiple
from ..sampling.latents import Sampled, decode, encode, first_noise
from ..weights.configs import read_json
from ..weights.pretrained import load_model
from . import stages
from .blending import refined_mask
from .flux_attention import Block
from .prompts import FluxPrompts, Prompter
from .sampling import AddItRun, FluxFlow, Scene, Target, inverted_scene, own_mask
from .subject_map import peaks, rough_mask, smoothed_map, token_columns
from .subject_tokens import subject_tokens
from .windows import REAL, AddItSettings, flux_percent_to_sigma

STRIDE = 16  # px of a token: two latent cells
LARGEST_SEED = 2**64 - 1


@dataclass(frozen=True)
class ModelDefaults:
    """What goes well with a model."""

    settings: AddItSettings
    steps: int
    guidance: float
    guided_by_null: bool  # classifier-free guidance; else the number is embedded
    mu: Callable[[int], float]  # the schedule's shift by image tokens


@dataclass(frozen=True)
class Place:
    """Where the subject is, by the model's attention; without a blend nothing is known."""

    mask: Tensor  # [B,H,W] in 0..1 on the CPU, rough
    relevance: Tensor | None  # [B,H,W] in 0..1, where the model looked for it
    points: list[tuple[int, int]]  # (x, y) in px of the first picture, for a segmenter
    box: Box | None  # around the first mask

    @classmethod
    def nowhere(cls, pictures: Tensor) -> Place:
        """Of pictures [B,H,W,3]."""
        return cls(torch.zeros(pictures.shape[:3]), None, [], None)

    @classmethod
    def of(cls, maps: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Place:
        """Of maps [B,h,w] over padded pictures, cut to their own size; both are (height, width)."""
        height, width = size
        rough = rough_mask(maps)
        relevance = F.interpolate(smoothed_map(maps)[:, None], padded, mode="bilinear", align_corners=False)[:, 0]
        points = peaks(maps[0], rough[0], height=padded[0], width=padded[1])
        mask = F.interpolate(rough[:, None].float(), padded)[:, 0, :height, :width]
        return cls(
            mask=mask,
            relevance=relevance[:, :height, :width].contiguous(),
            points=[(x, y) for x, y in points if x < width and y < height],
            box=mask_box(mask[0]),
        )


@dataclass(frozen=True)
class Added(Sampled):
    """What one call gives: pictures, and where the subject is."""

    place: Place
    notes: tuple[str, ...]


class AddItPipeline:
    """A FLUX transformer, its VAE and its prompts; pictures of any size, padded to whole tokens and cut again."""

    def __init__(self, flow: FluxFlow, vae: AutoencoderKL, prompts: Prompter, defaults: ModelDefaults):
        self.flow = flow
        self.vae = vae
        self.prompts = prompts
        self.defaults = defaults

    @property
    def networks(self) -> list[nn.Module]:
        """All that a result depends on."""
        own = [value for value in vars(self.prompts).values() if isinstance(value, nn.Module)]
        return [self.flow.transformer, self.vae, *own]

    @classmethod
    def from_folder(cls, folder: Path, device: torch.device, dtype: torch.dtype) -> AddItPipeline:
        """From a folder of diffusers' FluxPipeline. Raises FileNotFoundError, or ValueError naming what is wrong."""
        transformer = load_model(FluxTransformer2DModel, folder / "transformer", dtype).to(device)
        vae = load_model(AutoencoderKL, folder / "vae").to(device)
        for network in (transformer, vae):
            network.requires_grad_(False)
        prompts = FluxPrompts(folder, device, dtype)
        config = folder / "scheduler" / "scheduler_config.json"
        shift = read_json(config) if config.is_file() else {}
        defaults = ModelDefaults(
            settings=REAL,
            steps=30,
            guidance=3.5,
            guided_by_null=False,
            mu=lambda tokens: _dynamic_shift(tokens, shift),
        )
        return cls(FluxFlow(transformer), vae, prompts, defaults)

    def find_subject(self, prompt: str, subject: str, occurrence: int = 0) -> list[int]:
        """The subject's token positions; raises what `subject_tokens` does."""
        left_out = self.prompts.left_out
        return subject_tokens(prompt, subject, self.prompts.tokens, occurrence=occurrence, left_out=left_out)

    @torch.no_grad()
    def __call__(
        self,
        scene: Tensor,
        prompt: str,
        subject: str,
        *,
        scene_prompt: str = "",
        picture: Tensor | None = None,
        occurrence: int = 0,
        settings: AddItSettings | None = None,
        steps: int | None = None,
        seed: int = 0,
        guidance: float | None = None,
        refined: bool = False,
        invert: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> Added:
        """Add the subject that a prompt of the whole new picture names to scenes [B,H,W,C] in 0..1.

        `scene_prompt` says what is there already. `picture` [1,h,w,3] shows the subject, in the place of its words.
        The blend's mask is the subject's map, `refined` by what changed inside of it. The scene is noised anew at
        every step, or with `invert` goes its way against the flow, at the cost of twice as many evaluations as steps.
        Raises ValueError for scenes that are none, a subject that is not in the prompt, and settings out of range.
        """
        steps = self.defaults.steps if steps is None else steps
        if steps < 1:
            raise ValueError(f"A run has at least one step; got {steps}.")
        checked = check_scene(scene)
        height, width = checked.shape[1:3]
        padded = pad_to_multiple(checked, STRIDE)
        latents = self._encode(padded)
        target = self._target(latents, prompt, self.find_subject(prompt, subject, occurrence), picture)
        if guidance is not None:
            target = replace(target, guidance=guidance)
        target = replace(target, noise=first_noise(None, latents, seed))
        noise = first_noise(None, latents, (seed + 1) & LARGEST_SEED)
        source_prompt = self.prompts.prompt([scene_prompt]).to(latents.device).expand(len(latents))
        source = Scene(latents, noise, source_prompt)
        percent_to_sigma = flux_percent_to_sigma(self.defaults.mu(latents.shape[2] * latents.shape[3] // 4))
        sigmas = [percent_to_sigma(step / steps) for step in range(steps + 1)]
        run = AddItRun(
            self.flow,
            target,
            inverted_scene(self.flow, source, sigmas) if invert else source,
            sigmas=sigmas,
            percent_to_sigma=percent_to_sigma,
            settings=settings or self.defaults.settings,
            map_blocks=self._map_blocks(),
            make_mask=self._refine(padded) if refined else own_mask,
        )
        run.advance(progress=progress)
        addition = run.addition()
        pictures = crop_to(self._decode(addition.latents), height, width, STRIDE).cpu()
        place = Place.nowhere(pictures)
        if addition.subject_map is not None:
            place = Place.of(addition.subject_map.cpu(), (padded.shape[1], padded.shape[2]), (height, width))
        return Added(pictures, addition.latents.cpu(), place, addition.notes)

    def _map_blocks(self) -> list[Block]:
        """The blocks that the subject map is read off, as in the nodes."""
        depths = (len(self.flow.transformer.transformer_blocks), len(self.flow.transformer.single_transformer_blocks))
        return [Block(kind == "single", index) for kind, index in stages.map_blocks(*depths)]

    def _target(self, latents: Tensor, prompt: str, positions: list[int], picture: Tensor | None) -> Target:
        """What is to be made of so many latents, told or shown, without its noise yet."""
        if picture is None:
            told = self.prompts.prompt([prompt])
        else:
            told, positions = self.prompts.shown_prompt(prompt, positions, picture)
        count = len(latents)
        null = self.prompts.prompt([""]).to(latents.device) if self.defaults.guided_by_null else None
        columns = token_columns([positions] * count, told.context.shape[1], latents.device)
        return Target(told.to(latents.device).expand(count), latents, null, self.defaults.guidance, columns)

    def _encode(self, pictures: Tensor) -> Tensor:
        config: Any = self.vae.config
        return (encode(self.vae, pictures) - (config.shift_factor or 0)) * config.scaling_factor

    def _decode(self, latents: Tensor) -> Tensor:
        config: Any = self.vae.config
        return decode(self.vae, latents / config.scaling_factor + (config.shift_factor or 0))

    def _refine(self, scenes: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        height, width = scenes.shape[1:3]

        def masks(maps: Tensor, estimate: Tensor) -> Tensor:
            rough = rough_mask(maps)
            large = F.interpolate(rough[:, None].float(), (height, width))[:, 0] > 0
            edits = self._decode(estimate)
            rows = zip(large, scenes, edits, strict=True)
            return torch.stack([refined_mask(*row).to(maps.device) for row in rows])

        return masks


def _dynamic_shift(tokens: int, config: dict[str, Any]) -> float:
    """FLUX's shift mu by image tokens, a line between two sizes; 1.15 where a scheduler does not say."""
    if not config.get("use_dynamic_shifting", False):
        return 1.15 if not config else 0.0
    low = config.get("base_image_seq_len", 256)
    high = config.get("max_image_seq_len", 4096)
    base = config.get("base_shift", 0.5)
    return base + (config.get("max_shift", 1.15) - base) * (tokens - low) / (high - low)
