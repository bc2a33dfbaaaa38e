"""Does choosing among seeds pay? BestOf on the playroom against as many runs without choice, and as many steps.

The guidance is tuned on validation seeds; the figures are those of test seeds. Candidates are chosen by the playroom's
own encoder, what a user has, and judged by the oracle, which knows the truth and chose nothing but on validation seeds.
Both look for what appeared by the one rule of the pack. What is finished is read back, so a call that was stopped goes
on. Figures go to docs/figures/speed.json.

    best of N     N seeds at 6 steps, the one with the best score
    reseeding     the mean over these N: one of them by chance, at the same cost
    long run      one seed with N x 6 steps at the tuned scales: the same cost
    first third   as best of N, but chosen by the predictions after 2 of 6 steps, and only that one finished
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..pipelines.choosing.eyes import encoder_eye
from ..pipelines.choosing.terms import See, Terms, terms_of
from ..pipelines.evaluation.intervals import paired_interval
from ..pipelines.playroom.judging import oracle
from ..pipelines.playroom.judging.judge import Judge, load_judge
from ..pipelines.playroom.world.dataset import TEST_SEEDS, VALIDATION_SEEDS
from ..pipelines.restoration.restore import restore
from ..pipelines.sampling.guidance import Guidance
from ..pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from ..pipelines.whole_files import whole
from .best_of_cases import STEPS, Cases
from .figures import ROOT, record

MODELS = ROOT / "playroom_models"
OBJECT_SCALES = (1.5, 2.5, 4.0)
SCENE_SCALES = (1.0, 1.2, 1.5)
TUNING_CASES = 128
FIRST_THIRD = STEPS // 3
LONG_RUNS = 1  # seeds of the long run, whose mean is compared with
VALUES = {"identity": "identity, 0..1", "background": "dB outside the effect", "supported": "share that stands"}
Columns = dict[str, np.ndarray]


def remembered(path: Path, make: Callable[[], Columns]) -> Columns:
    """What `make` gives, from the file if that is there."""
    if not path.exists():
        columns = make()
        with whole(path) as part, open(part, "wb") as file:
            np.savez(file, allow_pickle=False, **columns)
    with np.load(path) as stored:
        return dict(stored)


def judged(cases: Cases, judge: Judge, pictures: np.ndarray) -> Columns:
    """VALUES of pictures uint8 [N,H,W,3] of all cases, [N] each; what needs an object is 0 without one."""
    table = oracle.score(pictures, cases.restored, cases.truth, judge)
    supported = np.nan_to_num(table["supported"])
    return {"identity": oracle.identity(table), "background": table["background"], "supported": supported}


def scores(cases: Cases, candidates: np.ndarray, eyes: dict[str, See]) -> Columns:
    """The score [K,N] of candidates uint8 [K,N,H,W,3] by each eye."""
    colour = cases.pipe.encoder.mean
    objects = torch.from_numpy(cases.truth["objects"]).float() / 255
    found = {name: np.zeros(candidates.shape[:2]) for name in eyes}
    for case, scene in enumerate(tqdm(cases.scenes(), "score", unit="case")):
        results = torch.from_numpy(candidates[:, case]).float() / 255
        restored = restore(scene[None], results, align_geometry=False)
        terms: list[Terms] = []
        for name, see in eyes.items():
            terms = terms_of(restored, objects[case], see, colour, known=terms)
            found[name][:, case] = [one.score for one in terms]
    return found


def chosen(values: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The values [N], of [K,N], of the candidates with the best score [K,N]."""
    return values[scores.argmax(0), np.arange(values.shape[1])]


def tuned(cases: Cases, judge: Judge, folder: Path) -> Guidance:
    """The scales with the best mean identity on these cases, one seed each."""
    means: dict[Guidance, float] = {}
    for object_scale, scene_scale in product(OBJECT_SCALES, SCENE_SCALES):
        guidance = Guidance(object_scale, scene_scale)
        path = folder / f"tuning-{object_scale:g}-{scene_scale:g}.npz"
        table = remembered(path, lambda: judged(cases, judge, cases.insert(0, guidance)))  # noqa: B023
        means[guidance] = float(table["identity"].mean())
        print(f"object {object_scale:g}, scene {scene_scale:g}: identity {means[guidance]:.4f}", flush=True)
    return max(means, key=lambda guidance: means[guidance])


def pictures_of(
    cases: Cases, path: Path, candidate: int, guidance: Guidance, *, steps: int = STEPS, stop_after: int | None = None
) -> np.ndarray:
    """Pictures uint8 [N,H,W,3], from the file if that is there."""
    return remembered(
        path, lambda: {"pictures": cases.insert(candidate, guidance, steps=steps, stop_after=stop_after)}
    )["pictures"]


