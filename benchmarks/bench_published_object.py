"""A published object of the true size against the published code's arithmetic, and how large our files are.

Random weights in the published layout: Paint by Example as one model.ckpt (UNet, CLIP ViT-L/14, exemplar encoder), and
a delta_last.ckpt of 1.5 GB learned on it. `forward_rel`: relative error of what the UNet predicts, null and object,
with the file that `visual-insertion convert learned-object` made and `paint --learned` applies, against the whole
weights set in the UNet and tokens made in plain torch. `convert_peak_gb`: resident memory of the conversion.
`patch_mb_rank32`: its keys and values at rank 32. `tokens_kb`: what `learn --train views` makes of four photographs.

About 8 GB of disk and 16 GB of memory.
"""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..pipelines.object_representation import learned_object
from ..pipelines.object_representation.application import Applied, applied, contexts_of
from ..pipelines.object_representation.learned_object import LearnedObject
from ..pipelines.object_representation.training.facts import facts_of
from ..pipelines.object_representation.training.learn import LearningSettings, learn
from ..pipelines.object_representation.training.of_pipeline import attention_layers, learning_model
from ..pipelines.object_representation.training.views_folder import read_views
from ..pipelines.paint_by_example import checkpoints
from ..pipelines.paint_by_example.exemplar_encoder import ExemplarSettings, from_state
from ..pipelines.paint_by_example.pipeline import REFERENCE, PaintByExamplePipeline
from ..tests import paint_by_example_parts as parts
from ..tests import published_object_parts as published
from ..tests import sd15
from .figures import ROOT, record

COMMAND = "python dev.py bench published_object"
VIT_L = parts.VISION | dict(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=224,
    patch_size=14,
    projection_dim=768,
)
SIZES = ((640, 480), (500, 700), (333, 401), (900, 600))  # px of the few-shot pictures
SIDE = 32  # latent cells
RANK = 32


def full_unet(seed: int = 0):
    """Stable Diffusion 1.5's UNet with nine channels and random weights."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    config: Any = sd15.UNET | {"in_channels": 9}
    return UNet2DConditionModel(**config).eval().requires_grad_(False)


def pipeline_of(unet, encoder) -> PaintByExamplePipeline:
    """The networks as `paint` has them, with a small VAE."""
    state = checkpoints.from_diffusers(parts.published_names(encoder.state_dict()))
    return PaintByExamplePipeline(
        unet,
        parts.random_vae(),
        REFERENCE,
        image_encoder=encoder.model,
        exemplar_encoder=from_state(ExemplarSettings(), state, Path("memory")),
        image_mean=published.MEAN,
        image_std=published.SPREAD,
    )


def convert(folder: Path, data: Path, reference: Path) -> tuple[Path, float]:
    """The converted object, and how much memory that took, in GB, in a process of its own."""
    output = folder / "object.safetensors"
    words = ["convert", "learned-object", folder / "delta_last.ckpt", output, "--base", folder / "model.ckpt"]
    words += ["--pictures", data, "--reference", reference]
    launcher = ROOT / "devtools" / "pack.py"
    peak = 0
    with subprocess.Popen([sys.executable, launcher, "pipelines", *map(str, words)]) as process:
        status = Path(f"/proc/{process.pid}/status")  # the child's rusage begins with what its parent had
        while process.poll() is None:
            highest = re.search(r"VmHWM:\s+(\d+) kB", status.read_text("utf-8"))
            peak = max(peak, int(highest[1]) if highest else 0)
            time.sleep(0.1)
    assert process.returncode == 0, "the conversion failed"
    return output, peak * 1024 / 1e9


def keys_and_values(learned: LearnedObject) -> LearnedObject:
    """What training of keys and values alone leaves of an object."""
    patch = {name: tensor for name, tensor in learned.patch.items() if "attn2_to_k" in name or "attn2_to_v" in name}
    return replace(learned, patch=patch)


def tokens_of_photographs(pipeline: PaintByExamplePipeline, folder: Path) -> Path:
    """What `learn --train views` makes of four photographs, as the command writes it."""
    folder.mkdir()
    photograph = Image.open(ROOT / "playroom_models" / "samples" / "photo_object.jpg")
    for number in range(4):
        photograph.rotate(3 * number).save(folder / f"{number}.png")
    pictures = read_views(folder)
    settings = LearningSettings("views")
    facts = facts_of(settings, pictures.paths, base_name="paint-by-example", licence="not stated")
    learning = learn(learning_model(pipeline), pictures.views, settings, facts=facts)
    output = folder / "tokens.safetensors"
    learned_object.save(learning.learned, output)
    return output


def main() -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        unet = full_unet()
        encoder = parts.random_encoder(VIT_L)
        torch.save({"state_dict": parts.ldm_state(encoder, unet)}, folder / "model.ckpt")
        state = published.published_state(unet, published.SD15)
        torch.save({"state_dict": state}, folder / "delta_last.ckpt")
        parameters = sum(tensor.numel() for tensor in state.values())
        delta_gb = (folder / "delta_last.ckpt").stat().st_size / 1e9
        print(f"delta_last.ckpt: {len(state)} tensors, {parameters:,} parameters, {delta_gb:.2f} GB")
        data, pictures, boxes, reference, picture = published.write_pictures(folder / "cup", SIZES, 224)
        gc.collect()

        path, peak = convert(folder, data, reference)
        learned = learned_object.load(path)
        pipeline = pipeline_of(unet, encoder)
        one = Applied(learned, 1.0, path)
        context, null = contexts_of(one, pipeline.exemplar_encoder.null[0])
        null = null[:, :1]
        with applied(pipeline.unet, [one]):
            ours = published.forward(unet, context, null, SIDE)

        small = folder / "rank32.safetensors"
        low, _ = learned_object.of_rank(keys_and_values(learned), attention_layers(unet), RANK)
        learned_object.save(low, small)
        tokens = tokens_of_photographs(pipeline, folder / "photographs")

        their_context = published.published_context(state, encoder.model, pictures, boxes, picture)
        plain = published.forward(unet, their_context, null, SIDE)
        theirs = published.forward(published.set_weights(unet, state, published.SD15), their_context, null, SIDE)
        values = {
            "forward_rel": (
                parts.relative(ours, theirs),
                "relative error of the UNet's prediction, converted file against whole weights set, SD 1.5's size",
            ),
            "context_rel": (parts.relative(context, their_context), "relative error of the 1 + 4 tokens"),
            "change_rel": (round(parts.relative(plain, theirs), 4), "what the weights change in the same prediction"),
            "convert_peak_gb": (
                round(peak, 2),
                "GB resident in `convert learned-object`, pages of mapped files counted",
            ),
            "patch_mb_rank32": (round(small.stat().st_size / 1e6, 2), "MB, keys and values at rank 32, four pictures"),
            "tokens_kb": (
                round(tokens.stat().st_size / 1e3, 2),
                "kB, four photographs' tokens with facts and thumbnail",
            ),
        }
    for name, (value, unit) in values.items():
        print(f"{name}: {value:.4g} ({unit})")
    print(record("learn_object", values, COMMAND))
    return 0
