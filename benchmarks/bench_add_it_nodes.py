"""Add-It's nodes in the real host: the picture of the stand-alone pipeline, and what they hold at FLUX.1's width.

`nodes_vs_alone_abs` is of the playroom's model. Memory is the peak of a process of its own (Linux tells it), one step
at 1024 px through the host's Flux class with one block of each kind, in float32 with random weights, beside what
`pipelines.add_it.costs` computes for that. Figures go to docs/figures/add_it.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from ..pipelines.add_it.costs import ModelShape, cache_bytes, image_tokens, map_bytes
from ..pipelines.add_it.windows import REAL
from ..pipelines.playroom.add_it.additions import make_case
from ..pipelines.playroom.add_it.scenes import TEST_SEEDS
from ..pipelines.systems import load_add_it
from ..tests.nodes import add_it_models
from .bench_playroom import boot
from .figures import ROOT, record

COMMAND = "python dev.py bench add_it_nodes"
CASES = 4
STEPS = 20
SEED = 6  # even: the command's scene has the seed after it, the node's the one with its last bit changed
WAYS = {"as it is": {}, "inverted": {"invert": True}, "refined mask": {"refined": True}}
WIDE = ModelShape(double_blocks=1, single_blocks=1, bytes_per_number=4)
FLUX_1 = dict(
    hidden_size=3072,
    num_heads=24,
    depth=1,
    depth_single_blocks=1,
    axes_dim=[16, 56, 56],
    mlp_ratio=4.0,
    context_in_dim=12,  # of the small prompts; the rest is as published
)
SIDE = 1024  # px
MEASURED = ("plain", "one forward", "one forward with the map", "two passes")


def doors() -> float:
    """The largest difference of a pixel (0..1) between Add-It Sampler and the pipeline, over cases and ways."""
    comfy = boot()
    model, clip, vae, _ = comfy("PlayroomFlux")
    pipeline = load_add_it(ROOT / "playroom_flux", torch.device("cpu"), torch.float32)
    largest = 0.0
    for case in map(make_case, TEST_SEEDS[:CASES]):
        scene = torch.from_numpy(case.scene).float()[None] / 255
        for way, options in WAYS.items():
            texts = dict(scene_prompt=str(case.source), subject=case.subject)
            settings = REAL
            alone = pipeline(
                scene, str(case.target), seed=SEED, steps=STEPS, guidance=3.0, settings=settings, **texts, **options
            )
            *_, sampled, _ = comfy(
                "AddItSampler",
                **dict(model=model, clip=clip, vae=vae, scene=scene, prompt=str(case.target), **texts),
                **dict(seed=SEED, steps=STEPS, cfg=3.0, sampler_name="euler", scheduler="simple"),
                **dict(start=settings.start, blend_at=settings.blend, gamma=settings.gamma),
                **dict(double_until=settings.double_until, single_until=settings.single_until),
                **dict(blend_mask="refined" if options.get("refined") else "attention"),
                invert=options.get("invert", False),
            )
            apart = float((alone.images - sampled).abs().max())
            print(f"{case.seed} {way:14}{apart:.3g}", flush=True)
            largest = max(largest, apart)
    return largest


def peak_of(way: str) -> int:
    """Bytes that this process held at most while one step was sampled, beyond what it held before."""
    comfy = boot()
    from ..nodes.host.add_it_subject import marked  # imports the host

    add_it_models.FLUX.update(FLUX_1)
    plain = add_it_models.model_of("flux")
    plain.model_options["transformer_options"]["optimized_attention_override"] = fused
    scene = add_it_models.latents("flux", 1, SIDE // 8, SIDE // 8)
    positive = add_it_models.prompt(1, WIDE.text_tokens)
    sigmas = torch.tensor([1.0, 0.5])
    model = plain
    if way != "plain":
        looks = way == "one forward with the map"
        run = add_it_models.add_it_run(
            scene,
            positive,
            way="two passes" if way == "two passes" else "one forward",
            settings=dict(blend=0.2),
            blends=False,
        )
        positive = marked(positive, [3, 4]) if looks else positive
        model = run.patched(plain)
    small = add_it_models.latents("flux", 1, 8, 8)
    add_it_models.sampled(comfy, plain, positive, small, sigmas)  # weights are where they stay
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts anew
    add_it_models.sampled(comfy, model, positive, scene, sigmas)
    if way != "plain":
        assert bool(run.map.total is not None) == looks, "the map was not made where it is measured"
    return status("VmHWM") - before


def fused(backend: Any, *tensors: Any, **settings: Any) -> Any:
    """torch's attention, as on a GPU: the host's own on a CPU makes matrices as large as memory allows."""
    from comfy.ldm.modules.attention import attention_pytorch

    return attention_pytorch(*tensors, **settings)


def status(name: str) -> int:
    """A number of bytes of /proc/self/status."""
    match = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    assert match, name
    return 1024 * int(match[1])


def memory() -> dict[str, tuple[float, str]]:
    """Figures of what the map and the cache hold beyond a run without them, measured and computed."""
    peaks = {}
    for way in MEASURED:
        launcher = [sys.executable, str(ROOT / "devtools" / "pack.py"), "benchmarks.bench_add_it_nodes"]
        large_blocks = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # given back as soon as they are free
        run = subprocess.run(
            [*launcher, "--peak", way], cwd=ROOT, check=True, capture_output=True, text=True, env=large_blocks
        )
        peaks[way] = json.loads(run.stdout.strip().splitlines()[-1])
        print(f"{way:26}{peaks[way] / 2**20:8.0f} MiB", flush=True)
    tokens = image_tokens(SIDE, SIDE)
    of = f"at {SIDE} px, FLUX.1's width, one block of each kind, float32"
    extra = peaks["one forward with the map"] - peaks["one forward"]
    return {
        "map_extra_mb_measured": (round(extra / 2**20, 1), f"MiB, {of}, peak of the process"),
        "map_extra_mb_computed_for_it": (round(map_bytes(tokens, WIDE) / 2**20, 1), f"MiB, {of}"),
        "one_forward_extra_mb_measured": (
            round((peaks["one forward"] - peaks["plain"]) / 2**20, 1),
            f"MiB beyond a plain run, {of}, peak of the process",
        ),
        "two_passes_extra_mb_measured": (
            round((peaks["two passes"] - peaks["plain"]) / 2**20, 1),
            f"MiB beyond a plain run, {of}, peak of the process",
        ),
        "cache_mb_computed_for_it": (round(cache_bytes(tokens, WIDE) / 2**20, 1), f"MiB, {of}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", choices=MEASURED, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["memory", "doors"], help="the other figures stay as they are")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file of the repository")
    options = parser.parse_args()
    if options.peak:
        print(peak_of(options.peak))
        return
    figures: dict[str, tuple[float, str]] = {}
    if options.only != "doors":
        figures |= memory()
    if options.only != "memory":
        figures["nodes_vs_alone_abs"] = (doors(), f"pixel 0..1, {CASES} cases x {', '.join(WAYS)}")
    for name, (value, unit) in figures.items():
        print(f"{name:32}{value:10.4g}  {unit}")
    if not options.dry:
        print(record("add_it", figures, COMMAND))


if __name__ == "__main__":
    main()
