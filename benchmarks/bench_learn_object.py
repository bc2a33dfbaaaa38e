"""Learning an object from a few pictures against showing it, on held-out toys of the playroom.

With --model paint toys are painted under a mask (Paint by Example), with --model insert the flagship finds the place.
Arms: one picture (plain), four averaged or side by side (nothing is learned), and what `visual-insertion learn` trains;
all are trained for as many seconds of a CPU as --steps of low-rank take. What was done is kept in --output and not done
again: several processes may each do a --part, and a run over all of them writes docs/figures/learn_object.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..pipelines.object_representation import learned_object
from ..pipelines.object_representation.learned_object import LearnedObject
from ..pipelines.object_representation.training.learn import LearningSettings, learn
from ..pipelines.whole_files import write_text
from .figures import ROOT, record
from .learning_toys import COLUMNS, JOINED, WORKSHOPS, Rows, ToyCase, Workshop

TOLD = "python dev.py bench learn_object"
DEFAULT = LearningSettings().train
LEARNED: dict[str, LearningSettings] = {
    "tokens": LearningSettings("tokens"),
    "tokens for a third": LearningSettings("tokens"),
    "tokens for thrice": LearningSettings("tokens"),
    "low-rank": LearningSettings("low-rank"),
    "low-rank 2": LearningSettings("low-rank", rank=2),
    "low-rank 32": LearningSettings("low-rank", rank=32),
    "low-rank + tokens": LearningSettings("low-rank", own_tokens=True),
    "low-rank + others": LearningSettings("low-rank"),
    "kv": LearningSettings("kv"),
    "kv at rank 32": LearningSettings("kv"),
    "attn2": LearningSettings("attn2"),
}
TIMES = {"tokens for a third": 1 / 3, "tokens for thrice": 3.0}  # of the time that all others have
OTHERS = 8  # pictures of other toys, as regularisation
STRANGERS = 1000  # from here on are toys that no arm learns
TIMED = 6  # steps
BASE = "low-rank"  # the arm whose time the others get, and that is tried with a second object beside


def file_name(arm: str) -> str:
    """Of an arm."""
    return arm.replace(" ", "")


def equal_steps(workshop: Workshop, options: argparse.Namespace) -> dict[str, int]:
    """Steps of each arm that take as long on a CPU as those of BASE, measured once."""
    path = options.output / "steps.json"
    steps: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    missing = [arm for arm in options.arms if arm in LEARNED and arm not in steps]
    if missing:
        case = ToyCase.of(STRANGERS, 1, workshop.shipped)
        base = seconds_of_steps(workshop, case, BASE)
        for arm in missing:
            ratio = 1.0 if LEARNED[arm].train == BASE else base / seconds_of_steps(workshop, case, arm)
            steps[arm] = round(options.steps * ratio * TIMES.get(arm, 1.0))
        write_text(path, json.dumps(steps) + "\n")
    return steps


def seconds_of_steps(workshop: Workshop, case: ToyCase, arm: str) -> float:
    """CPU seconds of one step."""
    times: list[float] = []
    settings = replace(LEARNED[arm], steps=TIMED, look_every=TIMED, examples=1)
    learn(workshop.model, case.views, settings, progress=lambda done, total: times.append(time.process_time()))
    return float(np.median(np.diff(times)))


def learned_of(
    workshop: Workshop, case: ToyCase, arm: str, index: int, options: argparse.Namespace
) -> tuple[LearnedObject, float]:
    """An arm's learned object, from its file where it is there already, and the CPU seconds that it took."""
    if arm == "kv at rank 32":
        whole, seconds = learned_of(workshop, case, "kv", index, options)
        return learned_object.of_rank(whole, workshop.model.layers, 32)[0], seconds
    path = options.output / f"{file_name(arm)}-{index:02}.safetensors"
    told = path.with_suffix(".json")
    if not path.is_file() or not told.is_file():
        settings = replace(LEARNED[arm], steps=options.equal[arm])
        others = []
        if arm.endswith("others"):
            strangers = [ToyCase.of(STRANGERS + 10 * index + n, 1, workshop.shipped) for n in range(OTHERS // 4)]
            others = [view for stranger in strangers for view in stranger.views]
        started = time.process_time()
        learning = learn(workshop.model, case.views, settings, others=others)
        learned_object.save(learning.learned, path)
        seconds = time.process_time() - started
        write_text(told, json.dumps({"seconds": seconds, "looks": learning.looks, **asdict(settings)}) + "\n")
    return learned_object.load(path), json.loads(told.read_text(encoding="utf-8"))["seconds"]


def measure(workshop: Workshop, options: argparse.Namespace) -> dict[str, Rows]:
    """Rows by arm, of all toys, rooms and seeds of this part."""
    tables: dict[str, Rows] = {}
    part, parts = options.part
    for index in tqdm(range(part, options.toys, parts), desc="toys"):
        case = ToyCase.of(index, options.rooms, workshop.shipped)
        for arm in options.arms:
            for seed in range(options.seeds):
                path = options.output / f"{file_name(arm)}-{index:02}-{options.rooms}-{seed}.rows.json"
                if not path.is_file():
                    write_text(path, json.dumps(rows_of(workshop, case, arm, index, seed, options)) + "\n")
                for column, values in json.loads(path.read_text(encoding="utf-8")).items():
                    tables.setdefault(arm, {}).setdefault(column, []).extend(values)
        show(tables)
    return tables


def rows_of(workshop: Workshop, case: ToyCase, arm: str, index: int, seed: int, options: argparse.Namespace) -> Rows:
    """The rows of an arm for a toy and a seed."""
    learned = []
    seconds = 0.0
    if arm in LEARNED:
        one, seconds = learned_of(workshop, case, arm, index, options)
        learned = [one]
        context, null = one.contexts(null=workshop.model.null[0])
    else:
        context, null = workshop.shown(case, arm)
    pictures = workshop.with_objects(case, learned, context, null, seed)
    rows = workshop.rows(case, pictures)
    rows |= {"seconds": [seconds] * len(pictures), "toy": [index] * len(pictures)}
    if learned and learned[0].patch and not seed:
        rows["other"] = changes_of_others(workshop, index, learned[0], options)
        if arm == BASE:
            rows |= of_two(workshop, case, index, learned[0], rows, options)
    if index == 0 and seed == 0:
        workshop.sheet(case, pictures).save(options.output / f"{file_name(arm)}.png")
    return rows


def changes_of_others(workshop: Workshop, index: int, learned: LearnedObject, options) -> list[float]:
    """By how much another toy's identity, shown in one picture, changes under the patch of this one."""
    case = ToyCase.of(STRANGERS + index, min(options.rooms, 8), workshop.shipped)
    context, null = workshop.shown(case, "plain")
    before, after = (
        np.array(workshop.rows(case, workshop.with_objects(case, objects, context, null, 0))["identity"])
        for objects in ([], [learned])
    )
    return (after - before).tolist()


def of_two(workshop: Workshop, case: ToyCase, index: int, learned: LearnedObject, alone: Rows, options) -> Rows:
    """Changes by another learned object beside: of identity, and of the distance to the own colours (0..255)."""
    neighbour = (index + 1) % options.toys
    beside = ToyCase.of(neighbour, 1, workshop.shipped)
    other, _ = learned_of(workshop, beside, BASE, neighbour, options)
    context, null = learned.contexts(null=workshop.model.null[0])
    both = workshop.rows(case, workshop.with_objects(case, [learned, other], context, null, 0))
    found = np.array(both["inserted"]) * np.array(alone["inserted"]) > 0
    change = {column: np.array(both[column]) - np.array(alone[column]) for column in ("identity", "colour")}
    return {"beside_identity": change["identity"].tolist(), "beside_colour": change["colour"][found].tolist()}


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


def show(tables: dict[str, Rows]) -> None:
    """Print what is known so far: errors against the plain arm on the cases that both have."""
    lines = []
    for arm, table in tables.items():
        count = min(len(table["identity"]), len(tables.get("plain", table)["identity"]))
        plain = tables.get("plain", table)["identity"][:count]
        fell, low, high = reduction(plain, table["identity"][:count], table["toy"][:count])
        other = f" others {np.mean(table['other']):+.3f}" if "other" in table else ""
        beside = f" beside {np.mean(table['beside_identity']):+.3f}" if "beside_identity" in table else ""
        parts = " ".join(f"{name} {np.mean(table[name]):.2f}" for name in COLUMNS)
        known = f"{parts} error {-fell:+.0%} ({-high:+.0%} to {-low:+.0%})"
        lines.append(f"{arm:18} n {len(table['identity']):4} {known}{other}{beside} {np.mean(table['seconds']):4.0f} s")
    tqdm.write("\n".join(lines) + "\n")


def figures(tables: dict[str, Rows], model: str, *, headlines: bool) -> dict[str, tuple[float, str]]:
    """The figures of docs/figures/learn_object.json that these arms know; `headlines` are those of the default."""
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

    if model == "insert":
        told("views_error_reduction_mask_free", "average")
        told("error_reduction_mask_free", DEFAULT)
        for arm in sorted(set(tables) & set(LEARNED) - {DEFAULT}):
            told(f"error_reduction_mask_free_of_{column_name(arm)}", arm)
        return values
    if headlines:
        told("views_error_reduction", "concatenate")
        told("error_reduction", DEFAULT)
    for arm in tables:
        if arm != "plain":
            told(f"error_reduction_of_{column_name(arm)}", arm)
        values[f"identity_of_{column_name(arm)}"] = (round(float(np.mean(tables[arm]["identity"])), 4), "0..1")
    default = tables.get(DEFAULT, {})
    if default:
        values["seconds"] = (round(float(np.mean(default["seconds"])), 1), f"of one CPU core, learning, {DEFAULT}")
    for column, name, unit in (
        ("other", "others_identity_change", "of another toy shown in one picture, under the patch"),
        ("beside_identity", "two_objects_identity_change", "of a learned toy, with a second one learned beside"),
        ("beside_colour", "two_objects_colour_change", "RGB distance 0..255 to its own colours, a second one beside"),
    ):
        if column in tables.get(BASE, {}):
            values[name] = (round(float(np.mean(tables[BASE][column])), 4), f"{unit}, {BASE}")
    if {"kv", "kv at rank 32"} <= tables.keys():
        lost = np.mean(tables["kv"]["identity"]) - np.mean(tables["kv at rank 32"]["identity"])
        values["rank32_identity_loss"] = (round(float(lost), 4), "identity of the whole change's, of width 128")
    return values


def column_name(arm: str) -> str:
    """Of an arm, in a figure's name."""
    return arm.replace(" + ", "_and_").replace("-", "_").replace(" ", "_")


def part_of(text: str) -> tuple[int, int]:
    """K/N: toys K, K + N, and so on."""
    part, parts = map(int, text.split("/"))
    return part, parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(WORKSHOPS), default="paint")
    parser.add_argument("--toys", type=int, default=24)
    parser.add_argument("--rooms", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=LearningSettings().steps, help=f"of {BASE}")
    parser.add_argument("--arms", nargs="+", default=[*JOINED, *LEARNED], choices=[*JOINED, *LEARNED])
    parser.add_argument("--part", type=part_of, default=(0, 1), metavar="K/N", help="toys K, K + N, ...; 0/1 is all")
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "bench" / "learn_object")
    parser.add_argument("--prefix", default="", help="of the figures' names: a table of its own, on fewer toys")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    options = parser.parse_args()
    options.output = options.output / options.model
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    workshop = WORKSHOPS[options.model]()
    options.equal = equal_steps(workshop, options)
    tables = measure(workshop, options)
    if not options.dry:
        arms = " ".join(f"'{arm}'" if " " in arm else arm for arm in options.arms)
        command = f"{TOLD} --model {options.model} --toys {options.toys} --seeds {options.seeds} --arms {arms}"
        values = figures(tables, options.model, headlines=not options.prefix)
        named = {options.prefix + name: value for name, value in values.items()}
        print(record("learn_object", named, command + (f" --prefix {options.prefix}" if options.prefix else "")))


if __name__ == "__main__":
    main()
