"""Add-it on the playroom's small FLUX: what attention, start, gamma and blending do, beside SDEdit and others.

Every arm goes through one loop with one noise (`add_it_arms`), on held-out scenes, judged by the detector, which was
trained on pictures alone. What was done is kept in --output, batch by batch, and not done again. Figures go to
docs/figures/add_it.json; plots, sheet and tables to docs/add_it.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..pipelines.add_it.extended_attention import extended_keys_values
from ..pipelines.add_it.flux_attention import attend
from ..pipelines.playroom.add_it.additions import AdditionCase, make_case
from ..pipelines.playroom.add_it.export import load_detector
from ..pipelines.playroom.add_it.scenes import TEST_SEEDS, VALIDATION_SEEDS
from ..pipelines.playroom.add_it.toy_model import FOLDER, load_toy_model
from ..pipelines.whole_files import write_text
from . import add_it_report, add_it_rooms
from .add_it_arms import MAIN, SWEEP, Arm, Workshop
from .figures import ROOT, record, source

COMMAND = "python dev.py bench add_it"
BATCH = 16  # cases: another scene is the one before in its batch
SHEET = 16  # cases whose pictures are kept
STEPS = 10  # so that every share that the arms name is a step of its own
SWEEP_CASES = 64
Rows = list[dict[str, Any]]


def jobs(cases: int, seeds: int) -> Iterator[tuple[int, str, Arm, int]]:
    """(first case, name, arm, sampling seed) of all batches: an early end leaves the arms alike."""
    for seed in range(seeds):
        for start in range(0, cases, BATCH):
            for name, arm in MAIN.items():
                yield start, name, arm, seed
            if seed == 0 and start < SWEEP_CASES:
                for name, arm in SWEEP.items():
                    yield start, name, arm, seed


def file_name(name: str, seed: int, start: int) -> str:
    """Where a batch of an arm is kept."""
    plain = "".join(letter if letter.isalnum() or letter == "." else "_" for letter in name)
    return f"{plain}-{seed}-{start:04}"


def measure(workshop: Workshop, cases: Sequence[AdditionCase], output: Path, seeds: int) -> None:
    """Make and judge what is not there yet, batch by batch."""
    for start, name, arm, seed in tqdm(list(jobs(len(cases), seeds)), desc="add_it", unit="batch"):
        path = output / f"{file_name(name, seed, start)}.json"
        if path.is_file():
            continue
        rows, pictures = workshop.rows(cases[start : start + BATCH], arm, seed)
        if start < SHEET and seed == 0:
            np.savez_compressed(path.with_suffix(".npz"), pictures=pictures)
        write_text(path, json.dumps(rows) + "\n")


def exactness(workshop: Workshop, cases: Sequence[AdditionCase]) -> dict[str, float]:
    """Relative errors: of the attention against float64 at FLUX.1's head width, and of one pass against two."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 1536, 128, generator=generator) for _ in range(3))
    source_key, source_value = (torch.randn(1, 3, 1024, 128, generator=generator) for _ in range(2))
    keys, values = extended_keys_values(key, value, source_key, source_value, 1.05)
    exact = torch.cat([1.05 * key.double(), source_key.double().expand(2, -1, -1, -1)], 2)
    chances = (query.double() @ exact.transpose(-1, -2) / 128**0.5).softmax(-1)
    expected = chances @ torch.cat([value.double(), source_value.double().expand(2, -1, -1, -1)], 2)
    scenes = workshop.scenes(np.stack([case.scene for case in cases]))
    one = workshop.run(cases, MAIN["Add-it"], 0, scenes).latents
    two = workshop.run(cases, MAIN["Add-it"], 0, scenes, two_passes=True).latents
    return {
        "attention_rel": relative(attend(query, keys, values).double(), expected),
        "rows_vs_two_passes_rel": relative(two, one),
    }


def relative(values: torch.Tensor, expected: torch.Tensor) -> float:
    """The norm of the difference over the norm."""
    return float((values - expected).norm() / expected.norm())


def read(output: Path, cases: int, seeds: int) -> dict[str, list[Rows]]:
    """Rows of each arm by sampling seed, as far as they are there."""
    arms: dict[str, list[Rows]] = {}
    for start, name, _, seed in jobs(cases, seeds):
        path = output / f"{file_name(name, seed, start)}.json"
        if path.is_file():
            by_seed = arms.setdefault(name, [[] for _ in range(seeds)])
            by_seed[seed] += json.loads(path.read_text(encoding="utf-8"))
    return arms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cases", type=int, default=128, help="held-out scenes (default %(default)s)")
    add("--seeds", type=int, default=2, help="sampling seeds (default %(default)s)")
    add("--steps", type=int, default=STEPS)
    add("--rooms", type=int, default=24, help="empty rooms that get three toys in a row (default %(default)s)")
    add("--output", type=Path, default=ROOT / "output" / "add_it", help="keeps what was done")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--commit", default="", help="for a machine whose checkout has no history")
    add("--validation", action="store_true", help="the other held-out scenes, to choose by; nothing is recorded")
    add("--report", action="store_true", help="only write figures and pages from what is there")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    options.output.mkdir(parents=True, exist_ok=True)
    seeds = (VALIDATION_SEEDS if options.validation else TEST_SEEDS)[: options.cases]
    cases = [make_case(seed) for seed in seeds]
    told = options.output / "source.json"
    errors = options.output / "exactness.json"
    if not options.report:
        device = torch.device(options.device)
        model = load_toy_model().to(device)
        detector = load_detector(FOLDER / "detector.safetensors")
        workshop = Workshop(model, detector, device, options.steps)
        write_text(told, json.dumps(source(COMMAND, options.commit)) + "\n")
        if not errors.is_file():
            write_text(errors, json.dumps(exactness(workshop, cases[:2])) + "\n")
        add_it_rooms.measure(workshop, options.output, options.rooms)
        measure(workshop, cases, options.output, options.seeds)
    arms = read(options.output, len(cases), options.seeds)
    rooms = add_it_rooms.read(options.output)
    figures = add_it_report.figures(arms, rooms)
    if errors.is_file():
        known = json.loads(errors.read_text(encoding="utf-8"))
        figures |= {name: (value, "relative error") for name, value in known.items()}
    print(add_it_report.table(arms))
    for name, (value, unit) in figures.items():
        print(f"{name:36}{value:10.4f}  {unit}")
    if not options.validation:
        measured = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else None
        print(record("add_it", figures, COMMAND, measured))
        add_it_report.write_page(arms, rooms, cases, options.output)


if __name__ == "__main__":
    main()
