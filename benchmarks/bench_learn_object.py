"""Learning an object from a few pictures against showing it, on held-out toys of the playroom.

Each toy is pictured in four rooms, with its box, and then painted into rooms where it never stood. Arms: one picture
(plain), four averaged or side by side (nothing is learned), and what `visual-insertion learn` trains. What was done is
kept in --output and not done again. Figures go to docs/figures/learn_object.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..pipelines.encoders.views import join_views, null_beside
from ..pipelines.object_representation import learned_object
from ..pipelines.object_representation.learned_object import LearnedObject
from ..pipelines.object_representation.training.examples import LearningModel, view_tokens
from ..pipelines.object_representation.training.learn import LearningSettings, learn
from ..pipelines.object_representation.training.of_pipeline import learning_model
from ..pipelines.object_representation.training.views import View
from ..pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from ..pipelines.paint_by_example.training.exemplar_task import preview
from ..pipelines.playroom.judging.judge import load_judge
from ..pipelines.playroom.models import ShippedNetworks, noise_schedule
from ..pipelines.playroom.paint_by_example.encoded_exemplars import enclosing_box
from ..pipelines.playroom.paint_by_example.painting import GUIDANCE, PaintingCases, sheet
from ..pipelines.playroom.pictures import decode_latents, restored_pictures, to_pictures
from ..pipelines.playroom.world import dataset
from ..pipelines.playroom.world.toys import Toy, random_toy
from ..pipelines.whole_files import write_text
from .bench_paint_by_example import score
from .figures import ROOT, record

COMMAND = "python dev.py bench learn_object"
MODELS = ROOT / "playroom_models"
VIEWS = 4
TOYS = dataset.HELD_OUT_SEED + 5000  # seeds of the toys, of the rooms they are pictured in, and of those to paint into
PICTURED = dataset.HELD_OUT_SEED + 10_000
PAINTED = dataset.HELD_OUT_SEED + 20_000
Tables = dict[str, dict[str, list[float]]]  # by arm and column
SHOWN = {"plain": "separate", "average": "average", "concatenate": "concatenate"}
LEARNED: dict[str, LearningSettings] = {
    "tokens": LearningSettings("tokens"),
    "low-rank": LearningSettings("low-rank"),
    "low-rank + tokens": LearningSettings("low-rank", own_tokens=True),
    "kv": LearningSettings("kv"),
    "attn2": LearningSettings("attn2"),
}


@dataclass(frozen=True)
class Workshop:
    """The networks, and what judges."""

    shipped: ShippedNetworks
    model: LearningModel
    judge: Any

    @classmethod
    def load(cls) -> Workshop:
        pipeline = PaintByExamplePipeline.from_folder(MODELS / "paint_by_example")
        return cls(ShippedNetworks.load(MODELS), learning_model(pipeline), load_judge(MODELS / "judge.safetensors"))

    @torch.no_grad()
    def paint(self, cases: PaintingCases, context: Tensor, null: Tensor, seed: int) -> np.ndarray:
        """uint8 pictures [N,H,W,3] of one object, its contexts [1,T,D], in all cases."""
        latents = preview(
            self.model.unet,
            context.expand(len(cases), -1, -1),
            null,
            cases.masked,
            cases.cells,
            noise_schedule(),
            scale=GUIDANCE,
            seed=seed,
        )
        return to_pictures(decode_latents(self.shipped.vae, latents))


@dataclass(frozen=True)
class ToyCase:
    """A toy, its pictures, and the rooms to paint it into."""

    toy: Toy
    views: list[View]
    truth: dataset.Arrays
    cases: PaintingCases
    restored: np.ndarray

    @classmethod
    def of(cls, index: int, scenes: int, shipped: ShippedNetworks) -> ToyCase:
        toy = random_toy(np.random.default_rng(TOYS + index))
        pictured = dataset.render_arrays(range(PICTURED + 10 * index, PICTURED + 10 * index + VIEWS), 1, toy)
        views = [
            View(torch.from_numpy(picture).movedim(-1, 0), enclosing_box(box))
            for picture, box in zip(pictured["target"], pictured["box"], strict=True)
        ]
        truth = dataset.render_arrays(range(PAINTED + 100 * index, PAINTED + 100 * index + scenes), 1, toy)
        return cls(toy, views, truth, PaintingCases.of(truth, shipped), restored_pictures(shipped.vae, truth["scene"]))


def rows(workshop: Workshop, case: ToyCase, pictures: np.ndarray) -> dict[str, list[float]]:
    """What the oracle says of painted pictures."""
    table = score(pictures, case.restored, case.truth, holes=case.cases.hole.numpy(), judge=workshop.judge)
    names = ("identity", "shape", "pattern", "colour", "inside")
    return {name: np.nan_to_num(table[name].astype(float), nan=-1).tolist() for name in names}


def contexts(workshop: Workshop, case: ToyCase, arm: str, learned: LearnedObject | None) -> tuple[Tensor, Tensor]:
    """(object, null) contexts of an arm."""
    null = workshop.model.null
    if learned is not None:
        return learned.contexts(null=null[0])
    tokens = view_tokens(workshop.model, case.views[:1] if arm == "plain" else case.views)[:, None]
    context = join_views(tokens, SHOWN[arm])
    return context, null_beside(context, null[0])


def learn_once(workshop: Workshop, case: ToyCase, settings: LearningSettings, path: Path) -> dict[str, float]:
    """Learn into a file that is not there yet; returns how long that took."""
    told = path.with_suffix(".json")
    if not path.is_file() or not told.is_file():
        learning = learn(workshop.model, case.views, settings)
        learned_object.save(learning.learned, path)
        write_text(told, json.dumps({"seconds": learning.seconds, "looks": learning.looks}) + "\n")
    return json.loads(told.read_text(encoding="utf-8"))


def measure(workshop: Workshop, options: argparse.Namespace) -> Tables:
    """Rows by arm, of all toys, scenes and seeds."""
    tables: Tables = {}
    for index in tqdm(range(options.toys), desc="toys"):
        case = ToyCase.of(index, options.scenes, workshop.shipped)
        for arm in options.arms:
            for seed in range(options.seeds):
                name = f"{arm.replace(' ', '')}-{index:02}-{options.scenes}-{seed}"
                path = options.output / f"{name}.rows.json"
                learned = None
                seconds = 0.0
                if arm in LEARNED:
                    settings = LearningSettings(**{**asdict(LEARNED[arm]), **options.change, "seed": seed})
                    file = options.output / f"{arm.replace(' ', '')}-{index:02}-{seed}.safetensors"
                    seconds = learn_once(workshop, case, settings, file)["seconds"]
                    learned = learned_object.load(file)
                if not path.is_file():
                    context, null = contexts(workshop, case, arm, learned)
                    pictures = _painted(workshop, case.cases, learned, context, null, seed)
                    own = rows(workshop, case, pictures) | {"seconds": [seconds] * len(pictures)}
                    own["toy"] = [index] * len(pictures)
                    if learned is not None and learned.patch:
                        own["other"] = _others(workshop, index, options.scenes, learned, seed)
                    write_text(path, json.dumps(own) + "\n")
                    if index == 0 and seed == 0:
                        sheet(case.cases, pictures).save(options.output / f"{name}.png")
                for column, values in json.loads(path.read_text(encoding="utf-8")).items():
                    tables.setdefault(arm, {}).setdefault(column, []).extend(values)
        show(tables)
    return tables


def _painted(workshop, cases, learned, context, null, seed) -> np.ndarray:
    if learned is None or not learned.patch:
        return workshop.paint(cases, context, null, seed)
    with learned.changes(workshop.model.layers).attached(workshop.model.layers):
        return workshop.paint(cases, context, null, seed)


def _others(workshop: Workshop, index: int, scenes: int, learned: LearnedObject, seed: int) -> list[float]:
    """By how much another toy's identity, shown in one picture, changes under the patch of this one."""
    case = ToyCase.of(index + 1000, min(scenes, 4), workshop.shipped)
    context, null = contexts(workshop, case, "plain", None)
    before = rows(workshop, case, workshop.paint(case.cases, context, null, seed))["identity"]
    after = rows(workshop, case, _painted(workshop, case.cases, learned, context, null, seed))["identity"]
    return [b - a for a, b in zip(before, after, strict=True)]


