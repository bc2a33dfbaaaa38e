"""Equal pictures in less time, and nearly equal ones in much less: our node, the stock graph and diffusers' pipeline.

    python dev.py bench speed --rounds=9
    python dev.py bench speed --only true_size --rounds=3
    python dev.py bench speed --only true_size_runs --rounds=3

Ways and settings take turns within each round, and ratios are of the processor's time, medians over the rounds: a busy
machine is unfair to nobody. Below 1 ours is faster. Every picture is of a scene that was not encoded before. At a scene
scale of 1 the host's own guider leaves a branch out as ours does; where both scales are equal, only ours does. The toys
say little about a branch less, because a lone evaluation of so small a UNet costs nearly two of a batch: `true_size` is
a UNet and a VAE of Stable Diffusion 1.5's size with random weights, and `true_size_runs` whole runs of them against
diffusers' of 20 steps. Figures go to docs/figures/speed.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionInstructPix2PixPipeline

from ..devtools.environment import ROOT, find_host
from ..devtools.inprocess import InProcess
from ..pipelines.sampling.guidance import Guidance
from .bench_sampling import (
    ALONE,
    DIFFUSERS,
    OURS,
    STOCK,
    Kit,
    Scenes,
    diffusers_way,
    diffusers_ways,
    host_ways,
    plot,
    toy_kit,
)
from .bench_training import NOISE, make_unet, make_vae
from .figures import record
from .on_device.true_size import PIX2PIX, VAE, write_models
from .timing import Way, interleaved, peak_memory, summary, table, time_ratio

Ways = dict[str, Way]
Figures = dict[str, tuple[float, str]]

GENERAL = Guidance()
SCENE_SCALE_1 = Guidance(scene_scale=1.0)  # the branch without a scene has the coefficient zero
ZERO = Guidance(object_scale=1.5, scene_scale=1.5)  # the branch of the scene alone has
TOYS = Guidance(object_scale=2.5, scene_scale=1.2)
STEPS = 20
TRUE_STEPS = 20
TRUE_SIDE = 256  # px: at 128 an evaluation less saves little, most of its time is reading the weights
SMALL_SIDE = 128  # px, where runs are whole
ALONE_SCALES = Guidance(object_scale=1.0, scene_scale=1.0)  # one evaluation a step, as a student has
TOKENS, WIDTH = 77, 768  # of a random context

# Ratios of time by the figure's name: setting and way, over setting and way.
RATIOS = {
    "toys": {
        "exact_vs_core": (f"exact, {OURS}", f"exact, {STOCK}"),
        "exact_vs_diffusers": (f"exact, {OURS}", f"exact, {DIFFUSERS}"),
        "exact_stand_alone_vs_diffusers": (f"exact, {ALONE}", f"exact, {DIFFUSERS}"),
        "scene_scale_1_vs_core": (f"scene scale 1, {OURS}", f"scene scale 1, {STOCK}"),
        "scene_scale_1_vs_diffusers": (f"scene scale 1, {OURS}", f"exact, {DIFFUSERS}"),  # which has three always
        "zero_branch_toys_vs_core": (f"zero branch, {OURS}", f"zero branch, {STOCK}"),
        "balanced_vs_exact": (f"balanced, {OURS}", f"exact of the toys, {OURS}"),
        "fast_vs_exact": (f"fast, {OURS}", f"exact of the toys, {OURS}"),
    },
    "true_size": {
        "zero_branch_vs_core": (f"zero branch, {OURS}", f"zero branch, {STOCK}"),
    },
}
# How many times as fast the first is as the second.
SPEEDUPS = {
    "toys": {
        "balanced_speedup": (f"balanced, {OURS}", f"exact, {DIFFUSERS}"),
        "balanced_speedup_at_equal_steps": (f"balanced, {OURS}", f"9 steps, {DIFFUSERS}"),
        "fast_toys_speedup": (f"fast, {OURS}", f"exact, {DIFFUSERS}"),
        "fast_toys_speedup_at_equal_steps": (f"fast, {OURS}", f"4 steps, {DIFFUSERS}"),
        "student8_toys_speedup": (f"student of 8 steps, {OURS}", f"exact, {DIFFUSERS}"),
        "student4_toys_speedup": (f"student of 4 steps, {OURS}", f"exact, {DIFFUSERS}"),
    },
    "true_size_runs": {
        "balanced_true_size_speedup": (f"12 x 3, {OURS}", f"20 x 3, {DIFFUSERS}"),
        "fast_untrained_speedup": (f"8 x 2, {OURS}", f"20 x 3, {DIFFUSERS}"),
        "fast_speedup": (f"4 x 1 as a student, {OURS}", f"20 x 3, {DIFFUSERS}"),
        "fast_speedup_at_equal_steps": (f"4 x 1 as a student, {OURS}", f"4 x 3, {DIFFUSERS}"),
    },
}
UNITS = {
    "toys": f"processor time of ours / theirs, the toys, 128 px, {STEPS} steps",
    "true_size": f"processor time of ours / theirs, Stable Diffusion 1.5's size, {TRUE_SIDE} px, {TRUE_STEPS} steps",
    "true_size_runs": f"processor time, Stable Diffusion 1.5's size with random weights, {SMALL_SIDE} px",
}


def named(setting: str, ways: Mapping[str, Way]) -> Ways:
    """Ways by their setting and their own name."""
    return {f"{setting}, {name}": way for name, way in ways.items()}


def toys(comfy: InProcess) -> Ways:
    """The shipped models in both doors and their two rivals."""
    generator = torch.Generator().manual_seed(0)
    scenes = Scenes(torch.rand(1, 128, 128, 3, generator=generator))
    thing = torch.rand(1, 64, 64, 3, generator=generator)
    kit = toy_kit(comfy, thing)
    ways = named("exact", host_ways(comfy, kit, scenes, STEPS, GENERAL))
    ways |= named("exact", diffusers_ways(scenes, thing, STEPS, GENERAL))
    ways |= named("scene scale 1", host_ways(comfy, kit, scenes, STEPS, SCENE_SCALE_1))
    ways |= named("zero branch", host_ways(comfy, kit, scenes, STEPS, ZERO))
    for steps in (9, 4):
        ways |= {f"{steps} steps, {DIFFUSERS}": diffusers_ways(scenes, thing, steps, TOYS)[DIFFUSERS]}
    for steps, name in ((8, "guidance"), (4, "few_step")):
        own = toy_kit(comfy, thing)  # its weights stay patched, as in a queue
        (student,) = comfy("ApplyStudent", model=own.model, name=f"playroom: {name}")
        taught = host_ways(comfy, replace(own, model=student), scenes, STEPS, TOYS, "fast")[OURS]
        ways |= named(f"student of {steps} steps", {OURS: taught})
    for setting, speed in (("exact of the toys", "exact"), ("balanced", "balanced"), ("fast", "fast")):
        ours = host_ways(comfy, kit, scenes, STEPS, TOYS, speed)[OURS]
        ways |= named(setting, {OURS: ours})
    return ways


def true_size(comfy: InProcess) -> Ways:
    """Random networks of the true size in the host, where one branch counts for nothing."""
    return named("zero branch", host_ways(comfy, true_kit(comfy), random_scenes(TRUE_SIDE), TRUE_STEPS, ZERO))


def true_size_runs(comfy: InProcess) -> Ways:
    """Whole runs of such networks; a student's patch is part of its weights, so its time is that of one branch."""
    kit = true_kit(comfy)
    scenes = random_scenes(SMALL_SIDE)
    ways: Ways = {}
    for name, steps, guidance in (
        ("12 x 3", 12, GENERAL),
        ("8 x 2", 8, SCENE_SCALE_1),
        ("4 x 1 as a student", 4, ALONE_SCALES),
    ):
        ways |= named(name, {OURS: host_ways(comfy, kit, scenes, steps, guidance)[OURS]})
    stock = true_pipeline()
    context, null = kit.positive[0][0], kit.negative[0][0]
    for steps in (20, 4):
        ways[f"{steps} x 3, {DIFFUSERS}"] = diffusers_way(stock, scenes, context, null, steps, GENERAL)
    return ways


