"""The other figures of docs/figures/it_runs.json: equality of the doors, the demo's and the suite's seconds, megabytes.

`--only NAME ...` measures some of them. The suite and the demo run as a person would run them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from ..pipelines.playroom.world import dataset
from ..pipelines.playroom.world.triplets import make_triplet
from ..pipelines.sampling.guidance import Guidance
from ..pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from .bench_playroom import boot
from .figures import ROOT, record

MODELS = ROOT / "playroom_models"
STEPS = 20
CORE_SETTINGS = ((7.5, 1.5, "euler", "normal"), (3.0, 1.2, "dpmpp_2m", "karras"), (2.0, 1.0, "ddim", "ddim_uniform"))


class Doors:
    """One case through our nodes, the host's own graph and the stand-alone pipeline, float32 on the CPU."""

    def __init__(self):
        self.node = boot()
        triplet = make_triplet(dataset.TEST_SEEDS.start)
        self.scene = torch.from_numpy(triplet.scene)[None].float() / 255
        self.object = torch.from_numpy(triplet.objects[:1]).float() / 255
        self.model, self.vae, clip_vision, optimizer = self.node("PlayroomModels")
        (encoded,) = self.node("ObjectImageEncode", clip_vision=clip_vision, image=self.object)
        self.positive, self.negative = self.node(
            "EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=encoded
        )

    def ours(self, object_scale: float, scene_scale: float, sampler: str, scheduler: str) -> torch.Tensor:
        (guidance,) = self.node("GuidanceControl", object_scale=object_scale, scene_scale=scene_scale)
        inputs = dict(model=self.model, vae=self.vae, scene=self.scene, guidance=guidance)
        inputs |= dict(positive=self.positive, negative=self.negative, denoise=1.0)
        inputs |= dict(seed=3, steps=STEPS, sampler_name=sampler, scheduler=scheduler)
        return self.node("ImageConditionedPix2PixSampler", **inputs)[0]["samples"]

    def core(self, object_scale: float, scene_scale: float, sampler: str, scheduler: str) -> torch.Tensor:
        inputs = dict(positive=self.positive, negative=self.negative, vae=self.vae, pixels=self.scene)
        full, middle, latent = self.node("InstructPixToPixConditioning", **inputs)
        inputs = dict(model=self.model, cond1=full, cond2=middle, negative=self.negative, style="regular")
        scales = dict(cfg_conds=object_scale, cfg_cond2_negative=scene_scale)
        (guider,) = self.node("DualCFGGuider", **inputs, **scales)
        (sigmas,) = self.node("BasicScheduler", model=self.model, scheduler=scheduler, steps=STEPS, denoise=1.0)
        (noise,) = self.node("RandomNoise", noise_seed=3)
        (select,) = self.node("KSamplerSelect", sampler_name=sampler)
        inputs = dict(noise=noise, guider=guider, sampler=select, sigmas=sigmas, latent_image=latent)
        return self.node("SamplerCustomAdvanced", **inputs)[0]["samples"]


def equality() -> dict[str, tuple[float, str]]:
    doors = Doors()
    differences = [doors.ours(*settings) - doors.core(*settings) for settings in CORE_SETTINGS]
    alone = VisualInsertionPipeline.from_folder(MODELS)
    relative = []
    for scales in ((7.5, 1.5), (3.0, 1.2), (2.0, 1.0)):
        nodes = doors.ours(*scales, "euler", "normal")
        result = alone(doors.scene, doors.object, guidance=Guidance(*scales), sampler="euler", steps=STEPS, seed=3)
        relative.append(float((result.latents - nodes).norm() / nodes.norm()))
    return {
        "sampler_vs_core_max_abs": (
            max(float(one.abs().max()) for one in differences),
            "latent, largest of three settings",
        ),
        "nodes_vs_pipeline_rel": (max(relative), "relative norm, largest of three settings"),
    }


def _dev(*arguments: str) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, str(ROOT / "dev.py"), *arguments], cwd=ROOT, check=True)
    return time.monotonic() - started


def demo() -> dict[str, tuple[float, str]]:
    _dev("demo")  # warms the file cache
    seconds = [_dev("demo") for _ in range(3)]
    report = json.loads((ROOT / "output" / "demo" / "report.json").read_text(encoding="utf-8"))
    print("stages of the last run:", report.get("seconds"))
    return {"demo_warm_seconds": (round(statistics.median(seconds), 1), "s, median of 3, command to exit")}


def suite() -> dict[str, tuple[float, str]]:
    return {"test_suite_seconds": (round(_dev("test")), "s, the whole of `python dev.py test`, set up before")}


def size() -> dict[str, tuple[float, str]]:
    total = sum(path.stat().st_size for path in MODELS.rglob("*.safetensors"))
    return {"models_mb": (round(total / 1e6, 2), "MB, all safetensors in playroom_models")}


PARTS: dict[str, Callable[[], dict[str, tuple[float, str]]]] = {
    "equality": equality,
    "demo": demo,
    "suite": suite,
    "size": size,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    for name in parser.parse_args().only:
        values = PARTS[name]()
        for figure, (value, unit) in values.items():
            print(f"{figure:32}{value:g}  {unit}")
        record("it_runs", values, f"python dev.py bench it_runs --only {name}")


if __name__ == "__main__":
    main()
