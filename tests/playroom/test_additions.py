"""Cases of addition and their judge, on true pictures; and the bench's report on findings of ours."""

import json

import numpy as np
import pytest

from visual_insertion_pack.benchmarks import add_it_report, bench_add_it
from visual_insertion_pack.pipelines.playroom.add_it.additions import judge_all, make_case, make_stages
from visual_insertion_pack.pipelines.playroom.add_it.export import load_detector
from visual_insertion_pack.pipelines.playroom.add_it.scenes import VALIDATION_SEEDS
from visual_insertion_pack.pipelines.playroom.add_it.toy_model import FOLDER


@pytest.fixture(scope="module")
def cases():
    return [make_case(seed) for seed in VALIDATION_SEEDS[:16]]


def test_the_truth_is_found_right_and_the_scene_alone_is_not(cases):
    detector = load_detector(FOLDER / "detector.safetensors")
    scenes = np.stack([case.scene for case in cases])
    truth = judge_all(cases, np.stack([case.truth for case in cases]), scenes, detector)
    nothing = judge_all(cases, scenes, scenes, detector)
    for column, least in {"new": 1, "hue": 0.9, "shape": 0.9, "placed": 0.9, "ok": 0.9}.items():
        assert np.nanmean([getattr(finding, column) for finding in truth]) >= least
    assert np.nanmean([finding.kept for finding in truth]) == 1
    assert min(finding.background for finding in truth) > 30
    assert not any(finding.new or finding.ok for finding in nothing)
    assert any(case.toys for case in cases)
    assert not all(case.toys for case in cases)


def test_stages_add_up_to_the_room_with_all_toys():
    stages = make_stages(VALIDATION_SEEDS[3])
    assert [stage.toys for stage in stages] == [0, 1, 2]
    for before, after in zip(stages, stages[1:], strict=False):
        assert np.array_equal(before.truth, after.scene)
        assert str(before.target) == str(after.source)


def row(seed, **changes):
    plain = dict(new=1.0, hue=1.0, shape=1.0, supported=1.0, placed=1.0, ok=1.0, kept=float("nan"), extra=0.0)
    plain |= dict(background=20.0, to_own=1.0, to_other=2.0, all_shapes=1.0, seed=seed)
    return {**plain, **changes}


def test_the_report_leads_swaps_and_gains_as_it_says(tmp_path):
    steady = {
        "attention alone": dict(background=24.0),
        "attention alone, another scene": dict(to_own=2.0, to_other=1.0),
        "text to picture": dict(background=14.0),
        "Add-it": dict(background=25.0),
        "Add-it, blended": dict(background=33.0),
        "SDEdit .3": dict(background=20.0, ok=1.0),
        "SDEdit .5": dict(background=30.0, ok=0.0),
    }
    for name, changes in steady.items():
        for start in (0, bench_add_it.BATCH):
            path = tmp_path / f"{bench_add_it.file_name(name, 0, start)}.json"
            path.write_text(json.dumps([row(start + number, **changes) for number in range(4)]))
    arms = bench_add_it.read(tmp_path, 32, 1)
    assert {name: len(rows[0]) for name, rows in arms.items()} == dict.fromkeys(steady, 8)
    figures = add_it_report.figures(arms, {})
    assert figures["causal_swap"][0] == 1
    assert figures["start0_gain_db"][0] == 10
    assert figures["blending_gain_db"][0] == 8
    assert figures["ok_lead_at_equal_background"][0] == 0.5
    assert figures["row_forwards_ratio"][0] == pytest.approx(43 / 30, abs=1e-3)
    assert "| Add-it, blended | 8 |" in add_it_report.table(arms)
