"""Training of the small FLUX by the clock, with everything on the device.

The pack's one engine draws its batches on the CPU and counts steps. Here a step takes some ten milliseconds, the data
lie on the GPU, and minutes on a borrowed machine are what is counted, so this loop is its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...training.precision import autocast
from .captions import PHRASE
from .columns import Scenes, mirrored, touched_cells
from .flow import velocity
from .limits import Limits, warm
from .models import Networks
from .muon import Muon
from .updating import update

# The trial's values but for SHOWN, ALIGNMENT, OF_WORDS and AVERAGE, which are choices.
NO_CAPTION = 0.1  # share of captions left out
NO_POOLED = 0.4  # share of pooled vectors left out: attention to words has to learn
SHOWN = 0.6  # share of toys that their picture says, of those that it could; half of the captions leave it room
ON_TOYS = 3.0  # how much more an error counts on a toy's cells
ALIGNMENT = 0.1
OF_WORDS = 0.5  # of the rate, for the text encoder and the pictures' words
AVERAGE = 0.999
WARM_UP = 100  # steps
REPORTED = 100  # steps


@dataclass
class TrainingData:
    """Scenes with their latents [N,C,16,16], those of the mirror pictures, and the toys' vision tokens [T,65,128]."""

    scenes: Scenes
    latents: Tensor
    mirrored: Tensor
    vision: Tensor

    def __post_init__(self):
        self.view_index = self.scenes.view_index
        self.present = self.scenes.present


