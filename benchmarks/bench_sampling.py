"""Our sampler node against the stock graph and diffusers' pipeline: same weights, sampler, steps and picture size.

    python dev.py bench sampling --repeats=7 --steps=20 --threads=2

Scene in, picture out; the object is encoded beforehand.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..devtools.environment import ROOT, find_host
from ..devtools.inprocess import InProcess
from ..pipelines.sampling.guidance import Guidance
from ..pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from .timing import Way, interleaved, ratios, summary, table

MODELS = ROOT / "playroom_models"
OURS = "our node"
STOCK = "stock graph"
DIFFUSERS = "diffusers"
ALONE = "stand-alone"


@dataclass(frozen=True)
class Scenes:
    """Another scene [1,H,W,3] for each picture, so that nobody finds one encoded already."""

    first: Tensor
    count: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self) -> Tensor:
        return self.first.roll(next(self.count), 2)


@dataclass(frozen=True)
class Kit:
    """Models of the host, and an object as conditioning."""

    model: Any
    vae: Any
    positive: Any
    negative: Any


def toy_kit(comfy: InProcess, thing: Tensor) -> Kit:
    """The shipped models, looking at an object [1,H,W,3]."""
    model, vae, vision, optimizer = comfy("PlayroomModels")
    (encoded,) = comfy("ObjectImageEncode", clip_vision=vision, image=thing)
    return Kit(model, vae, *comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=encoded))


def host_ways(
    comfy: InProcess, kit: Kit, scenes: Scenes, steps: int, guidance: Guidance, speed: str = "exact"
) -> dict[str, Way]:
    """Our sampler node, and the same of stock nodes, both in the real host; stock nodes know no `speed`."""
    model = kit.model
    vae = kit.vae
    contexts = dict(positive=kit.positive, negative=kit.negative)
    (control,) = comfy("GuidanceControl", object_scale=guidance.object_scale, scene_scale=guidance.scene_scale)
    schedule = dict(scheduler="normal", steps=steps, denoise=1.0)

    def ours():
        scene = scenes()
        latent, _ = comfy(
            "ImageConditionedPix2PixSampler",
            model=model,
            vae=vae,
            scene=scene,
            **contexts,
            guidance=control,
            **schedule,
            seed=0,
            sampler_name="euler",
            speed=speed,
        )
        return comfy("SceneDecode", latent=latent, vae=vae, scene=scene)

    def stock():
        full, scene_alone, empty = comfy("InstructPixToPixConditioning", **contexts, vae=vae, pixels=scenes())
        scales = dict(cfg_conds=guidance.object_scale, cfg_cond2_negative=guidance.scene_scale, style="regular")
        (guider,) = comfy("DualCFGGuider", model=model, cond1=full, cond2=scene_alone, negative=kit.negative, **scales)
        (noise,) = comfy("RandomNoise", noise_seed=0)
        (sampler,) = comfy("KSamplerSelect", sampler_name="euler")
        (sigmas,) = comfy("BasicScheduler", model=model, **schedule)
        latent, _ = comfy(
            "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=empty
        )
        return comfy("VAEDecode", samples=latent, vae=vae)

    unet = model.model.diffusion_model
    return {OURS: Way(ours, unet), STOCK: Way(stock, unet)}


def diffusers_ways(scenes: Scenes, thing: Tensor, steps: int, guidance: Guidance) -> dict[str, Way]:
    """diffusers' InstructPix2Pix pipeline as it is, and our stand-alone pipeline on it."""
    alone = VisualInsertionPipeline.from_folder(MODELS)
    context, null = alone.contexts(thing)

    def ours():
        return alone.sample(scenes(), context, null, guidance, steps=steps, sampler="euler")

    stock = diffusers_way(alone.pipeline, scenes, context, null, steps, guidance)
    return {DIFFUSERS: stock, ALONE: Way(ours, stock.unet)}


def diffusers_way(stock: Any, scenes: Scenes, context: Tensor, null: Tensor, steps: int, guidance: Guidance) -> Way:
    """diffusers' InstructPix2Pix pipeline as it is, with contexts [1,N,D] of an object and of none."""
    stock.set_progress_bar_config(disable=True)

    def theirs():
        return stock(
            image=scenes().movedim(-1, 1),
            prompt_embeds=context,
            negative_prompt_embeds=null,
            num_inference_steps=steps,
            guidance_scale=guidance.object_scale,
            image_guidance_scale=guidance.scene_scale,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        )

    return Way(theirs, stock.unet)


def plot(rows: dict[str, dict[str, float]], path: Path) -> None:
    """Seconds per image as bars, split at the UNet; nothing where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(6, 1 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    outside = [row["seconds_outside_unet"] for row in rows.values()]
    inside = [row["seconds_per_image"] - rest for row, rest in zip(rows.values(), outside, strict=True)]
    axes.barh(list(rows), inside, label="inside the UNet")
    axes.barh(list(rows), outside, left=inside, label="outside")
    axes.invert_yaxis()
    axes.set_xlabel("seconds per image")
    figure.legend(loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser("bench_sampling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=128, help="side of the scene, px")
    parser.add_argument("--object-scale", type=float, default=7.5)
    parser.add_argument("--scene-scale", type=float, default=1.5, help="1 saves a branch, but not in diffusers")
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "bench" / "sampling.json")
    args = parser.parse_args()
    host = find_host()
    if not host:
        parser.error("no ComfyUI yet: run this through `python dev.py bench`, or set COMFYUI_PATH")
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    scene = torch.rand(1, args.size, args.size, 3, generator=generator)
    thing = torch.rand(1, 64, 64, 3, generator=generator)
    scenes = Scenes(scene)
    settings = (args.steps, Guidance(args.object_scale, args.scene_scale))
    with tempfile.TemporaryDirectory() as base:
        comfy = InProcess(host, Path(base))
        import_module("comfy.utils").set_progress_bar_enabled(False)
        ways = host_ways(comfy, toy_kit(comfy, thing), scenes, *settings) | diffusers_ways(scenes, thing, *settings)
        runs = interleaved(ways, args.repeats)
    rows = summary(runs)
    faster = ratios(runs, OURS)
    print(table(rows))
    for name, ratio in faster.items():
        print(f"{OURS} is {ratio:.3f} times as fast as {name}")
    versions = {name: metadata.version(name) for name in ("torch", "diffusers")}
    report = {
        "settings": {name: value for name, value in vars(args).items() if name != "output"},
        "machine": {"device": "cpu", "processor": platform.machine(), "python": platform.python_version(), **versions},
        "medians": rows,
        "times_as_fast": faster,
        "runs": {name: list(map(asdict, of_way)) for name, of_way in runs.items()},
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    plot(rows, args.output.with_suffix(".png"))
    print(args.output)
    return 0
