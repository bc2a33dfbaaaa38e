"""The copy-paste guard on photographs: what it tells, at which false alarms, and the threshold that follows.

The threshold is chosen on one half of the photographs, by a share of false alarms; the figures are those of the other
half and of the playroom. Figures go to docs/figures/research.json, the curve to docs/images/copy_paste.png.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ..pipelines.evaluation.case_pixels import pasted_score
from ..pipelines.evaluation.cases import Case
from ..pipelines.evaluation.placement import appeared
from ..pipelines.evaluation.trivial import TRIVIAL_METHODS
from ..pipelines.pictures.copies import FLAGGED
from ..pipelines.playroom.judging.benchmark import playroom
from .copy_paste_cases import ALTERNATIVES, PASTES, SPLITS, paste_case
from .figures import ROOT, record

FALSE_ALARMS = 0.01  # of the alternatives that the threshold is chosen on
PROMISED = ("exact", "scaled")
PLAYROOM = ("copy_paste", "perfect_copy", "shuffled_object")
NOTHING = -1.0  # the score where nothing appeared


def scores_of(split: str, number: int, kind: str) -> tuple[float, float]:
    """(the score of a case with the true mask known, the score without it), as `evaluate` measures them."""
    made = paste_case(split, number, kind)
    masks = () if made.object_mask is None else (made.object_mask,)
    place = appeared(made.result, made.scene)
    scores = []
    for mask in (made.mask, None):
        case = Case("case", made.scene, (made.object_picture,), mask=mask, object_masks=masks)
        score = pasted_score(case, made.result, place)
        scores.append(NOTHING if score is None else score)
    return scores[0], scores[1]


def playroom_score(number: int, method: str) -> tuple[float, float]:
    """The same for a case of the playroom; there both are measured with the mask."""
    benchmark = playroom(ROOT / "playroom_models" / "judge.safetensors")
    case = benchmark[number]
    result = TRIVIAL_METHODS[method](benchmark)(case)
    score = pasted_score(case, result, appeared(result, case.scene))
    return (NOTHING if score is None else score,) * 2


def measure(cases: int, workers: int) -> dict[tuple[str, str], np.ndarray]:
    """Scores [cases,2] by split and kind, and by "playroom" and method."""
    scores: dict[tuple[str, str], np.ndarray] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        for split in (*SPLITS, "playroom"):
            for kind in PLAYROOM if split == "playroom" else PASTES + ALTERNATIVES:
                if split == "playroom":
                    rows = list(pool.map(playroom_score, range(cases), [kind] * cases))
                else:
                    rows = list(pool.map(scores_of, [split] * cases, range(cases), [kind] * cases))
                scores[split, kind] = np.array(rows)
                least, middle, most = np.quantile(scores[split, kind][:, 0], (0.05, 0.5, 0.95))
                print(f"{split:10} {kind:16} 5 % {least:6.3f}  median {middle:6.3f}  95 % {most:6.3f}", flush=True)
    return scores


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def joined(scores: dict[tuple[str, str], np.ndarray], split: str, kinds: tuple[str, ...]) -> np.ndarray:
    """All scores [N,2] of some kinds."""
    return np.concatenate([scores[split, kind] for kind in kinds])


def figures(scores: dict[tuple[str, str], np.ndarray]) -> dict[str, tuple[float, str]]:
    """Shares of cases that are flagged at the threshold of the pack."""

    def share(split: str, *kinds: str, column: int = 0) -> float:
        return round(float((joined(scores, split, kinds)[:, column] > FLAGGED).mean()), 4)

    pasted = "share of pastes that are flagged, photographs held out"
    alike = "share of what only looks alike that is flagged, photographs held out"
    values = {
        "copy_paste_threshold": (FLAGGED, "score above which a result is flagged"),
        "copy_paste_threshold_by_false_alarms": (
            round(float(np.quantile(joined(scores, "chosen on", ALTERNATIVES)[:, 0], 1 - FALSE_ALARMS)), 4),
            f"score that {FALSE_ALARMS:.0%} of what looks alike is above, photographs it was chosen on",
        ),
        "copy_paste_recall": (share("held out", *PROMISED), f"{pasted}, exact and scaled"),
        "copy_paste_recall_without_mask": (
            share("held out", *PROMISED, column=1),
            f"{pasted}, exact and scaled, the true mask not known",
        ),
        "copy_paste_false_alarms": (share("held out", *ALTERNATIVES), alike),
        "copy_paste_recall_playroom": (share("playroom", "copy_paste"), "share of the playroom's pastes"),
        "copy_paste_false_alarms_playroom": (
            share("playroom", "perfect_copy", "shuffled_object"),
            "share of the playroom's true pictures and pastes of other toys",
        ),
    }
    for kind in PASTES:
        values[f"copy_paste_recall_{kind.replace(' ', '_').lower()}"] = (share("held out", kind), pasted)
    for kind in ALTERNATIVES:
        values[f"copy_paste_false_alarms_{kind.replace(' ', '_')}"] = (share("held out", kind), alike)
    return values


def plot(scores: dict[tuple[str, str], np.ndarray], path: Path) -> None:
    """Recall over false alarms, and where the scores lie, held out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pictures, (curve, spread) = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    alike = joined(scores, "held out", ALTERNATIVES)[:, 0]
    thresholds = np.linspace(1, -1, 2001)
    alarms = [(alike > threshold).mean() for threshold in thresholds]
    for kind in PASTES:
        pasted = scores["held out", kind][:, 0]
        curve.plot(alarms, [(pasted > threshold).mean() for threshold in thresholds], label=kind)
    curve.axvline(float((alike > FLAGGED).mean()), color="0.6", linestyle=":")
    curve.set(xlabel="false alarms", ylabel="pastes that are flagged", xlim=(-0.005, 0.2), ylim=(0.5, 1.01))
    curve.legend(fontsize=8, loc="lower right")
    kinds = [*PASTES, *ALTERNATIVES]
    colours = ["tab:blue"] * len(PASTES) + ["tab:orange"] * len(ALTERNATIVES)
    for row, (kind, colour) in enumerate(zip(kinds, colours, strict=True)):
        values = scores["held out", kind][:, 0]
        spread.plot(values, np.full(len(values), row), "|", color=colour, alpha=0.6, markersize=12)
    spread.axvline(FLAGGED, color="0.3", linestyle=":")
    spread.set(xlabel="copy_paste_score (pastes blue, what looks alike orange)", xlim=(-0.05, 1.02))
    spread.set_yticks(range(len(kinds)), kinds, fontsize=8)
    spread.invert_yaxis()
    pictures.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=60, help="of each kind")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scores", type=Path, help="file that scores are kept in, and read back from if it is there")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file of the repository")
    options = parser.parse_args()
    if options.scores and options.scores.exists():
        with np.load(options.scores) as kept:
            scores = {tuple(name.split(": ")): kept[name] for name in kept.files}
    else:
        scores = measure(options.cases, options.workers)
        if options.scores:
            np.savez(options.scores, **{": ".join(names): values for names, values in scores.items()})
    values = figures(scores)
    for name, (value, unit) in values.items():
        print(f"{name:44}{value:8.4f}  {unit}")
    if not options.dry:
        plot(scores, ROOT / "docs" / "images" / "copy_paste.png")
        print(record("research", values, f"python dev.py bench copy_paste --cases {options.cases}"))


if __name__ == "__main__":
    main()
