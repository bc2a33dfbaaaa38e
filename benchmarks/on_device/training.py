"""The toy recipes of `train` on this machine's device: both precisions, killed and gone on, loaded on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from ...devtools.environment import ROOT
from ...pipelines.__main__ import main
from ...pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from .doors import MODELS, array, scene_and_object
from .findings import Findings, best_device

STEPS = 300
ON_A_CPU = 12
FEW = 20  # steps of a run that is taken off, for what a run takes beside its steps
BATCH = 16


def training(folder: Path, data: Path, *, steps: int, recipe: str = "playroom", **changes: str) -> list[str]:
    """The arguments of a short run."""
    given = {
        "folder": str(folder),
        "models.base": str(MODELS),
        "data.train": str(data / "train"),
        "data.validation": str(data / "validation"),
        "run.device": "cuda" if best_device() == "cuda" else "cpu",
        "run.steps": str(steps),
        "run.validate_every": "0",
        "run.save_every": "1",
        **changes,
    }
    return ["train", recipe, "--set", *(f"{name}={value}" for name, value in given.items())]


def run(arguments: list[str]) -> float:
    """Seconds that a command took in this process. Raises RuntimeError when it fails."""
    started = time.monotonic()
    code = main(arguments)
    if code:
        raise RuntimeError(f"{' '.join(arguments[:2])} ended with {code}; its sentence is in the log.")
    return time.monotonic() - started


def killed(arguments: list[str], folder: Path, seconds: float) -> bool:
    """Start a run in a process of its own and kill it once it has saved something; whether it was still at work."""
    line = [sys.executable, str(ROOT / "devtools" / "pack.py"), "pipelines", *arguments]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < ends and not list(folder.glob("**/state.pt")):
        time.sleep(0.05)
    alive = process.poll() is None
    process.kill()
    process.wait(30)
    return alive


def trained(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of the final files of a run."""
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= {f"{file.name}/{name}": tensor for name, tensor in load_file(file).items()}
    if not weights:
        raise FileNotFoundError(f"There are no weights in {folder}: {sorted(os.listdir(folder))}")
    return weights


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of weights, as a share of the largest weight."""
    largest = max(float(tensor.float().abs().max()) for tensor in one.values())
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one) / largest


def measure(findings: Findings) -> None:
    gpu = best_device() == "cuda"
    steps = STEPS if gpu else ON_A_CPU
    if not gpu:
        findings.fact("note", "there is no CUDA device: training below computes on the CPU")
    with tempfile.TemporaryDirectory(prefix="visual-insertion-") as folder:
        _runs(findings, Path(folder), steps)


def _runs(findings: Findings, folder: Path, steps: int) -> None:
    triplets, boxes = folder / "triplets", folder / "boxes"
    with findings.attempt("data"):
        counts = ["--count", "48", "--validation", "2"]
        run(["toy-triplets", str(triplets), *counts])
        run(["toy-triplets", str(boxes), "--boxes", *counts])
    for precision in ("bf16", "fp32"):
        with findings.attempt(precision):
            findings.check_time()
            long, short = folder / precision, folder / f"{precision}_short"
            few = run(training(short, triplets, steps=min(FEW, steps // 2), **{"run.precision": precision}))
            whole = run(training(long, triplets, steps=steps, **{"run.precision": precision}))
            rate = BATCH * (steps - min(FEW, steps // 2)) / max(whole - few, 1e-3)
            findings.figure(f"{precision}_seconds", whole, f"s, {steps} steps of {BATCH}, start included")
            findings.figure(f"{precision}_triplets_per_second", rate, f"triplets a second, {BATCH} a step")
            weights = trained(long)
            finite = all(torch.isfinite(tensor.float()).all() for tensor in weights.values())
            findings.figure(f"{precision}_finite", float(finite), "1 if every weight is")
    with findings.attempt("again"):
        findings.check_time()
        run(training(folder / "again", triplets, steps=steps, **{"run.precision": "fp32"}))
        same = apart(trained(folder / "fp32"), trained(folder / "again"))
        findings.figure("again_apart", same, "of the largest weight: the same run twice, fp32")
    with findings.attempt("resumed"):
        findings.check_time()
        line = training(folder / "resumed", triplets, steps=steps, **{"run.precision": "fp32"})
        alive = killed(line, folder / "resumed", 40)
        findings.figure("killed_at_work", float(alive), "1 if the run was ended while it was training")
        run(line)
        resumed = apart(trained(folder / "fp32"), trained(folder / "resumed"))
        findings.figure("resumed_apart", resumed, "of the largest weight: killed and gone on, fp32")
    with findings.attempt("on_a_cpu"):
        findings.check_time()
        optimizer = folder / "bf16" / "embedding_optimizer.safetensors"
        pipeline = VisualInsertionPipeline.from_folder(MODELS, embedding_optimizer=optimizer, device="cpu")
        picture = array(pipeline(*scene_and_object(), steps=4, sampler="euler").images)
        findings.figure("loaded_on_a_cpu_spread", float(picture.std()), "levels: 0 is a picture of one colour")
    with findings.attempt("paint_by_example"):
        findings.check_time()
        line = training(folder / "paint", boxes, steps=steps, recipe="paint_by_example_playroom")
        findings.figure("paint_by_example_seconds", run(line), f"s, {steps} steps, start included")
