"""What a picture costs by its size, the batch, steps and objects, and which share of the time is arithmetic.

    python dev.py bench costs --rounds=5

Our node and diffusers' pipeline take turns on the toys, and so does a large product of matrices, whose rate in the same
round is the floor: what the arithmetic of a picture would take at that rate. `floor_share` is the floor's share of the
time. The part `true_size` has networks of Stable Diffusion 1.5's size, at one step. `gpu` needs one and is null
elsewhere: our pipeline and diffusers' there, bf16, 512 px. Tables and plots go to output/bench, figures to
docs/figures/speed.json, the toys' plot to docs/images/costs.png.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..devtools.environment import ROOT, find_host
from ..devtools.inprocess import InProcess
from ..pipelines.sampling.guidance import Guidance
from ..pipelines.sampling.pix2pix import GuidedPix2Pix
from ..pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from .bench_sampling import DIFFUSERS, MODELS, OURS, Scenes, diffusers_way, host_ways, toy_kit
from .bench_speed import TOKENS, WIDTH, random_scenes, true_kit, true_pipeline
from .figures import record
from .timing import Way, interleaved, peak_memory, summary, table

Figures = dict[str, tuple[float | None, str]]
Cost = dict[str, float]

GENERAL = Guidance()
SIDE, STEPS = 128, 20  # of the toys, where nothing else is said
PRODUCT, GPU_PRODUCT = 2048, 8192  # rows and columns of the matrices whose product is the floor
FLOOR = "product of matrices"
KNOBS = {
    "px": (64, 96, 128, 192, 256),
    "pictures in a batch": (1, 2, 4, 8),
    "steps": (4, 9, 20, 50),
    "objects": (1, 2, 3),
}
TRUE_SIDES = (64, 128, 192)  # px
GPU_SIDE = 512  # px


def batch(side: int, count: int) -> Tensor:
    """Scenes [count,side,side,3]."""
    return torch.rand(count, side, side, 3, generator=torch.Generator().manual_seed(0))


def product(rows: int = PRODUCT, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Way:
    """The arithmetic that nothing keeps waiting."""
    left = torch.randn(rows, rows, device=device, dtype=dtype)

    return Way(lambda: left @ left, nn.Identity())


def operations(way: Way) -> float:
    """Floating-point operations of one picture, a product and its sum as two, by torch's counter."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        way.make()
    return float(counter.get_total_flops())


def several(way: Callable[[], object], count: int) -> Callable[[], None]:
    """One object after the other: a run for each, whose result is the next one's scene."""

    def make() -> None:
        for _ in range(count):
            way()

    return make


def toys(comfy: InProcess) -> dict[str, Way]:
    """The shipped models, one knob at a time."""
    thing = batch(64, 1)
    kit = toy_kit(comfy, thing)
    alone = VisualInsertionPipeline.from_folder(MODELS)
    object_and_none = alone.contexts(thing)
    ways: dict[str, Way] = {}
    for knob, values in KNOBS.items():
        for value in values:
            count = value if knob == "pictures in a batch" else 1
            steps = value if knob == "steps" else STEPS
            scenes = Scenes(batch(value if knob == "px" else SIDE, count))
            context, null = (one.expand(count, -1, -1) for one in object_and_none)
            pair = {
                OURS: host_ways(comfy, kit, scenes, steps, GENERAL)[OURS],
                DIFFUSERS: diffusers_way(alone.pipeline, scenes, context, null, steps, GENERAL),
            }
            for name, way in pair.items():
                make = several(way.make, value) if knob == "objects" else way.make
                ways[f"{value} {knob}, {name}"] = Way(make, way.unet)
    return ways


def true_size(comfy: InProcess) -> dict[str, Way]:
    """Random networks of the true size, one step."""
    kit = true_kit(comfy)
    stock = true_pipeline()
    context, null = kit.positive[0][0], kit.negative[0][0]
    ways: dict[str, Way] = {}
    for side in TRUE_SIDES:
        scenes = random_scenes(side)
        ways[f"{side} px, {OURS}"] = host_ways(comfy, kit, scenes, 1, GENERAL)[OURS]
        ways[f"{side} px, {DIFFUSERS}"] = diffusers_way(stock, scenes, context, null, 1, GENERAL)
    return ways


PARTS: dict[str, Callable[[InProcess], dict[str, Way]]] = {"toys": toys, "true_size": true_size}


def costs(ways: dict[str, Way], rounds: int) -> dict[str, Cost]:
    """Rows by the way's name: medians, peak memory, and the floor's share of the processor's time."""
    runs = interleaved(ways | {FLOOR: product()}, rounds)
    rate = 2 * PRODUCT**3 / min(run.busy for run in runs.pop(FLOOR))
    rows = summary(runs)
    for name, row in rows.items():
        row["peak_memory_mb"] = peak_memory(ways[name])
        if name.endswith(DIFFUSERS):
            counted = operations(ways[name])
            for way in (OURS, DIFFUSERS):  # which compute the same
                same = rows[name.removesuffix(DIFFUSERS) + way]
                same["gflop"] = counted / 1e9
                same["floor_share"] = counted / rate / same["processor_seconds"]
    print(f"{FLOOR}: {rate / 1e9:.1f} GFLOP/s")
    return rows


