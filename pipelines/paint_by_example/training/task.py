"""Training of Paint by Example: a picture, holes in it, and what was in the hole as the exemplar.

Works for the playroom and for SD1.4 alike: it sees latents, masks and pooled vectors, not pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from ...training.columns import Column
from ...training.denoising import EVEN, IdentityHead, Weighting, denoising_losses, squared_error, with_identity
from ...training.task import Batch, Modules, Task
from ..exemplar_encoder import ExemplarEncoder
from ..inpainting import guided, nine_channels


class Examples(Protocol):
    """N pictures with holes in them, and exemplars of what is in the holes."""

    @property
    def holes(self) -> int:
        """Of each picture."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """[C,h,w] of a picture's latent."""
        ...

    def __len__(self) -> int: ...

    def fetch(self, share: Batch) -> Batch:
        """What stands for the drawn `index`, `cut`, `view` and `other` [B], for `ExemplarTask.encode` or the loss."""
        ...


@dataclass
class EncodedExemplars:
    """A data set of N pictures with several holes each, and pooled vectors of exemplars of what is in the hole."""

    target: Column  # [N,C,h,w] latents of the picture
    masked: Column  # [N,holes,C,h,w] latents of the picture with a grey hole; all latents times the scaling factor
    hole: Column  # [N,holes,1,h,w] bool: 1 in the hole
    own: Column  # [N,K,D] pooled vectors of augmented crops of the picture itself
    others: Column | None = None  # [N,V,D] pooled vectors of other pictures of the same thing, where there are any
    labels: dict[str, Tensor] = field(default_factory=dict)  # what an auxiliary loss wants, indexed like the rest

    @property
    def holes(self) -> int:
        return self.masked.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.target.shape[1:])

    def __len__(self) -> int:
        return len(self.target)

    def fetch(self, share: Batch) -> Batch:
        index, cut, view = share["index"], share["cut"], share["view"]
        pooled = self.own[index, view % self.own.shape[1]].float()
        if self.others is not None:
            others = self.others[index, view % self.others.shape[1]].float()
            pooled = torch.where(share["other"][:, None], others, pooled)
        read = {
            "target": self.target[index].float(),
            "masked": self.masked[index, cut].float(),
            "hole": self.hole[index, cut],
            "pooled": pooled,
        }
        return read | {f"label {name}": values[index] for name, values in self.labels.items()}


def inpainting_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A float32 UNet with room for the masked picture and the mask, zero for what `unet` does not read yet.

    A text-to-image UNet keeps its 4 columns, as in the authors' modify_checkpoints.py; one that reads a scene's latent
    after its noise keeps 8.
    """
    channels = 2 * cast(Any, unet).config.out_channels + 1
    config = {name: value for name, value in unet.config.items() if not name.startswith("_")}  # or defaults would win
    wide = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(config | {"in_channels": channels}))
    state = unet.state_dict()
    known = state["conv_in.weight"]
    state["conv_in.weight"] = F.pad(known, (0, 0, 0, 0, 0, channels - known.shape[1]))
    wide.load_state_dict(state)
    return wide


class ExemplarTask(Task):
    """Trains an inpainting UNet and an exemplar encoder with its null; VAE and vision encoder stay outside.

    `null_share` of the samples lose their exemplar (the authors' code draws once per batch; this draws per sample).
    `other_share` of the samples see another picture of the same thing instead of a crop of the target.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        encoder: ExemplarEncoder,
        data: Examples,
        noise_schedule: DDIMScheduler,
        batch: int,
        null_share: float = 0.2,
        other_share: float = 0.0,
        weighting: Weighting = EVEN,
        head: IdentityHead | None = None,
        head_weight: float = 0.05,
        rates: dict[str, float] | None = None,
        metrics: Callable[[Modules], dict[str, float]] | None = None,
        draw_sheet: Callable[[Modules], Image.Image] | None = None,
    ):
        if not len(data):
            raise ValueError("There is no picture to train on.")
        if other_share and getattr(data, "others", None) is None:
            raise ValueError("There are no other pictures of what is in the holes; set other_share to 0.")
        self.unet, self.encoder, self.data, self.noise_schedule, self.batch = unet, encoder, data, noise_schedule, batch
        self.null_share, self.other_share, self.weighting = null_share, other_share, weighting
        self.head, self.head_weight, self._rates = head, head_weight, rates or {}
        self._metrics, self._draw_sheet = metrics, draw_sheet

    def modules(self) -> dict[str, nn.Module]:
        named = {"unet": self.unet, "exemplar_encoder": self.encoder}
        return named | ({"head": cast(nn.Module, self.head)} if self.head is not None else {})

    def rates(self):
        return self._rates

    def validate(self, modules):
        return self._metrics(modules) if self._metrics else {}

    def sheet(self, modules):
        return self._draw_sheet(modules) if self._draw_sheet else None

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        data, count = self.data, self.batch

        def below(high: int) -> Tensor:
            return torch.randint(high, (count,), generator=generator)

        def share(of: float) -> Tensor:
            return torch.rand(count, generator=generator) < of

        return {
            "index": below(len(data)),
            "cut": below(data.holes),
            "view": below(2**31),
            "other": share(self.other_share),
            "no_exemplar": share(self.null_share),
            "time": below(cast(Any, self.noise_schedule).config.num_train_timesteps),
            "noise": torch.randn((count, *data.shape), generator=generator),
        }

    def fetch(self, share: Batch) -> Batch:
        return share | self.data.fetch(share)

    def encode(self, batch: Batch) -> Batch:
        """Latents, holes and pooled vectors of a fetched batch, on the device: here they are in it already."""
        return batch

    def squared_error(self, batch: Batch, shown: Tensor) -> Tensor:
        """[B,C,h,w] of what the UNet predicts for an encoded batch, shown the contexts [B,1,D]."""
        schedule, time, noise, target = cast(Any, self.noise_schedule), batch["time"], batch["noise"], batch["target"]
        stacked = nine_channels(schedule.add_noise(target, noise, time), batch["masked"], batch["hole"].float())
        predicted = self.unet(stacked, time, encoder_hidden_states=shown).sample.float()
        return squared_error(predicted, target, noise, time, schedule)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        batch = self.encode(batch)
        context = self.encoder(batch["pooled"])
        shown = torch.where(batch["no_exemplar"][:, None, None], self.encoder.null.to(context), context)
        error, hole = self.squared_error(batch, shown), batch["hole"].bool()
        losses = denoising_losses(error, hole, batch["time"], self.noise_schedule, self.weighting)
        return losses if self.head is None else with_identity(losses, self.head, self.head_weight, context, batch)


@torch.no_grad()
def preview(
    unet: Any,
    context: Tensor,
    null: Tensor,
    masked: Tensor,
    hole: Tensor,
    noise_schedule: DDIMScheduler,
    scale: float = 5.0,
    steps: int = 20,
    seed: int = 0,
) -> Tensor:
    """DDIM latents [B,C,h,w] for contexts [B,1,D], masked latents [B,C,h,w] and holes [B,1,h,w]: a quick look."""
    schedule: Any = noise_schedule
    schedule.set_timesteps(steps)
    latent = torch.randn(masked.shape, generator=torch.Generator().manual_seed(seed)).to(masked)
    contexts = torch.cat([null.expand_as(context), context])
    for time in schedule.timesteps:
        stacked = torch.cat([nine_channels(latent, masked, hole)] * 2)
        without, given = unet(stacked, time, encoder_hidden_states=contexts).sample.float().chunk(2)
        latent = schedule.step(guided(without, given, scale), time, latent).prev_sample
    return latent
