"""What each speed loses in painting: Paint by Example's playroom model against its exact run, judged by the oracle.

Test triplets, their true box as the hole, several seeds; `inside` is whether the object lies in its hole. What is
finished is kept in output/bench, so a call that was stopped goes on; `--fresh` begins anew.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from ..pipelines.playroom.judging.judge import load_judge
from ..pipelines.playroom.models import ShippedNetworks
from ..pipelines.playroom.paint_by_example.painting import GUIDANCE, PaintingCases
from ..pipelines.playroom.pictures import grid, restored_pictures
from ..pipelines.playroom.world import dataset
from ..pipelines.sampling.speed import SPEEDS
from ..pipelines.whole_files import write_text
from .bench_ablation import remembered
from .bench_paint_by_example import MODELS, score
from .bench_speed_quality import SHOWN, Scores, asked, contrast, kept, lost, told
from .figures import ROOT, record

FOLDER = ROOT / "output" / "bench" / "speed_of_painting"
FACTS = MODELS / "paint_by_example" / "facts.json"
BATCH = 16
COLUMNS = {"identity": (100, "points"), "inside": (100, "points"), "background": (1, "dB")}


class Painting:
    """The cases, the pipeline that paints them, and how pictures are scored."""

    def __init__(self, count: int):
        shipped = ShippedNetworks.load(MODELS)
        self.judge = load_judge(MODELS / "judge.safetensors")
        self.truth = dataset.render_arrays(dataset.TEST_SEEDS[:count], views=1)
        self.cases = PaintingCases.of(self.truth, shipped)
        self.restored = restored_pictures(shipped.vae, self.truth["scene"])
        self.pipeline = PaintByExamplePipeline.from_folder(MODELS / "paint_by_example")
        self.count = count

    def painted(self, speed: str, seed: int) -> np.ndarray:
        """Pictures uint8 [N,H,W,3]."""
        made = []
        for start in range(0, self.count, BATCH):
            part = slice(start, min(start + BATCH, self.count))
            scenes = torch.from_numpy(self.cases.scene[part]).float() / 255
            shown: Any = [Image.fromarray(exemplar) for exemplar in self.cases.exemplar[part]]
            contexts = self.pipeline.contexts(shown, views="separate")
            settings: Any = dict(similarity=GUIDANCE, seed=1000 * seed + start, speed=speed)
            result = self.pipeline(scenes, self.cases.hole[part].float(), contexts=contexts, **settings)
            made.append((result.images * 255).round().byte().numpy())
        return np.concatenate(made)

    def measure(self, speed: str, seed: int, folder: Path) -> Scores:
        """The scores of all cases; the first pictures stay in the folder."""
        pictures = self.painted(speed, seed)
        if not seed:
            np.save(folder / f"{speed}.npy", pictures[:SHOWN])
        print(f"{speed}, seed {seed}", flush=True)
        table = score(pictures, self.restored, self.truth, holes=self.cases.hole.numpy(), judge=self.judge)
        table["background"] = table["outside"]
        inside = [contrast(picture, scene) for picture, scene in zip(pictures, self.restored, strict=True)]
        table["texture"], table["colours"] = np.array(inside).T
        return table


def main() -> None:
    options, folder = asked(__doc__, FOLDER)
    torch.set_num_threads(1)
    painting = Painting(options.cases)
    tables: dict[str, list[Scores]] = {speed: [] for speed in SPEEDS}
    for seed in range(options.seeds):
        for speed, own in tables.items():
            path = folder / f"{speed}_{seed}.npz"
            own.append(remembered(path, partial(painting.measure, speed, seed, folder)))
    exact = tables.pop(SPEEDS[0])
    n = f"{options.cases} cases x {options.seeds} seeds"
    figures: dict[str, tuple[float, str]] = {}
    losses: dict[str, str] = {}
    for speed, own in tables.items():
        for column, (scale, unit) in COLUMNS.items():
            interval = lost(own, exact, column)
            ends = [scale * (end or 0) for end in (interval.low, interval.high)]
            unit = f"{unit} below exact, mean of {n}; 95 % over cases: {ends[0]:.2f} to {ends[1]:.2f}"
            figures[f"painting_{speed}_{column}_drop"] = (round(scale * interval.value, 3), unit)
        ratio = min(kept(own, exact, column) for column in ("texture", "colours"))
        unit = "of exact inside the object, the lesser of texture and spread of colours, medians"
        figures[f"painting_{speed}_contrast_ratio"] = (round(ratio, 3), unit)
        losses[speed] = told(own, exact, n)
    for name, (value, unit) in figures.items():
        print(f"{name}: {value} {unit}")
    rows = [np.load(folder / f"{speed}.npy") for speed in SPEEDS]
    shown = [painting.cases.scene[:SHOWN], painting.cases.exemplar[:SHOWN], *rows]
    grid(shown, across=1).save(folder / "sheet.png")
    if not options.dry:
        print(record("speed", figures, f"python dev.py bench speed_of_painting --cases {options.cases}"))
    if options.note:  # after the record, which names a commit without changes
        facts = json.loads(FACTS.read_text(encoding="utf-8"))
        for speed, loss in losses.items():
            facts["speed"][speed]["loss"] = loss
        write_text(FACTS, json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
