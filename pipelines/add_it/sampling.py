"""One run: Euler steps of a target on FLUX's flow, beside a scene that is re-noised at every step.

x = (1 - sigma) z + sigma eps; the network names the velocity eps - z. SDEdit is the same run without shared attention,
Prompt-to-Prompt the one whose image queries and keys are the source's (`Sharing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from .blending import blended, inverted, latent_mask, noised
from .extended_attention import Sharing, source_rows
from .flux_attention import BalanceObserver, Block, Observer, PassRows, SubjectObserver, set_processors
from .flux_velocity import flux_velocity
from .subject_map import mask_note, rough_mask
from .windows import GAMMA, AddItSettings, PercentToSigma, is_before, nearest_level

MAP_STEPS = 3  # the blend's and two before (section 3.4)
MaskMaker = Callable[[Tensor, Tensor], Tensor]  # map [B,h/2,w/2], estimate of the picture [B,C,h,w] -> mask [B,h,w]


@dataclass(frozen=True)
class Prompt:
    """What a text encoder makes of prompts."""

    context: Tensor  # [B,T,D]
    pooled: Tensor  # [B,P]

    def __len__(self) -> int:
        return len(self.context)

    def expand(self, count: int) -> Prompt:
        """The prompt of one row for so many rows."""
        return Prompt(self.context.expand(count, -1, -1), self.pooled.expand(count, -1))

    def to(self, device: torch.device) -> Prompt:
        """The prompt on a device."""
        return Prompt(self.context.to(device), self.pooled.to(device))


@dataclass(frozen=True)
class Scene:
    """The hidden source: S scenes for as many targets, or one for all; its own noise makes it noisy."""

    latents: Tensor  # [S,C,h,w], clean
    noise: Tensor  # [S,C,h,w]
    prompt: Prompt
    path: Sequence[Tensor] | None = None  # noisy latents at each of a run's levels, in place of that noise


@dataclass(frozen=True)
class Target:
    """What is to be made of the scenes, B pictures."""

    prompt: Prompt
    noise: Tensor  # [B,C,h,w]
    null: Prompt | None = None  # of classifier-free guidance; None for a model that is guided by a number
    guidance: float = 3.5
    subject: Tensor | None = None  # [B,1,T] bool, the subject's text tokens


@dataclass(frozen=True)
class Addition:
    """What a run ends with."""

    latents: Tensor  # [B,C,h,w]
    subject_map: Tensor | None  # [B,h/2,w/2]
    mask: Tensor | None  # [B,1,h,w], of the blend
    gamma: Tensor | None  # [B], where it was balanced
    row_forwards: int  # rows that went through the network
    notes: tuple[str, ...]


class FluxFlow:
    """diffusers' FLUX transformer as a velocity of rows of latents."""

    def __init__(self, transformer: FluxTransformer2DModel):
        set_processors(transformer)
        self.transformer = transformer

    def __call__(
        self,
        latents: Tensor,
        sigma: float,
        prompt: Prompt,
        rows: PassRows | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """The velocity [R,C,h,w] float32 of latents of even sides at one noise level; `guidance` [R] is embedded."""
        kind = self.transformer.dtype
        device = self.transformer.device
        levels = torch.full((len(latents),), sigma, device=device, dtype=torch.float32)
        return flux_velocity(
            self.transformer,
            latents.to(device, kind),
            levels,
            prompt.context.to(device, kind),
            prompt.pooled.to(device, kind),
            guidance=None if guidance is None else guidance.to(device, torch.float32),
            rows=rows,
        ).float()


def joined(prompts: Sequence[Prompt]) -> Prompt:
    """Prompts of one length, row after row."""
    return Prompt(torch.cat([each.context for each in prompts]), torch.cat([each.pooled for each in prompts]))


def own_mask(maps: Tensor, estimate: Tensor) -> Tensor:
    """The mask [B,h/2,w/2] bool of the subject's map alone."""
    return rough_mask(maps)


class AddItRun:
    """A run that can stop at any step and go on, here or in another run from its latents."""

    def __init__(
        self,
        flow: FluxFlow,
        target: Target,
        scene: Scene,
        *,
        sigmas: Sequence[float],
        percent_to_sigma: PercentToSigma,
        settings: AddItSettings,
        sharing: Sharing = "extended",
        two_passes: bool = False,
        make_mask: MaskMaker = own_mask,
        map_blocks: Sequence[Block] | None = None,
        source_guidance: float = 1.0,
    ):
        """`sigmas` fall to 0. Rows go in one pass unless `two_passes`, or prompts of two lengths, ask for two.

        Raises ValueError for scenes that do not pair up with targets or are of another size.
        """
        if scene.latents.shape[1:] != target.noise.shape[1:]:
            raise ValueError(
                f"The scene's latents are {tuple(scene.latents.shape[1:])}, the target's "
                f"{tuple(target.noise.shape[1:])}: source and target must have one size."
            )
        if scene.path is not None and len(scene.path) != len(sigmas):
            raise ValueError(f"The scene was inverted to {len(scene.path)} levels, the run has {len(sigmas)}.")
        source_rows(len(target.noise), scene.latents)
        self.flow = flow
        self.target = target
        self.scene = scene
        self.sigmas = [float(sigma) for sigma in sigmas]
        self.percent_to_sigma = percent_to_sigma
        self.settings = settings
        self.sharing: Sharing = sharing
        lengths = {target.prompt.context.shape[1], scene.prompt.context.shape[1]}
        self.two_passes = two_passes or len(lengths) > 1
        self.make_mask = make_mask
        self.source_guidance = source_guidance
        self.guided = target.null is not None and target.guidance != 1
        self.step = 0
        if settings.start > 0:
            self.step = nearest_level(self.sigmas[:-1], settings.start, percent_to_sigma).index
        self.blend_step = None
        if settings.blend is not None:
            self.blend_step = nearest_level(self.sigmas[:-1], settings.blend, percent_to_sigma).index
        self.latents = noised(source_rows(len(target.noise), scene.latents), target.noise, self.sigmas[self.step])
        first_row = len(target.noise) if self.guided else 0
        self.subject = None
        if target.subject is not None:
            self.subject = SubjectObserver(target.subject, first_row, map_blocks)
        self.gamma: float | Tensor | None = settings.gamma
        self.mask: Tensor | None = None
        self.row_forwards = 0
        self.notes: list[str] = []

    def resume(self, latents: Tensor, step: int) -> None:
        """Go on from latents that another run left before this step."""
        self.latents = latents
        self.step = step

    def advance(self, stop: int | None = None, progress: Callable[[int, int], object] | None = None) -> None:
        """Make the steps up to `stop`, by default to the end."""
        last = len(self.sigmas) - 1
        while self.step < (last if stop is None else min(stop, last)):
            self._make_step()
            if progress is not None:
                progress(self.step, last)

    def addition(self) -> Addition:
        """What has been made so far."""
        height, width = self.latents.shape[-2:]
        maps = None
        if self.subject is not None and self.subject.map.total is not None:
            maps = self.subject.map.picture(height // 2, width // 2)
        gamma = self.gamma if isinstance(self.gamma, Tensor) else None
        return Addition(self.latents, maps, self.mask, gamma, self.row_forwards, tuple(self.notes))

    def _make_step(self) -> None:
        sigma = self.sigmas[self.step]
        lower = self.sigmas[self.step + 1]
        velocity = self._velocity(sigma)
        estimate = self.latents - sigma * velocity
        self.latents = self.latents + (lower - sigma) * velocity
        if self.step == self.blend_step:
            self._blend(estimate)
        self.step += 1

    def _velocity(self, sigma: float) -> Tensor:
        count = len(self.latents)
        prompts = [self.target.prompt]
        if self.guided and self.target.null is not None:
            prompts.insert(0, self.target.null.expand(count))
        prompt = joined(prompts)
        rows = self._rows(sigma, len(prompt))
        latents = self.latents.repeat(len(prompts), 1, 1, 1)
        numbers = torch.full((len(latents),), float(self.target.guidance))
        if rows.double or rows.single:
            source = self._source_at(self.step)
            source_numbers = torch.full((len(source),), self.source_guidance)
            self.row_forwards += len(source)
            if self.two_passes:
                self._record(rows, source, sigma, source_numbers)
            else:
                rows.sources = len(source)
                latents = torch.cat([latents, source])
                prompt = joined([prompt, _rows_of(self.scene.prompt, len(source))])
                numbers = torch.cat([numbers, source_numbers])
        balance = self._observe(rows, count)
        self.row_forwards += len(prompts) * count
        parts = self.flow(latents, sigma, prompt, rows, numbers)[: len(prompts) * count].chunk(len(prompts))
        if balance is not None and balance.balance.total is not None:
            self.gamma = balance.balance.gamma()
        if len(parts) == 1:
            return parts[0]
        without, with_prompt = parts
        return without + self.target.guidance * (with_prompt - without)

    def _rows(self, sigma: float, count: int) -> PassRows:
        settings = self.settings
        gamma: float | Tensor = GAMMA if self.gamma is None else self.gamma
        if isinstance(gamma, Tensor):
            gamma = gamma.repeat(count // len(gamma))
        return PassRows(
            self.target.prompt.context.shape[1],
            gamma=gamma,
            double=is_before(sigma, settings.double_until, self.percent_to_sigma),
            single=is_before(sigma, settings.single_until, self.percent_to_sigma),
            sharing=self.sharing,
        )

    def _record(self, rows: PassRows, source: Tensor, sigma: float, numbers: Tensor) -> None:
        """Let the sources run alone and leave their tokens in `rows`."""
        prompt = _rows_of(self.scene.prompt, len(source))
        rows.memory = {}
        alone = PassRows(prompt.context.shape[1], memory=rows.memory, recording=True)
        self.flow(source, sigma, prompt, alone, numbers)

    def _observe(self, rows: PassRows, count: int) -> BalanceObserver | None:
        observers: list[Observer] = []
        last = self.blend_step
        if self.subject is not None and last is not None and last - MAP_STEPS < self.step <= last:
            observers.append(self.subject)
        balance = None
        if self.gamma is None and rows.double and rows.sharing == "extended":
            balance = BalanceObserver(count if self.guided else 0, count)
            observers.append(balance)
        rows.observers = observers
        return balance

    def _source_at(self, step: int) -> Tensor:
        """The scene at a step's level."""
        if self.scene.path is not None:
            return self.scene.path[step]
        return noised(self.scene.latents, self.scene.noise, self.sigmas[step])

    def _blend(self, estimate: Tensor) -> None:
        height, width = self.latents.shape[-2:]
        if self.subject is None or self.subject.map.total is None:
            raise ValueError("Blending needs the subject's tokens: name the subject, or leave blending out.")
        masks = self.make_mask(self.subject.map.picture(height // 2, width // 2), estimate)
        mask = latent_mask(masks, height, width)
        for row, note in enumerate(map(mask_note, masks)):
            if note is not None:
                self.notes.append(note)
                mask[row] = 1
        source = self._source_at(self.step + 1)
        self.mask = mask
        self.latents = blended(self.latents, source_rows(len(self.latents), source), mask)


def _rows_of(prompt: Prompt, count: int) -> Prompt:
    return prompt if len(prompt) == count else prompt.expand(count)


@torch.no_grad()
def add(
    flow: FluxFlow,
    target: Target,
    scene: Scene,
    *,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> Addition:
    """A whole run; `options` are those of `AddItRun`."""
    run = AddItRun(flow, target, scene, **options)
    run.advance(progress=progress)
    return run.addition()


@torch.no_grad()
def inverted_scene(
    flow: FluxFlow, scene: Scene, sigmas: Sequence[float], *, iterations: int = 2, guidance: float = 1.0
) -> Scene:
    """The scene with its path against the flow, by fixed-point Euler steps under its own prompt, to a run's levels.

    Its noise becomes the path's. One evaluation more for each level and iteration.
    """
    prompt = _rows_of(scene.prompt, len(scene.latents))
    numbers = torch.full((len(scene.latents),), guidance)

    def velocity(latents: Tensor, sigma: float) -> Tensor:
        return flow(latents, sigma, prompt, None, numbers)

    rising = [float(sigma) for sigma in reversed(sigmas)]
    path = inverted(velocity, scene.latents, rising, iterations=iterations)[::-1]
    return replace(scene, noise=path[0], path=path)


def sdedit(settings: AddItSettings) -> AddItSettings:
    """The same run without shared attention (SDEdit, arXiv 2108.01073)."""
    return replace(settings, double_until=0.0, single_until=0.0)