def losses(networks: Networks, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a batch of `Trainer.draw`, and of what it is made: the velocity's error, the pictured words'."""
    spoken = networks.picture_words(batch["vision"])
    context, pooled = networks.prompt(batch["tokens"], batch["said"], spoken)
    latents = batch["latents"]
    noise = batch["noise"]
    level = batch["sigma"][:, None, None, None]
    noisy = (1 - level) * latents + level * noise
    predicted = velocity(networks, noisy, batch["sigma"], context, pooled * batch["keep"])
    weight = 1 + ON_TOYS * batch["region"]
    flow = (weight / weight.mean() * (predicted.float() - (noise - latents)).square()).mean()
    words = networks.text_encoder.words(batch["names"]).detach()
    present = batch["present"].float()
    distance = (spoken.float() - words).square().mean((2, 3))
    alignment = (distance * present).sum() / present.sum().clamp(min=1)
    return flow + ALIGNMENT * alignment, flow.detach(), alignment.detach()


class Trainer:
    """The networks on their way, their running average, and what updates them."""

    def __init__(
        self,
        networks: Networks,
        data: TrainingData,
        *,
        batch: int,
        rate: float = 2e-3,
        seed: int = 0,
        compiled: bool = False,
    ):
        self.device = data.latents.device
        self.networks = networks.to(self.device)
        self.average = deepcopy(self.networks).requires_grad_(False).eval()
        self.data = data
        self.batch = batch
        self.rate = rate
        self.step = 0
        self.samples = 0
        self.seconds = 0.0
        self.generator = torch.Generator(self.device).manual_seed(seed)
        if compiled:
            self._compile()
        self._start_optimizers()
        self._keep()

    def _compile(self) -> None:
        """Compile the blocks, block by block: those of one kind share their code, whatever the latents' channels."""
        transformer = self.networks.transformer
        layers = cast(nn.ModuleList, self.networks.text_encoder.encoder["layers"])
        for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks, *layers):
            block.compile(fullgraph=True, dynamic=False)

    def _start_optimizers(self) -> None:
        matrices = []
        outside = []
        for name, parameter in self.networks.transformer.named_parameters():
            of_block = "transformer_blocks" in name  # single_transformer_blocks too
            (matrices if of_block and parameter.ndim == 2 else outside).append(parameter)
        words = [*self.networks.text_encoder.parameters(), *self.networks.picture_words.parameters()]
        groups: list[dict[str, Any]] = [{"params": outside, "share": 1.0}, {"params": words, "share": OF_WORDS}]
        fused = self.device.type == "cuda"
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, self.rate),
            torch.optim.AdamW(groups, self.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=fused),
        ]

    def draw(self) -> dict[str, Tensor]:
        """A batch, gathered on the device."""
        data = self.data
        count = self.batch

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=self.generator, device=self.device)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=self.generator, device=self.device)

        index = torch.randint(len(data.scenes), (count,), generator=self.generator, device=self.device)
        flip = uniform(count) < 0.5
        latents = torch.where(flip[:, None, None, None], data.mirrored[index], data.latents[index]).float()
        cells = latents.shape[-1]
        width = data.scenes.picture.shape[-1]
        present = data.present[index]
        boxes = mirrored(data.scenes.box[index], flip, width)
        versions = data.scenes.tokens.shape[1]
        version = (uniform(count) * versions).long().clamp(max=versions - 1)
        silent = uniform(count, 1) < NO_CAPTION
        tokens = data.scenes.tokens[index, version].long()
        end = self.networks.text_encoder.end
        empty = torch.full_like(tokens[:1], end)
        empty[:, 0] = end - 1
        slots = data.scenes.slots[index, version].long()
        shown = uniform(count, present.shape[1]) < SHOWN
        is_said = (slots >= 0) & shown.gather(1, (slots // PHRASE).clamp(min=0)) & ~silent
        return {
            "latents": latents,
            "noise": normal(*latents.shape),
            "sigma": torch.sigmoid(0.2 + 1.2 * normal(count)),
            "region": touched_cells(boxes, present, cells, width / cells),
            "tokens": torch.where(silent, empty, tokens),
            "said": torch.where(is_said, slots, torch.full_like(slots, -1)),
            "vision": data.vision[data.view_index[index]],
            "names": data.scenes.name[index],
            "present": present,
            "keep": (uniform(count, 1) >= NO_POOLED).float(),
        }

    def run(
        self,
        limits: Limits,
        report: Callable[[str], None],
        *,
        cool: float = 0.0,
        save: Callable[[], None] | None = None,
        save_every: float = 60.0,
    ) -> None:
        """Train on within the limits; over the last `cool` of them the rate falls to nothing.

        `save` is called every so many seconds. Where the numbers run away, the last good ones and half the rate go on;
        where the memory is too small, half the batch.
        """
        started = time.monotonic()
        saved = started
        samples = self.samples
        for step, share in limits.run():
            rate = self.rate * warm(self.step, WARM_UP)
            if cool:
                rate *= min(1.0, max(0.01, (1 - share) / cool))
            try:
                flow, alignment = self._update(rate)
            except torch.OutOfMemoryError:
                if self.batch < 16:
                    raise
                self._halve(report)
                continue
            self.step += 1
            self.samples += self.batch
            if self.step % REPORTED == 0 or step == 0:
                if not math.isfinite(flow.item()):
                    self._go_back(report)
                    continue
                now = time.monotonic()
                per_second = (self.samples - samples) / max(now - started, 1e-9)
                report(
                    f"step {self.step} share {share:.2f} flow {flow.item():.4f} alignment {alignment.item():.3f} "
                    f"rate {rate:.1e} samples/s {per_second:.0f}"
                )
            if save and time.monotonic() - saved > save_every:
                if math.isfinite(flow.item()):
                    self._keep()
                    save()
                saved = time.monotonic()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.monotonic() - started
        if not math.isfinite(flow.item()):
            self._go_back(report)
        self._keep()

    def try_once(self) -> None:
        """A forward and backward pass without an update: compiles what is to be compiled."""
        with autocast(self.device):
            loss, *_ = losses(self.networks, self.draw())
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.item()

    def _update(self, rate: float) -> tuple[Tensor, Tensor]:
        with autocast(self.device):
            loss, flow, alignment = losses(self.networks, self.draw())
        update(loss, self.networks, self.average, self.optimizers, rate=rate, step=self.step, longest=AVERAGE)
        return flow, alignment

    def _keep(self) -> None:
        self._good = [
            {name: value.detach().clone() for name, value in network.state_dict().items()}
            for network in (self.networks, self.average)
        ]

    def _go_back(self, report: Callable[[str], None]) -> None:
        self.rate /= 2
        report(f"step {self.step}: the numbers ran away; back to the last good ones at a rate of {self.rate:.1e}")
        for network, state in zip((self.networks, self.average), self._good, strict=True):
            network.load_state_dict(state)
        self._start_optimizers()

    def _halve(self, report: Callable[[str], None]) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        torch.cuda.empty_cache()
        self.batch //= 2
        report(f"step {self.step}: out of memory; batches of {self.batch} from here on")
