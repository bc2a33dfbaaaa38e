"""The playroom's world and its ground truth."""

import numpy as np
import pytest

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.playroom.judging import oracle
from visual_insertion_pack.pipelines.playroom.judging.judge import load_judge
from visual_insertion_pack.pipelines.playroom.world import dataset, toys
from visual_insertion_pack.pipelines.playroom.world.triplets import make_triplet


@pytest.fixture(scope="module")
def triplets():
    return [make_triplet(seed) for seed in range(900_000_300, 900_000_324)]


def test_a_triplet_is_a_function_of_its_seed(triplets):
    again = make_triplet(900_000_300)
    assert np.array_equal(again.target, triplets[0].target) and np.array_equal(again.objects, triplets[0].objects)
    assert not np.array_equal(triplets[0].scene, triplets[1].scene)


def test_nothing_changes_outside_the_effect_and_the_object_lies_inside_it(triplets):
    for t in triplets:
        change = np.abs(t.target.astype(int) - t.scene).max(-1)
        assert change[~t.effect_mask].max() <= 3  # 2.5 of 255 before rounding
        assert (t.object_mask & ~t.effect_mask).sum() <= 0.03 * t.object_mask.sum()
        assert t.effect_mask.sum() > t.object_mask.sum()  # a shadow belongs to it


def test_every_toy_stands_on_its_support_and_fills_its_box(triplets):
    for t in triplets:
        x, y = t.placement.foot
        assert t.support[int(y) - 1, int(x)] or t.support[min(int(y), 127), int(x)]
        rows, columns = np.nonzero(t.object_mask)
        x0, y0, x1, y1 = t.box
        assert abs(rows.min() - y0) < 5 and abs(rows.max() + 1 - y1) < 5
        assert columns.min() > x0 - 3 and columns.max() < x1 + 3


def test_all_shapes_patterns_and_places_occur():
    drawn = [make_triplet(seed, views=1) for seed in range(120)]
    assert {t.toy.shape for t in drawn} == set(toys.SHAPES)
    assert {t.toy.pattern for t in drawn} == set(toys.PATTERNS)
    assert {t.placement.place for t in drawn} == {"floor", "table"}


def test_rendering_does_not_depend_on_workers_and_finds_finished_shards_again(tmp_path, monkeypatch):
    seeds = range(7, 7 + dataset.SHARD + 20)  # two shards
    one = dataset.render(tmp_path / "one", seeds, views=1, workers=1)
    two = dataset.render(tmp_path / "two", seeds, views=1, workers=2)
    columns = ("scene", "target", "objects", "box", "shape")
    a, b = dataset.load(one, columns), dataset.load(two, columns)
    assert all(np.array_equal(a[name], b[name]) for name in columns) and len(a["scene"]) == len(seeds)
    stamps = [path.stat().st_mtime_ns for path in one]
    one[1].unlink()
    assert dataset.render(tmp_path / "one", seeds, views=1, workers=1) == one
    assert one[0].stat().st_mtime_ns == stamps[0] and one[1].exists()
    assert not list((tmp_path / "one").glob("*.part*"))


@pytest.fixture(scope="module")
def truth():
    return dataset.render_arrays(range(900_000_400, 900_000_432), views=1)


@pytest.fixture(scope="module")
def judge():
    return load_judge(ROOT / "playroom_models" / "judge.safetensors")


def test_the_oracle_gives_the_truth_full_marks(truth, judge):
    figures = oracle.summary(oracle.score(truth["target"], truth["scene"], truth, judge))
    assert figures["inserted_rate"] == 1 and figures["supported_rate"] == 1
    assert figures["shape_accuracy"] > 0.96 and figures["pattern_accuracy"] > 0.96
    assert figures["colour_ratio"] < 0.1 and figures["background_psnr_db"] > 50


def test_the_oracle_finds_the_toys_own_pixels(truth):
    overlaps = []
    for i in range(12):
        mask = oracle.find(truth["target"][i], truth["scene"][i]).mask
        toy = truth["object_mask"][i]
        overlaps.append((mask & toy).sum() / (mask | toy).sum())
    assert min(overlaps) > 0.75 and np.mean(overlaps) > 0.9


def test_the_oracle_gives_an_unchanged_scene_nothing(truth, judge):
    table = oracle.score(truth["scene"], truth["scene"], truth, judge)
    assert table["inserted"].sum() == 0 and np.isnan(table["colour"]).all()


def test_the_oracle_sees_a_wrong_object_a_floating_one_and_a_spoilt_background(truth, judge):
    right = oracle.score(truth["target"], truth["scene"], truth, judge)
    wrong_truth = truth | {name: np.roll(truth[name], 5, axis=0) for name in ("shape", "pattern")}
    wrong = oracle.score(truth["target"], truth["scene"], wrong_truth, judge)
    assert np.nanmean(wrong["shape"]) < 0.4 < np.nanmean(right["shape"])
    nowhere = truth | {"support": np.zeros_like(truth["support"])}
    assert np.nanmean(oracle.score(truth["target"], truth["scene"], nowhere, judge)["supported"]) == 0
    spoilt = truth["target"].copy()
    spoilt[:, :8] = 255 - spoilt[:, :8]
    assert oracle.score(spoilt, truth["scene"], truth, judge)["background"].mean() < 25


def test_a_darker_patch_of_floor_is_a_shadow_and_not_an_object():
    scene = np.full((128, 128, 3), (120, 150, 90), np.uint8)
    shaded = scene.copy()
    shaded[80:100, 40:80] = (scene[80:100, 40:80] * 0.7).astype(np.uint8)
    assert oracle.find(shaded, scene) is None
    shaded[60:85, 50:70] = (200, 30, 30)
    finding = oracle.find(shaded, scene)
    assert finding.box[0] >= 48 and finding.box[3] <= 87 and finding.effect[95, 45]
