"""How well the shipped playroom models insert, through the real host's nodes, judged by the playroom's oracle.

Writes its figures into docs/figures/it_runs.json and the pictures of the first cases beside the log; prints beside them
what the true pictures score that went through the VAE alone.
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
from .figures import ROOT, joined, record

MODELS = ROOT / "playroom_models"
WORKFLOW = ROOT / "example_workflows" / "api" / "insert_object.json"
BATCH = 32
WIDGETS: dict[str, dict[str, type]] = {  # that an option may set instead of the workflow
    "guidance": {"object_scale": float, "scene_scale": float, "object_end": float, "object_rescale": float},
    "sampler": {"steps": int, "sampler_name": str, "scheduler": str},
}
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
    names = {"ImageConditionedPix2PixSampler": "sampler", "GuidanceControl": "guidance"}
    settings = {}
    for node in json.loads(WORKFLOW.read_text(encoding="utf-8")).values():
        if node["class_type"] in names:
            widgets = {name: value for name, value in node["inputs"].items() if not isinstance(value, list)}
            settings[names[node["class_type"]]] = widgets
    return settings


class Inserter:
    """The nodes of the basic workflow on whole batches."""

    def __init__(self, node: InProcess, settings: dict[str, dict]):
        self.node = node
        self.model, self.vae, self.clip_vision, self.optimizer = self.node("PlayroomModels")
        self.settings = settings

    def __call__(self, scenes: np.ndarray, objects: np.ndarray, seed: int) -> np.ndarray:
        """uint8 scenes [B,H,W,3], one object [B,h,w,3] each -> uint8 results."""
        scene = torch.from_numpy(scenes).float() / 255
        image = torch.from_numpy(objects).float() / 255
        (encoded,) = self.node("ObjectImageEncode", clip_vision=self.clip_vision, image=image)
        positive, negative = self.node(
            "EmbeddingOptimizer", embedding_optimizer=self.optimizer, clip_vision_output=encoded, views="separate"
        )
        (guidance,) = self.node("GuidanceControl", **self.settings["guidance"])
        common = dict(model=self.model, vae=self.vae, scene=scene, positive=positive, negative=negative)
        sampler = {**self.settings["sampler"], "seed": seed}
        latent, _ = self.node("ImageConditionedPix2PixSampler", **common, guidance=guidance, **sampler)
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
    for widgets in WIDGETS.values():
        for name, kind in widgets.items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind)
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    options = parser.parse_args()
    settings = shipped_settings()
    for node, widgets in WIDGETS.items():
        settings[node] |= {name: getattr(options, name) for name in widgets if getattr(options, name) is not None}

    seeds = dataset.TEST_SEEDS if options.split == "test" else dataset.VALIDATION_SEEDS
    truth = dataset.render_arrays(seeds[: options.cases], views=1)
    judge = load_judge(MODELS / "judge.safetensors")
    insert = Inserter(boot(), settings)
    output = ROOT / "output" / "bench"
    output.mkdir(parents=True, exist_ok=True)
    scenes = truth["scene"]
    objects = truth["objects"][:, 0]
    starts = range(0, options.cases, BATCH)
    restored = np.concatenate([insert.round_trip(scenes[start : start + BATCH]) for start in starts])
    targets = np.concatenate([insert.round_trip(truth["target"][start : start + BATCH]) for start in starts])
    tables = []
    for seed in range(options.seeds):
        batches = []
        for start in tqdm(starts, desc=f"seed {seed}", leave=False):
            part = slice(start, start + BATCH)
            batches.append(insert(scenes[part], objects[part], seed * 1000 + start))
        results = np.concatenate(batches)
        tables.append(oracle.score(results, restored, truth, judge))
        if not seed:
            grid([scenes[:36], objects[:36], results[:36]], across=4).save(output / "playroom.png")
    figures = oracle.summary(joined(tables))
    of_truth = oracle.summary(oracle.score(targets, restored, truth, judge))
    for name, value in figures.items():
        print(f"{name:32}{value:.4f}  true pictures {of_truth[name]:.4f}  {UNITS[name]}")
    if not options.dry:
        recorded = {name: (round(value, 4), UNITS[name]) for name, value in figures.items()}
        print(record("it_runs", recorded, "python dev.py bench playroom"))


if __name__ == "__main__":
    main()
