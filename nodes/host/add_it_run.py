"""Add-It on a MODEL: a run's state, and the two wrappers through which any stock sampler does the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import comfy.patcher_extension
import torch
from torch import Tensor

from ...pipelines.add_it import stages
from ...pipelines.add_it.blending import blended, latent_mask
from ...pipelines.add_it.extended_attention import Sharing
from ...pipelines.add_it.gamma_balance import GammaBalance
from ...pipelines.add_it.joint_attention import Forward
from ...pipelines.add_it.subject_map import SubjectMap, mask_note, rough_mask
from ...pipelines.add_it.windows import GAMMA, AddItSettings, is_before, nearest_level
from .add_it_forward import AREA, Conds, family, text_length, token_grid, with_source, without_source
from .add_it_source import Source
from .add_it_subject import Subject, positions_in, subject_of

KEY = "visual_insertion_add_it"
NOTHING_TO_BLEND = (
    "The prompt names no subject and no mask is connected, so nothing is blended: use Add-It Prompt, or connect a mask."
)


class AddItRun:
    """One patched MODEL: what its runs are to do, and what the last one left."""

    def __init__(
        self,
        source: Source,
        settings: AddItSettings,
        *,
        mask: Tensor | None = None,
        blends: bool = True,
        way: str = "auto",
        sharing: Sharing = "extended",
        inverts: bool = False,
    ):
        """`mask` [B,H,W] is blended with; without one the subject's own is, where the prompt names a subject.

        A run that does not blend still looks for the subject shortly before the place of the blend. One that `inverts`
        goes by the scene's way against the flow; with `sharing` "prompt_to_prompt" it begins with that way's noise.
        """
        self.source = source
        self.settings = settings
        self.mask = mask
        self.blends = blends and settings.blend is not None
        self.way = way
        self.sharing: Sharing = sharing
        self.inverts = inverts
        self.schedule: list[float] | None = None  # all levels of a run that is sampled in parts
        self.subject: Subject | None = None  # of the last run's prompt
        self._begin()

    def _begin(self) -> None:
        self.map = SubjectMap()
        self.grid = (0, 0)  # rows and columns of the map
        self.map_levels = (0.0, 0.0)  # noise levels
        self.notes: list[str] = []  # of the last run
        self.row_forwards = 0  # rows that went through the model
        self.gamma: float | Tensor = GAMMA if self.settings.gamma is None else self.settings.gamma
        self.balance: GammaBalance | None = None
        self.balanced_at: float | None = None  # a noise level

    def patched(self, model):
        """A clone of a MODEL that adds to the scene. Raises ValueError for a family that Add-It does not reach."""
        self.family = family(model)
        if self.family == "unet" and self.settings.gamma is None:
            raise ValueError("gamma is balanced on FLUX's attention; for SD 1.5 and SDXL give it a number above 0.")
        if self.family == "unet" and (self.inverts or self.sharing != "extended"):
            raise ValueError("Inverting and Prompt-to-Prompt need FLUX or Chroma: SD 1.5 and SDXL do without them.")
        model = model.clone()
        model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, KEY, self._apply_model)
        model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, KEY, self._sample)
        return model

    def subject_maps(self) -> Tensor:
        """The last run's maps [B,h,w], one value for each token of the picture. Raises ValueError without any."""
        return self.map.picture(*self.grid)

    # a forward pass

    def _apply_model(
        self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **others
    ):
        conds: Conds = {"c_concat": c_concat, "c_crossattn": c_crossattn, "control": control, **others}
        conds["transformer_options"] = transformer_options or {}
        base = executor.class_obj
        sigma = float(t.max())
        level = levels(base)
        self._adopt_balance(sigma)
        extended = frozenset(
            kind for kind in ("double", "single") if is_before(sigma, self.settings.until(kind == "single"), level)
        )
        rows = prompted_rows(conds["transformer_options"], len(x))
        lowest, highest = self.map_levels
        looks = bool(rows and self.subject) and highest > 0 and lowest <= sigma <= highest
        if not extended and not looks:
            self.row_forwards += len(x)
            return without_source(executor, x, t, conds, forward=None)
        forward = Forward(
            text=text_length(conds), tokens=self.grid[0] * self.grid[1], extended=extended, sharing=self.sharing
        )
        if isinstance(self.gamma, Tensor):
            forward.gamma = self.gamma.repeat(len(x) // len(self.gamma))
        else:
            forward.gamma = self.gamma
        if looks:
            self._look(forward, base, rows)
        if not extended:
            self.row_forwards += len(x)
            return without_source(executor, x, t, conds, forward=forward)
        balances = self.settings.gamma is None and self.sharing == "extended"
        if rows and balances and self.balanced_at is None and "double" in extended:
            self.balance = forward.balance = GammaBalance()
            self.balanced_at = sigma
            forward.prompted = rows
        result = with_source(executor, x, t, conds, source=self.source, forward=forward, way=self.way)
        self.row_forwards += len(x) + len(self.source.latents)
        if not forward.fired:
            raise ValueError(
                f"{type(base.diffusion_model).__name__} never asked for attention where Add-It listens: another pack's "
                "loader or an accelerator runs the blocks itself. Load the model with the host's own loader."
            )
        return result

    def _look(self, forward: Forward, base, rows: slice) -> None:
        """Have a pass add to the subject map."""
        assert self.subject is not None
        network = base.diffusion_model
        forward.subject = self.map
        forward.prompted = rows
        forward.subject_tokens = positions_in(self.subject, base, forward.text)
        forward.subject_blocks = stages.map_blocks(len(network.double_blocks), len(network.single_blocks))

    def _adopt_balance(self, sigma: float) -> None:
        """Take over the balanced gamma from the next noise level on, so that all rows of a level have the same."""
        if self.balance is not None and self.balanced_at is not None and sigma < self.balanced_at:
            self.gamma = self.balance.gamma()
            self.balance = None
            self.notes.append(f"gamma {', '.join(f'{gamma:.3f}' for gamma in self.gamma.tolist())}")

    # a run

    def _sample(self, executor, guider, sigmas, extra, callback, noise, latent, denoise_mask=None, disable=False):
        base = guider.inner_model
        if noise.any():
            self._begin()  # else it goes on where another part of the run ended
        self.subject = subject_of(guider.conds) if self.family == "joint" else None
        self._check(guider, denoise_mask)
        self.source.prepare(base, noise)
        if self.family == "joint":
            self.grid = token_grid(base, *noise.shape[-2:])
        sigmas = sigmas.clone()  # uni_pc writes into the levels that it is handed
        listed = sigmas.tolist()
        last = len(listed) - 1
        level = levels(base)
        if self.inverts:
            noise = self._inverted(base, listed, noise)
        if self.settings.blend is not None:
            self.map_levels = stages.map_levels(listed, self.settings.blend, level)

        def sampled(first: int, end: int, noise: Tensor, latent: Tensor) -> Tensor:
            """The levels from `first` to `end`; the callback is told of the whole run's steps."""

            def told(step, denoised, current, total):
                return callback(step + first, denoised, current, last)

            shown = None if callback is None else told
            part = sigmas[first : end + 1].clone()
            return executor(guider, part, dict(extra), shown, noise, latent, denoise_mask, disable)

        first = stages.start_index(listed, self.settings.start, level)
        if first is None:
            first = 0
        else:
            self._warn(listed, self.settings.start, "starts from the scene", level)
            noise, latent = self._started(base, sigmas[0], noise=noise, latent=latent)
            if first == last:
                return stored(base, sigmas[first], at_level(base, sigmas[first], noise, latent))
        blend = stages.blend_index(listed, self.settings.blend, level) if self.blends else None
        if blend is not None and self.mask is None and self.subject is None:
            self.note(NOTHING_TO_BLEND)
            blend = None
        if blend is None or blend <= first:
            return sampled(first, last, noise, latent)
        self._warn(listed, self.settings.blend, "blends", level)
        result = self.blended(base, sigmas[blend], sampled(first, blend, noise, latent))
        return result if blend == last else sampled(blend, last, torch.zeros_like(noise), result)

    def _inverted(self, base, sigmas: list[float], noise: Tensor) -> Tensor:
        """Invert the scene where a run begins; the noise that it begins with."""
        if not noise.any():
            return noise
        schedule = self.schedule or sigmas
        if schedule[-1] > 0:
            raise ValueError("invert needs to know all steps: let one sampler run them, down to 0.")
        self.source.invert(base, schedule, noise)
        return self.source.noise.to(noise).expand_as(noise) if self.sharing == "prompt_to_prompt" else noise

    def _check(self, guider, denoise_mask) -> None:
        """Raise ValueError for what Add-It cannot do in a run."""
        if any("area" in cond for conds in guider.conds.values() for cond in conds):
            raise ValueError(AREA)
        if "multigpu_clones" in guider.model_options:
            raise ValueError("Add-It runs on one GPU: take the node that spreads the model over several ones out.")
        cache = guider.model_options.get("transformer_options", {}).get("easycache")
        if cache is not None and cache.name == "EasyCache":
            raise ValueError(
                "EasyCache keeps what the model gave for each prompt, and Add-It's scene goes through the model beside "
                "them. Take EasyCache out; LazyCache works, which skips whole steps."
            )
        if denoise_mask is not None and self.blends:
            raise ValueError(
                "A latent noise mask keeps the scene already, and Add-It's blend would undo it. Take the mask off, or "
                "set blend off."
            )

    def _warn(self, sigmas: list[float], share: float, what: str, level) -> None:
        if nearest_level(sigmas, share, level).far:
            self.note(
                f"The scheduler has no level near {share:.0%} of the schedule, where Add-It {what}; the nearest one is "
                "taken. simple, normal, beta and ddim_uniform have such levels."
            )

    def note(self, note: str) -> None:
        """Remark something about the run, for the log and for nodes that show it."""
        self.notes.append(note)
        logging.warning("Add-It: %s", note)

    def _started(self, base, sigma: Tensor, *, noise: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """(noise, latent) of a run that begins as the noised scene; `sigma` is the level where it would have begun."""
        scene = self.source.clean(base, noise)
        scene = scene.expand_as(noise) if len(scene) == 1 else scene
        if not noise.any():  # a part of a run before this one was the noised scene already, which tells the noise
            nothing = torch.zeros_like(noise)
            state = at_level(base, sigma, noise, latent)
            without = at_level(base, sigma, nothing, scene)
            noise = (state - without) / at_level(base, sigma, torch.ones_like(noise), nothing)
        return noise, scene

    def blended(self, base, sigma: Tensor, latents: Tensor, cells: Tensor | None = None) -> Tensor:
        """Latents as a sampler hands them on at a noise level, the scene's at that level outside of the mask.

        The mask is `cells` [B,1,h,w], or the run's own: the one connected, or the subject's. A picture with an empty
        mask, or with one of the whole picture, stays as it is, and a note says so.
        """
        if cells is None:
            cells = self._mask_of_cells(*latents.shape[-2:]).to(latents)
        notes = [mask_note(mask) for mask in cells[:, 0]]
        for note in dict.fromkeys(filter(None, notes)):
            self.note(note)
        useless = torch.tensor([note is not None for note in notes], device=cells.device)
        cells = torch.where(useless[:, None, None, None], 1.0, cells)
        return blended(latents, stored(base, sigma, self.source.noised(base, sigma, latents)), cells)

    def _mask_of_cells(self, height: int, width: int) -> Tensor:
        if self.mask is not None:
            return stages.mask_cells(self.mask, height, width)
        return latent_mask(rough_mask(self.subject_maps()), height, width)


def levels(base) -> Callable[[float], float]:
    """A model's noise level at a share of the schedule."""
    return lambda share: float(base.model_sampling.percent_to_sigma(share))


def prompted_rows(options: dict[str, Any], count: int) -> slice | None:
    """The rows of a pass that have the positive prompt; None where it has none."""
    chunks = options.get("cond_or_uncond", [0])
    if 0 not in chunks:
        return None
    size = count // len(chunks)
    start = chunks.index(0) * size
    return slice(start, start + size)


def at_level(base, sigma: Tensor, noise: Tensor, latent: Tensor) -> Tensor:
    """What a sampler begins with at a noise level."""
    return base.model_sampling.noise_scaling(sigma, noise.clone(), latent)


def stored(base, sigma: Tensor, latents: Tensor) -> Tensor:
    """Noisy latents as the host hands them from one sampler to the next."""
    return base.model_sampling.inverse_noise_scaling(sigma, latents)