def reduction(plain: Sequence[float], arm: Sequence[float], toys: Sequence[float]) -> tuple[float, float, float]:
    """By what share identity errors fall, and the middle 95 % of that by redrawing toys (cases, of a single toy)."""
    errors = np.array([1 - np.array(plain), 1 - np.array(arm)])
    groups = np.unique(toys) if len(set(toys)) > 1 else np.arange(errors.shape[1])
    members = np.array(toys) if len(set(toys)) > 1 else groups
    sums = np.stack([errors[:, members == group].sum(1) for group in groups], 1)
    draws = np.random.default_rng(0).integers(len(groups), size=(2000, len(groups)))
    before, after = sums[:, draws].sum(-1)
    low, high = np.percentile(1 - after / before, (2.5, 97.5))
    whole = sums.sum(1)
    return float(1 - whole[1] / whole[0]), float(low), float(high)


def show(tables: Tables) -> None:
    """Print what is known so far: errors against the plain arm on the cases that both have."""
    lines = []
    for arm, table in tables.items():
        count = min(len(table["identity"]), len(tables.get("plain", table)["identity"]))
        plain = tables.get("plain", table)["identity"][:count]
        fell, low, high = reduction(plain, table["identity"][:count], table["toy"][:count])
        other = f" others {np.mean(table['other']):+.3f}" if "other" in table else ""
        known = f"identity {np.mean(table['identity']):.3f} error {-fell:+.0%} ({-high:+.0%} to {-low:+.0%})"
        lines.append(f"{arm:18} n {len(table['identity']):4} {known}{other} {np.mean(table['seconds']):4.0f} s")
    tqdm.write("\n".join(lines) + "\n")