def figures_of(part: str, rows: dict[str, Cost], rounds: int) -> Figures:
    """What is told of a part."""

    def ratio(more: str, less: str) -> float:
        return round(rows[f"{more}, {OURS}"]["processor_seconds"] / rows[f"{less}, {OURS}"]["processor_seconds"], 2)

    of = f"median of {rounds} rounds, CPU, one thread"
    share = f"of the processor's time is the floor at {SIDE} px: arithmetic at the rate of a product of matrices; {of}"
    found: Figures = {
        f"floor_share_{part}": (round(rows[f"{SIDE} px, {OURS}"]["floor_share"], 3), share),
        f"floor_share_{part}_diffusers": (round(rows[f"{SIDE} px, {DIFFUSERS}"]["floor_share"], 3), share),
    }
    if part == "toys":
        cost = f"times the processor's time, the toys; {of}"
        found |= {
            "cost_256_px": (ratio("256 px", "128 px"), f"{cost}, than 128 px"),
            "cost_batch_of_8": (ratio("8 pictures in a batch", "1 pictures in a batch"), f"{cost}, than one picture"),
            "cost_50_steps": (ratio("50 steps", "20 steps"), f"{cost}, than 20 steps"),
            "cost_3_objects": (ratio("3 objects", "1 objects"), f"{cost}, than one object"),
        }
    return found


def plot(rows: dict[str, Cost], path: Path) -> None:
    """Seconds by each knob, ours and diffusers', and the floor below them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, (knob, values) in zip(figure.subplots(1, len(KNOBS)), KNOBS.items(), strict=True):
        for name, style in ((OURS, "-o"), (DIFFUSERS, "--s")):
            seconds = [rows[f"{value} {knob}, {name}"]["processor_seconds"] for value in values]
            axes.plot(values, seconds, style, ms=4, label=name)
        floor = [rows[f"{value} {knob}, {OURS}"] for value in values]
        least = [row["floor_share"] * row["processor_seconds"] for row in floor]
        axes.plot(values, least, ":", color="gray", label="floor")
        axes.set_xlabel(knob)
        axes.set_xticks(values)
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("seconds")
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)


def on_gpu(device: str, dtype: torch.dtype, side: int, steps: int, rounds: int) -> Figures:
    """Our pipeline and diffusers' in turns on one device, at batch 1 and 8: the floor's share of the clock's time."""
    stock = true_pipeline().to(device, dtype)
    ours = GuidedPix2Pix(stock)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, TOKENS, WIDTH, generator=generator).to(device, dtype)
    found: Figures = {}
    for count, end in ((8, ""), (1, "_batch_1")):
        scenes = Scenes(batch(side, count).to(device))
        context, null = (one.expand(count, -1, -1) for one in tokens.split(1))
        theirs = diffusers_way(stock, scenes, context, null, steps, GENERAL)
        settings = dict(context=context, null=null, guidance=GENERAL, steps=steps, sampler="euler")
        rows = PRODUCT if device == "cpu" else GPU_PRODUCT
        ways = {
            OURS: lambda scenes=scenes, settings=settings: ours.sample(scenes(), **settings),
            DIFFUSERS: theirs.make,
            FLOOR: product(rows, device, dtype).make,
        }
        seconds = turns(ways, rounds)
        least = operations(theirs) / (2 * rows**3 / min(seconds[FLOOR]))
        unit = f"of the clock's time is the floor: {dtype}, {side} px, batch {count}"
        for name, whose in ((OURS, ""), (DIFFUSERS, "_diffusers")):
            found[f"floor_share_gpu{end}{whose}"] = (round(least / median(seconds[name]), 3), unit)
    return found


def turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds by the clock, after one run of each way that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, make in ways.items():
            began = time.perf_counter()
            make()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser("bench_costs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "gpu"], default=[*PARTS, "gpu"])
    parser.add_argument("--gpu-on-cpu", type=int, metavar="PX", help="try the part for a GPU on a CPU; no figures")
    parser.add_argument("--dry", action="store_true", help="leave docs alone")
    options = parser.parse_args()
    host = find_host()
    if not host:
        parser.error("no ComfyUI yet: run this through `python dev.py bench`, or set COMFYUI_PATH")
    if options.gpu_on_cpu:
        print(on_gpu("cpu", torch.float32, options.gpu_on_cpu, 1, 1))
        return 0
    folder = ROOT / "output" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    found: Figures = {}
    if "gpu" in options.only:
        found["floor_share_gpu"] = (None, "not measured: there was no GPU")
        if torch.cuda.is_available():
            found |= on_gpu("cuda", torch.bfloat16, GPU_SIDE, STEPS, options.rounds)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as base:
        comfy = InProcess(host, Path(base))
        import_module("comfy.utils").set_progress_bar_enabled(False)
        for part in [part for part in PARTS if part in options.only]:
            rows = costs(PARTS[part](comfy), options.rounds)
            print(table(rows))
            found |= figures_of(part, rows, options.rounds)
            (folder / f"costs_{part}.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
            if part == "toys":
                plot(rows, folder / "costs.png" if options.dry else ROOT / "docs" / "images" / "costs.png")
    print(found)
    if not options.dry:
        command = f"python dev.py bench costs --rounds={options.rounds} --only {' '.join(options.only)}"
        print(record("speed", found, command))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
