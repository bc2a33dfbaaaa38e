"""The noise of a diffusion model by its cumulated alphas alone, as schedulers add it and DDIM takes it off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseLevels:
    """A model's noise schedule: what `DenoisingTask` asks of diffusers' schedulers, for any host."""

    alphas_cumprod: Tensor  # [T], 1 is clean
    prediction_type: str  # "epsilon" or "v_prediction"

    @property
    def config(self) -> SimpleNamespace:
        """The settings that a task reads."""
        return SimpleNamespace(num_train_timesteps=len(self.alphas_cumprod), prediction_type=self.prediction_type)

    def _roots(self, time: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """The shares [B,1,1,1] of picture and noise at timesteps [B]."""
        share = self.alphas_cumprod.to(like)[time.to(like.device)][:, None, None, None]
        return share.sqrt(), (1 - share).sqrt()

    def add_noise(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Noisy latents [B,C,h,w] at timesteps [B]."""
        clean, noisy = self._roots(time, latents)
        return clean * latents + noisy * noise

    def get_velocity(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What a v-prediction is to be, [B,C,h,w] (Salimans and Ho 2022)."""
        clean, noisy = self._roots(time, latents)
        return clean * noise - noisy * latents

    def ddim(self, predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, *, steps: int) -> Tensor:
        """Latents [B,C,h,w] from noise by DDIM (Song et al. 2021, eq. 12, eta 0), on timesteps from the last to 0.

        `predict` gives the guided prediction [B,C,h,w] for latents at timesteps [B].
        """
        times = torch.linspace(len(self.alphas_cumprod) - 1, 0, steps + 1).round().long()
        latents = noise
        for now, then in zip(times[:-1], times[1:], strict=True):
            time = now.expand(len(latents)).to(latents.device)
            clean, noisy = self._roots(time, latents)
            output = predict(latents, time)
            if self.prediction_type == "v_prediction":
                picture = clean * latents - noisy * output
                output = noisy * latents + clean * output
            else:
                picture = (latents - noisy * output) / clean
            clean, noisy = self._roots(then.expand(len(latents)), latents)
            latents = clean * picture + noisy * output
        return picture