def figures(tables: Tables, default: str) -> dict[str, tuple[float, str]]:
    """The figures of docs/figures/learn_object.json that these arms know."""
    values: dict[str, tuple[float, str]] = {}
    plain = tables["plain"]

    def told(name: str, arm: str) -> None:
        if arm in tables:
            table = tables[arm]
            fell, low, high = reduction(plain["identity"], table["identity"], table["toy"])
            unit = f"share of plain's identity error, {arm}, {len(set(table['toy']))} toys, n = {len(table['toy'])}"
            values[name] = (round(fell, 4), unit)
            values[f"{name}_low"] = (round(low, 4), f"lower end of its 95 % interval, {arm}")
            values[f"{name}_high"] = (round(high, 4), f"upper end of its 95 % interval, {arm}")

    told("views_error_reduction", "concatenate")
    told("error_reduction", default)
    for arm in tables:
        told(f"error_reduction_of_{arm.replace(' ', '').replace('-', '_').replace('+', '_and_')}", arm)
    if default in tables:
        values["seconds"] = (round(float(np.mean(tables[default]["seconds"])), 1), f"of learning, {default}")
    for arm in ("low-rank", "kv"):
        if "other" in tables.get(arm, {}):
            change = float(np.mean(tables[arm]["other"]))
            values["others_identity_change"] = (round(change, 4), f"of another toy under the patch, {arm}")
            break
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=24)
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=[*SHOWN, *LEARNED], choices=[*SHOWN, *LEARNED])
    parser.add_argument("--change", type=json.loads, default={}, help="settings of learning, as a JSON table")
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "bench" / "learn_object")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    tables = measure(Workshop.load(), options)
    if not options.dry:
        print(record("learn_object", figures(tables, LearningSettings().train), COMMAND))


if __name__ == "__main__":
    main()
