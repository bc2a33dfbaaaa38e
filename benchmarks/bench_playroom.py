"""How well the shipped playroom models insert, through the real host's nodes, judged by the playroom's oracle.

Writes its figures into docs/figures/it_runs.json and the pictures of the first cases beside the log.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..devtools.environment import find_host
from ..devtools.inprocess import InProcess
from ..pipelines.playroom.judging import oracle
from ..pipelines.playroom.judging.judge import load_judge
from ..pipelines.playroom.pictures import grid
from ..pipelines.playroom.world import dataset
from .figures import ROOT, record

MODELS = ROOT / "playroom_models"
WORKFLOW = ROOT / "example_workflows" / "api" / "insert_object.json"
BATCH = 32
UNITS = {
    "inserted_rate": "share of cases",
    "colour_distance": "RGB distance, 0..255",
    "colour_ratio": "distance to the right object / to a shuffled one",
    "shape_accuracy": "share of inserted",
    "pattern_accuracy": "share of inserted",
    "supported_rate": "share of inserted",
    "background_psnr_db": "dB to the scene, outside the effect",
    "background_psnr_share_of_vae": "share of the VAE round trip's dB there",
}


def shipped_settings() -> dict[str, dict]:
    """Inputs of the sampler and the guidance node in the shipped basic workflow."""
    graph = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    wanted = {"ImageConditionedPix2PixSampler": "sampler", "GuidanceControl": "guidance"}
    return {
        wanted[node["class_type"]]: {k: v for k, v in node["inputs"].items() if not isinstance(v, list)}
        for node in graph.values()
        if node["class_type"] in wanted
    }


class Inserter:
    """The nodes of the basic workflow on whole batches."""

    def __init__(self, node: InProcess, settings: dict[str, dict]):
        self.node = node
        self.model, self.vae, self.clip_vision, self.optimizer = self.node("PlayroomModels")
        self.settings = settings

    def __call__(self, scenes: np.ndarray, objects: np.ndarray, seed: int) -> np.ndarray:
        """uint8 scenes [B,H,W,3], one object [B,h,w,3] each -> uint8 results."""
        scene = torch.from_numpy(scenes).float() / 255
        (seen,) = self.node(
            "ObjectImageEncode", clip_vision=self.clip_vision, image=torch.from_numpy(objects).float() / 255
        )
        positive, negative = self.node(
            "EmbeddingOptimizer", embedding_optimizer=self.optimizer, clip_vision_output=seen, views="separate"
        )
        (guidance,) = self.node("GuidanceControl", **self.settings["guidance"])
        common = dict(model=self.model, vae=self.vae, scene=scene, positive=positive, negative=negative)
        sampler = {**self.settings["sampler"], "seed": seed}
        (latent,) = self.node("ImageConditionedPix2PixSampler", **common, guidance=guidance, **sampler)
        return self._decode(latent, scene)

    def _decode(self, latent, scene) -> np.ndarray:
        (image,) = self.node("SceneDecode", latent=latent, vae=self.vae, scene=scene)
        return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()

    def round_trip(self, scenes: np.ndarray) -> np.ndarray:
        """What the VAE alone does to the scenes."""
        scene = torch.from_numpy(scenes).float() / 255
        with torch.inference_mode():
            return self._decode({"samples": self.vae.encode(scene)}, scene)


def boot() -> InProcess:
    """The real host in this process."""
    home = find_host()
    assert home, "no ComfyUI: run `python dev.py demo` once, or set COMFYUI_PATH"
    return InProcess(home, Path(tempfile.mkdtemp(prefix="visual-insertion-")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    for name in ("object_scale", "scene_scale", "object_end", "object_rescale"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float)
    for name in ("steps", "sampler_name", "scheduler"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int if name == "steps" else str)
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    options = parser.parse_args()
    settings = shipped_settings()
    for group, names in (
        ("guidance", ("object_scale", "scene_scale", "object_end", "object_rescale")),
        ("sampler", ("steps", "sampler_name", "scheduler")),
    ):
        settings[group] |= {name: getattr(options, name) for name in names if getattr(options, name) is not None}

    seeds = dataset.TEST_SEEDS if options.split == "test" else dataset.VALIDATION_SEEDS
    truth = dataset.render_arrays(seeds[: options.cases], views=1)
    judge = load_judge(MODELS / "judge.safetensors")
    insert = Inserter(boot(), settings)
    restored = np.concatenate(
        [insert.round_trip(truth["scene"][i : i + BATCH]) for i in range(0, options.cases, BATCH)]
    )
    tables, sheet = [], None
    for seed in range(options.seeds):
        batches = range(0, options.cases, BATCH)
        results = np.concatenate(
            [
                insert(truth["scene"][i : i + BATCH], truth["objects"][i : i + BATCH, 0], seed * 1000 + i)
                for i in tqdm(batches, desc=f"seed {seed}", leave=False)
            ]
        )
        tables.append(oracle.score(results, restored, truth, judge))
        sheet = sheet or grid([truth["scene"][:36], truth["objects"][:36, 0], results[:36]], across=4)
    figures = oracle.summary({name: np.concatenate([t[name] for t in tables]) for name in tables[0]})
    for name, value in figures.items():
        print(f"{name:32}{value:.4f}  {UNITS[name]}")
    output = ROOT / "output" / "bench"
    output.mkdir(parents=True, exist_ok=True)
    sheet.save(output / "playroom.png")
    if not options.dry:
        print(
            record("it_runs", {k: (round(v, 4), UNITS[k]) for k, v in figures.items()}, "python dev.py bench playroom")
        )


if __name__ == "__main__":
    main()
