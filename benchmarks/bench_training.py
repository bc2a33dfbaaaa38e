"""Training throughput at the size of Stable Diffusion 1.5, against diffusers' InstructPix2Pix training step.

The stock step is that of diffusers' example: both pictures through the VAE and the condition through its encoder in
every step. It is measured training what we train (cross-attention and embedding optimizer: the same work), and, as it
is published, training the whole UNet with checkpointing. Ours reads latents from the cache, and vision tokens too when
nothing is augmented. Each way runs in a process of its own, in turns; weights are random, arithmetic is the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ..pipelines.training.base_models import halve_frozen, train_part
from ..pipelines.training.trainer import Settings, Trainer
from ..pipelines.visual_insertion.optimizer_files import OptimizerSettings, build
from ..pipelines.visual_insertion.training.insertion_task import EncodedTriplets, InsertionTask
from .figures import ROOT, record

ATTN2 = (80, 43_962_560)
NOISE = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
SETTINGS = Settings(steps=1_000_000, learning_rate=1e-4)


def random_weights(make: Callable[[], Any]) -> Any:
    """A network of small random weights, without the time that careful initialisation takes."""
    with torch.device("meta"):
        network = make()
    network.to_empty(device="cpu")
    for module in network.modules():
        if hasattr(module, "position_ids"):
            module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.uniform_(parameter, -0.03, 0.03)
        else:
            nn.init.ones_(parameter)
    return network


def make_unet() -> Any:
    return random_weights(lambda: UNet2DConditionModel(in_channels=8, cross_attention_dim=768))


def make_vae() -> Any:
    blocks: Any = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    return random_weights(lambda: AutoencoderKL(**blocks, layers_per_block=2))


def make_encoder() -> Any:
    """CLIP ViT-L/14."""
    shape = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14
    )
    return random_weights(lambda: CLIPVisionModelWithProjection(shape)).requires_grad_(False).eval()


def make_embedding_optimizer() -> Any:
    return build(OptimizerSettings("resampler", encoder_width=1024, context_width=768, context_tokens=77))


class Pictures:
    """Decoded pictures of objects, as the loader would hand them over."""

    views = 1

    def pixels(self, index, view, seed):
        return {"features": torch.randn(len(index), 3, 224, 224)}


def ours(size: int, batch: int, device: str, augmented: bool) -> Callable[[], object]:
    unet = make_unet()
    train_part(unet, "attn2", *ATTN2)
    encoder = make_encoder() if augmented else None
    for network in filter(None, (unet, encoder)):
        halve_frozen(network)
    latents = torch.randn(batch, 1, 4, size // 8, size // 8)
    tokens = None if augmented else torch.randn(batch, 1, 257, 1024)
    region = torch.zeros(batch, 1, 1, size // 8, size // 8, dtype=torch.bool)
    data = EncodedTriplets(latents, latents, tokens, region)
    live: dict[str, Any] = {"pictures": Pictures(), "encoders": {"features": encoder}} if augmented else {}
    task = InsertionTask(unet, make_embedding_optimizer(), data, NOISE, batch=batch, **live)
    return Trainer(task, replace(SETTINGS, device=device)).step


def stock(size: int, batch: int, device: str, whole_unet: bool) -> Callable[[], object]:
    """The step of diffusers' example, with object pictures in the place of instructions."""
    unet = make_unet().to(device)
    embedding_optimizer = make_embedding_optimizer().to(device)
    vae = make_vae().to(device, torch.bfloat16).requires_grad_(False)
    encoder = make_encoder().to(device, torch.bfloat16)
    if whole_unet:
        unet.enable_gradient_checkpointing()
    else:
        train_part(unet, "attn2", *ATTN2)
    parameters = [*unet.parameters(), *embedding_optimizer.parameters()]
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    adam = torch.optim.AdamW(trained, lr=5e-5)
    pictures = {name: torch.randn(batch, 3, size, size, device=device) for name in ("edited", "original")}
    objects = torch.randn(batch, 3, 224, 224, device=device)
    null = torch.zeros(77, 768, device=device)
    unet.train()

    def step():
        half: Any = torch.bfloat16
        with torch.no_grad():
            latents = vae.encode(pictures["edited"].to(half)).latent_dist.sample() * vae.config.scaling_factor
            original = vae.encode(pictures["original"].to(half)).latent_dist.mode().float()
            tokens = encoder(pixel_values=objects.to(half)).last_hidden_state
        latents = latents.float()
        noise = torch.randn_like(latents)
        moments = torch.randint(0, 1000, (batch,), device=device)
        noisy = NOISE.add_noise(latents, noise, moments)
        chance = torch.rand(batch, device=device)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            context = embedding_optimizer(tokens.float())
            context = torch.where((chance < 0.1)[:, None, None], null.to(context), context)
            original = original * (1 - ((chance >= 0.05) & (chance < 0.15)).float())[:, None, None, None]
            out = unet(torch.cat([noisy, original], 1), moments, context, return_dict=False)[0]
            loss = F.mse_loss(out.float(), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        adam.step()
        adam.zero_grad()

    return step


WAYS: dict[str, Callable[[int, int, str], Callable[[], object]]] = {
    "ours": lambda *shape: ours(*shape, augmented=False),
    "ours_augmented": lambda *shape: ours(*shape, augmented=True),
    "stock_same_parameters": lambda *shape: stock(*shape, whole_unet=False),
    "stock_whole_unet": lambda *shape: stock(*shape, whole_unet=True),
}


def measure(way: str, *, size: int, batch: int, device: str, steps: int) -> dict[str, float]:
    """Median seconds of a step, after one that does not count, and this process's memory.

    On a CPU they are this process's own seconds of computing, which other work on a shared machine lengthens less.
    """
    step = WAYS[way](size, batch, device)
    seconds = []
    clock = time.process_time if device == "cpu" else time.perf_counter
    for _ in range(steps + 1):
        started = clock()
        step()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(clock() - started)
    used = torch.cuda.max_memory_allocated() if device != "cpu" else psutil.Process().memory_info().rss
    return {"seconds": median(seconds[1:]), "gb": used / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--size", type=int, default=256 if cuda else 128, help="px")
    parser.add_argument("--batch", type=int, default=16 if cuda else 4)
    parser.add_argument("--steps", type=int, default=10 if cuda else 2, help="measured, of each way in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    parser.add_argument("--way", choices=WAYS, help="measure one, print JSON (for the processes)")
    options = parser.parse_args()
    shape = {name: getattr(options, name) for name in ("device", "size", "batch", "steps")}
    if options.way:
        print(json.dumps(measure(options.way, **shape)))
        return

    rounds: list[dict[str, dict[str, float]]] = []
    for _ in range(options.rounds):
        rounds.append({})
        for way in WAYS:
            command = [sys.executable, str(ROOT / "devtools/pack.py"), __name__.partition(".")[2], f"--way={way}"]
            command += [f"--{name}={value}" for name, value in shape.items()]
            ended = subprocess.run(command, capture_output=True, text=True, check=True)
            rounds[-1][way] = json.loads(ended.stdout.splitlines()[-1])
            print(way, rounds[-1][way], flush=True)

    def ratio(theirs: str, mine: str) -> float:
        return round(median(one[theirs]["seconds"] / one[mine]["seconds"] for one in rounds), 3)

    where = f"{options.size} px, batch {options.batch}, bf16, {options.device}"
    figures = {
        "training_throughput_ratio": (ratio("stock_same_parameters", "ours"), f"stock step / ours, time, {where}"),
        "training_throughput_ratio_augmented": (
            ratio("stock_same_parameters", "ours_augmented"),
            "the same, CLIP live",
        ),
        "training_throughput_ratio_whole_unet": (ratio("stock_whole_unet", "ours"), "stock as published / ours"),
    }
    for way in WAYS:
        seconds = median(one[way]["seconds"] for one in rounds)
        figures[f"training_{way}_per_second"] = (round(options.batch / seconds, 3), f"samples/s, {where}")
        figures[f"training_{way}_gb"] = (round(median(one[way]["gb"] for one in rounds), 2), "GB at the end of a step")
    for name, (value, unit) in figures.items():
        print(f"{name:44}{value:9.3f}  {unit}")
    if not options.dry:
        print(record("flagship", figures, "python dev.py bench training"))


if __name__ == "__main__":
    main()
