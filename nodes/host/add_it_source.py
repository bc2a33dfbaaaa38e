"""The hidden source row: the scene at the run's noise level, with its own noise, prompt and guidance."""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ...pipelines.add_it.blending import inverted
from ...pipelines.add_it.windows import nearest_pair

NOT_THE_SOURCES = ("control", "gligen", "reference_latents", "area", "mask", "hooks", "start_percent", "end_percent")


class Source:
    """A scene as latents [S,C,h,w] of the VAE, its conditioning, and the noise that it keeps through a run."""

    def __init__(self, latents: Tensor, conditioning, *, guidance: float, seed: int):
        """Raises ValueError for latents that are no picture's, and for other than one prompt."""
        if latents.ndim != 4:
            raise ValueError(
                f"The source latent has the shape {tuple(latents.shape)}; Add-It works on pictures [B,C,H,W]."
            )
        if not torch.isfinite(latents).all():
            raise ValueError("The source latent holds values that are not finite (NaN or infinity).")
        if len(conditioning) != 1 or conditioning[0][0] is None:
            raise ValueError(
                f"The source conditioning has {len(conditioning)} parts; connect one prompt that describes the scene."
            )
        context, settings = conditioning[0]
        settings = {name: value for name, value in settings.items() if name not in NOT_THE_SOURCES}
        self.latents = latents
        self.conditioning = [[context, settings | {"guidance": guidance}]]
        self.noise = comfy.sample.prepare_noise(latents, seed)
        self.conds: dict[str, Any] = {}
        self.path: list[Tensor] = []  # of an inverted scene: latents as the model has them, at falling levels
        self.path_levels: list[float] = []

    def prepare(self, base, noise: Tensor) -> None:
        """Make of the conditioning what a model is handed, as the host does for a run with this noise [B,C,h,w]."""
        size = tuple(self.latents.shape[1:])
        if size != tuple(noise.shape[1:]):
            raise ValueError(
                f"The source latent is {_cells(size)}, the run's {_cells(tuple(noise.shape[1:]))}: both have to be of "
                "one size. Encode the scene at the size that is sampled, with the model's own VAE."
            )
        if len(self.latents) not in (1, len(noise)):
            raise ValueError(
                f"There are {len(self.latents)} source latents for {len(noise)} pictures: connect one, or one for each."
            )
        converted = comfy.sampler_helpers.convert_cond(self.conditioning)
        (cond,) = comfy.samplers.encode_model_conds(
            base.extra_conds, converted, self.clean(base, noise), noise.device, "positive", latent_image=None
        )
        count = len(self.latents)
        parts = {name: one.process_cond(batch_size=count, area=None) for name, one in cond["model_conds"].items()}
        self.conds = {name: _on(part.cond, noise.device) for name, part in parts.items()}

    def clean(self, base, like: Tensor) -> Tensor:
        """The scene's latents [S,C,h,w] as the model has them."""
        return base.process_latent_in(self.latents.to(like))

    def invert(self, base, sigmas: list[float], like: Tensor) -> None:
        """Find the scene's way against a flow model's velocity to falling levels that end in 0, in place of its noise.

        Its noise becomes that of the first level. Shows progress, and raises once the run is cancelled.
        """
        clean = self.clean(base, like)
        bar = comfy.utils.ProgressBar(2 * (len(sigmas) - 1))

        def velocity(latents: Tensor, sigma: float) -> Tensor:
            bar.update(1)
            levels = torch.full((len(latents),), sigma, device=latents.device)
            denoised = base.apply_model(latents, levels, **self.conds, transformer_options={"cond_or_uncond": [0]})
            return (latents - denoised) / sigma

        self.path = inverted(velocity, clean, sigmas[::-1])[::-1]
        self.path_levels = sigmas
        self.noise = (self.path[0] - (1 - sigmas[0]) * clean) / sigmas[0]

    def noised(self, base, sigma: Tensor, like: Tensor) -> Tensor:
        """The scene at a noise level: (1 - sigma) z + sigma eps for flow models, z + sigma eps for others.

        Of an inverted scene its path, on straight lines between the path's levels.
        """
        if self.path:
            above, below, share = nearest_pair(self.path_levels, float(sigma.max()))
            return torch.lerp(self.path[above].to(like), self.path[below].to(like), share)
        return base.model_sampling.noise_scaling(sigma, self.noise.to(like).clone(), self.clean(base, like))


def _on(value, device):
    return value.to(device) if isinstance(value, Tensor) else value


def _cells(size: tuple[int, ...]) -> str:
    return f"{size[2]}x{size[1]} cells of {size[0]} channels"
