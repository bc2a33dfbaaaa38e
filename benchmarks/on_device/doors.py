"""The stand-alone pipelines and commands on this machine's device, in each precision, against the CPU in float32."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...devtools.environment import ROOT
from ...pipelines.__main__ import main as command
from ...pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from ...pipelines.pictures.masks import box_mask
from ...pipelines.pictures.opening import open_picture
from ...pipelines.pictures.sheets import tile
from ...pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from .findings import Findings, best_device

MODELS = ROOT / "playroom_models"
SAMPLES = MODELS / "samples"
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BOX = (40, 60, 100, 120)
LARGE = 1536  # px, of a scene that an object is put into a region of
STEPS = 20
FEW = 2  # steps where there is no GPU
Make = Callable[[Any], torch.Tensor]


def scene_and_object() -> tuple[Image.Image, Image.Image]:
    scene = open_picture(SAMPLES / "scene.png").convert("RGB")
    return scene.resize((128, 128)), open_picture(SAMPLES / "object.png").convert("RGB")


def insertions(steps: int) -> dict[str, Make]:
    """What is made with the insertion pipeline, by name; none draws noise in its steps, but the one that says so."""
    scene, thing = scene_and_object()
    mask = box_mask(BOX, 128, 128).float()
    return {
        "euler": lambda pipeline: pipeline(scene, thing, steps=steps, sampler="euler").images,
        "ddim": lambda pipeline: pipeline(scene, thing, steps=steps, sampler="ddim").images,
        "dpmpp_2m": lambda pipeline: pipeline(scene, thing, steps=steps, sampler="dpmpp_2m").images,
        "masked": lambda pipeline: pipeline(scene, thing, steps=steps, sampler="euler", mask=mask).images,
        "denoise": lambda pipeline: pipeline(scene, thing, steps=steps, sampler="euler", denoise=0.7).images,
        "relevance": lambda pipeline: grey(pipeline(scene, thing, steps=steps, sampler="euler").relevance),
        "ancestral_drawn_on_the_device": lambda pipeline: (
            pipeline(scene, thing, steps=steps, sampler="euler_ancestral").images
        ),
    }


def grey(masks: torch.Tensor) -> torch.Tensor:
    """Masks [B,H,W] as pictures."""
    return masks[..., None].expand(-1, -1, -1, 3)


def paintings(steps: int) -> dict[str, Make]:
    scene, thing = scene_and_object()
    mask = box_mask(BOX, 128, 128).float()
    return {
        sampler: lambda pipeline, sampler=sampler: pipeline(scene, mask, thing, sampler=sampler, steps=steps).images
        for sampler in ("plms", "ddim", "euler")
    }


def array(images: torch.Tensor) -> np.ndarray:
    return (images[0].float().cpu().clamp(0, 1) * 255).round().byte().numpy()


def compare(findings: Findings, door: str, load: Callable[..., Any], makes: dict[str, Make]) -> None:
    """The pictures of a pipeline in every precision beside those of the CPU."""
    device = best_device()
    references: dict[str, np.ndarray] = {}
    with findings.attempt(f"{door}_cpu"):
        findings.check_time()
        pipeline = load(device="cpu", dtype=torch.float32)
        references = {name: array(make(pipeline)) for name, make in makes.items()}
    cells = list(references.values())
    for precision, dtype in PRECISIONS.items() if device != "cpu" else (("fp32", torch.float32),):
        with findings.attempt(f"{door}_{precision}_load"):
            findings.check_time()
            pipeline = load(device=device, dtype=dtype)
            for name, make in makes.items():
                with findings.attempt(f"{door}_{precision}_{name}"):
                    findings.check_time()
                    picture = array(make(pipeline))
                    cells.append(picture)
                    findings.compared(f"{door}_{precision}_{name}", picture, references[name])
            with findings.attempt(f"{door}_{precision}_seconds"):
                findings.check_time()
                started = time.monotonic()
                next(iter(makes.values()))(pipeline)
                findings.figure(f"{door}_{precision}_seconds", time.monotonic() - started, "s, a second picture")
    with findings.attempt(f"{door}_sheet"):
        pictures = [Image.fromarray(cell) for cell in cells]
        findings.picture(door, tile(pictures, columns=len(makes), gap=2))


def commands(findings: Findings, steps: int) -> None:
    """The commands as a person calls them, on the device they choose themselves and on the CPU."""
    folder = findings.folder / "commands"
    folder.mkdir(exist_ok=True)
    scene, thing = scene_and_object()
    large = folder / "large.png"
    small = folder / "small.png"
    thing.save(folder / "object.png")
    scene.save(small)
    scene.resize((LARGE, LARGE)).save(large)
    given = ["--object", folder / "object.png"]
    box = ["--box", *(str(round(part * LARGE)) for part in (0.4, 0.45, 0.2, 0.2))]
    few = ["--steps", str(steps)]
    lines: dict[str, list[Any]] = {
        "insert": ["insert", "--scene", small, *given, "--sampler", "euler", *few],
        "insert_in_a_box": [
            "insert",
            "--scene",
            large,
            *given,
            *box,
            "--working-size",
            "128",
            "--sampler",
            "euler",
            *few,
        ],
        "paint": ["paint", "--scene", large, *given, *box, "--working-size", "128", "--sampler", "ddim", *few],
    }
    for name, line in lines.items():
        made = {}
        for where, option in (("cpu", ["--device", "cpu"]), ("own", [])):
            with findings.attempt(f"command_{name}_{where}"):
                findings.check_time()
                output = folder / f"{name}_{where}.png"
                started = time.monotonic()
                code = command([str(part) for part in [*line, *option, "--output", output]])
                if code:
                    raise RuntimeError(f"{name} ended with {code}")
                findings.figure(f"command_{name}_{where}_seconds", time.monotonic() - started, "s, loading included")
                made[where] = np.asarray(Image.open(output).convert("RGB"))
        if len(made) == 2:
            findings.compared(f"command_{name}", made["own"], made["cpu"])
            findings.picture(f"command_{name}", tile([Image.fromarray(one) for one in made.values()], columns=2))


def functions(findings: Findings) -> None:
    """The rooms without a model, on tensors of the device: their own test, which takes any."""
    with findings.attempt("functions"):
        findings.check_time()
        device = best_device()
        environment = dict(os.environ)
        if device != "cpu":
            environment["VISUAL_INSERTION_TEST_DEVICE"] = device
        test = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests" / "test_other_device.py")]
        seconds = max(20.0, findings.left())
        ended = subprocess.run(
            test, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        findings.fact("functions", ended.stdout[-4000:])
        if ended.returncode:
            raise RuntimeError(ended.stdout[-5000:])


def measure(findings: Findings) -> None:
    steps = FEW if best_device() == "cpu" else STEPS
    findings.fact("steps", steps)
    painting = MODELS / "paint_by_example"

    def inserter(**options: Any) -> VisualInsertionPipeline:
        return VisualInsertionPipeline.from_folder(MODELS, **options)

    def painter(**options: Any) -> PaintByExamplePipeline:
        return PaintByExamplePipeline.from_folder(painting, **options)

    compare(findings, "insert", inserter, insertions(steps))
    compare(findings, "paint", painter, paintings(steps))
    commands(findings, steps)
    functions(findings)