def compared(name: str, values: np.ndarray, others: np.ndarray, what: str) -> dict[str, tuple[float, str]]:
    """The paired difference with its 95 % interval as three figures."""
    interval = paired_interval(values, others)
    assert interval is not None
    ends = {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {each: (round(interval.value if value is None else value, 4), what) for each, value in ends.items()}


def figures(finals: Columns, long: Columns, by: dict[str, Columns], candidates: int) -> dict[str, tuple[float, str]]:
    """All rows: values [K,N] of candidates, [LONG_RUNS,N] of long runs, and scores [K,N] by arm and eye."""
    identity = finals["identity"]
    reseeded = identity.mean(0)
    default = long["identity"].mean(0)
    best = chosen(identity, by["full"]["context"])
    test = f"identity 0..1, test seeds, best of {candidates} seeds at {STEPS} steps less"
    one = f"one of these {candidates} by chance"
    rows = {
        "best_of_cases": (identity.shape[1], "held-out cases"),
        "best_of_candidates": (candidates, f"seeds of {STEPS} steps"),
        "best_of_identity": (round(float(best.mean()), 4), "identity 0..1, the one with the best score"),
        "best_of_reseeding_identity": (round(float(reseeded.mean()), 4), f"identity 0..1, {one}"),
        "best_of_default_identity": (
            round(float(default.mean()), 4),
            f"identity 0..1, tuned default, {candidates * STEPS} steps, mean of {LONG_RUNS} seeds",
        ),
        **compared("best_of_gain", best, reseeded, f"{test} {one}"),
        **compared("best_of_gain_over_default", best, default, f"{test} one seed with {candidates * STEPS} steps"),
        **compared(
            "best_of_gain_encoder_alone",
            chosen(identity, by["full"]["encoder"]),
            reseeded,
            f"{test} {one}, chosen without the embedding optimizer",
        ),
        **compared(
            "best_of_gain_first_third",
            chosen(identity, by["early"]["context"]),
            reseeded,
            f"{test} {one}, chosen after {FIRST_THIRD} steps",
        ),
        "best_of_first_third_cost": (
            round((candidates * FIRST_THIRD + STEPS) / (candidates * STEPS), 4),
            "evaluations, share of those of all whole runs",
        ),
        **compared("best_of_ceiling", identity.max(0), reseeded, f"{test} {one}, chosen by the truth: an upper bound"),
    }
    for name in ("background", "supported"):
        values = finals[name]
        picked = chosen(values, by["full"]["context"])
        rows |= compared(f"best_of_{name}_gain", picked, values.mean(0), f"{VALUES[name]}, less {one}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=len(TEST_SEEDS), help="of the test seeds")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=ROOT / "output" / "best_of")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file of the repository")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    settings = options.folder / "settings.json"
    asked = {"cases": options.cases, "candidates": options.candidates}
    before = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else asked
    if before != asked:
        raise SystemExit(
            f"{options.folder} holds a run with {before}, this is one with {asked}. Give another --folder."
        )
    settings.write_text(json.dumps(asked) + "\n", encoding="utf-8")

    pipe = VisualInsertionPipeline.from_folder(MODELS)
    judge = load_judge(MODELS / "judge.safetensors")
    guidance = tuned(Cases.of(pipe, VALIDATION_SEEDS[:TUNING_CASES]), judge, options.folder)
    print(f"tuned: object {guidance.object_scale:g}, scene {guidance.scene_scale:g}", flush=True)
    cases = Cases.of(pipe, TEST_SEEDS[: options.cases])
    draw = partial(pictures_of, cases, guidance=guidance)
    numbers = range(options.candidates)
    eyes = {"encoder": encoder_eye(pipe.encoder), "context": encoder_eye(pipe.encoder, pipe.context_encoder)}
    by = {}
    finals: list[Columns] = []
    for arm, stop_after in (("full", None), ("early", FIRST_THIRD)):
        drawn = [
            draw(path=options.folder / f"{arm}-{number}.npz", candidate=number, stop_after=stop_after)
            for number in numbers
        ]
        by[arm] = remembered(options.folder / f"scores-{arm}.npz", lambda: scores(cases, np.stack(drawn), eyes))  # noqa: B023
        if arm == "full":
            for number, pictures in enumerate(drawn):
                path = options.folder / f"judged-{number}.npz"
                finals.append(remembered(path, lambda: judged(cases, judge, pictures)))  # noqa: B023
    long: list[Columns] = []
    for number in range(LONG_RUNS):
        path = options.folder / f"long-{number}.npz"
        pictures = draw(path=path, candidate=number, steps=options.candidates * STEPS)
        judged_path = options.folder / f"judged-long-{number}.npz"
        long.append(remembered(judged_path, lambda: judged(cases, judge, pictures)))  # noqa: B023
    values = figures(stacked(finals), stacked(long), by, options.candidates)
    values["best_of_object_scale"] = (guidance.object_scale, "tuned on validation seeds")
    values["best_of_scene_scale"] = (guidance.scene_scale, "tuned on validation seeds")
    for name, (value, unit) in values.items():
        print(f"{name:40}{value:9.4f}  {unit}")
    if not options.dry:
        command = f"python dev.py bench best_of --cases {options.cases} --candidates {options.candidates}"
        print(record("speed", values, command))


def stacked(tables: list[Columns]) -> Columns:
    """Tables of values [N] as one of values [len(tables),N]."""
    return {name: np.stack([table[name] for table in tables]) for name in tables[0]}


if __name__ == "__main__":
    main()