def true_pipeline() -> StableDiffusionInstructPix2PixPipeline:
    """diffusers' pipeline of random networks of the true size."""
    parts: dict[str, Any] = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    parts |= dict(unet=make_unet(), vae=make_vae(), scheduler=EulerDiscreteScheduler.from_config(NOISE.config))
    return StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)


def random_scenes(side: int) -> Scenes:
    """Of so many px."""
    return Scenes(torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(0)))


def true_kit(comfy: InProcess) -> Kit:
    """A UNet and a VAE of the true size in the host, and contexts, all random.

    Single precision, as diffusers' have: half a file's would be widened at each evaluation on a CPU.
    """
    write_models(comfy.base / "models", [(PIX2PIX, 8)], np.float32)
    (model,) = comfy("Pix2PixUNetLoader", name=PIX2PIX, weights="as saved")
    (vae,) = comfy("VAELoader", vae_name=VAE)
    generator = torch.Generator().manual_seed(0)
    contexts = [[[torch.randn(1, TOKENS, WIDTH, generator=generator), {}]] for _ in range(2)]
    return Kit(model, vae, *contexts)


PARTS: dict[str, Callable[[InProcess], Ways]] = {
    "toys": toys,
    "true_size": true_size,
    "true_size_runs": true_size_runs,
}


def measured(part: str, ways: Ways, rounds: int, folder: Path) -> Figures:
    """A part's ratios, printed and plotted; all runs go to a file of `folder`."""
    runs = interleaved(ways, rounds)
    rows = summary(runs)
    for name, way in ways.items():
        rows[name]["peak_memory_mb"] = peak_memory(way)
    print(table(rows))
    ratios = {name: round(time_ratio(runs, *pair), 3) for name, pair in RATIOS.get(part, {}).items()}
    faster = {name: round(1 / time_ratio(runs, *pair), 2) for name, pair in SPEEDUPS.get(part, {}).items()}
    for name, ratio in (ratios | faster).items():
        print(f"{name}: {ratio}")
    report = {
        "ratios": ratios,
        "times as fast": faster,
        "medians": rows,
        "runs": {name: [asdict(run) for run in runs[name]] for name in runs},
    }
    (folder / f"speed_{part}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    plot(rows, folder / f"speed_{part}.png")
    compared = {name: (ratio, f"{UNITS[part]}, median of {rounds} rounds") for name, ratio in ratios.items()}
    for name, ratio in faster.items():
        ours, theirs = SPEEDUPS[part][name]
        compared[name] = ratio, f"times as fast: {ours}, than {theirs}; {UNITS[part]}, median of {rounds} rounds"
    return compared


def main() -> int:
    parser = argparse.ArgumentParser("bench_speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--dry", action="store_true", help="leave docs/figures alone")
    options = parser.parse_args()
    host = find_host()
    if not host:
        parser.error("no ComfyUI yet: run this through `python dev.py bench`, or set COMFYUI_PATH")
    torch.set_num_threads(options.threads)
    folder = ROOT / "output" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as base:
        comfy = InProcess(host, Path(base))
        import_module("comfy.utils").set_progress_bar_enabled(False)
        for part in options.only:
            figures = measured(part, PARTS[part](comfy), options.rounds, folder)
            if not options.dry:
                command = f"python dev.py bench speed --only {part} --rounds={options.rounds}"
                print(record("speed", figures, command))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
