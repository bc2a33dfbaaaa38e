"""What the product is for: the shown object appears, stands, has its colours, and the rest stays."""

import numpy as np
import pytest

from visual_insertion_pack.benchmarks import bench_playroom
from visual_insertion_pack.pipelines.playroom.judging import oracle
from visual_insertion_pack.pipelines.playroom.judging.judge import load_judge
from visual_insertion_pack.pipelines.playroom.world import dataset


@pytest.fixture(scope="module")
def table(comfy):
    """Scores of sixteen held-out cases at the shipped settings, one seed. The full figures: dev.py bench playroom."""
    truth = dataset.render_arrays(dataset.VALIDATION_SEEDS[:16], views=1)
    insert = bench_playroom.Inserter(comfy, bench_playroom.shipped_settings())
    judge = load_judge(bench_playroom.MODELS / "judge.safetensors")
    results = insert(truth["scene"], truth["objects"][:, 0], seed=1)
    return oracle.score(results, insert.round_trip(truth["scene"]), truth, judge)


def test_the_object_appears_every_time(table):
    assert table["inserted"].all()


def test_it_is_the_object_that_was_shown(table):
    assert np.nanmean(table["colour"]) < 0.3 * np.nanmean(table["shuffled"])
    assert np.nanmean(table["shape"]) >= 0.8 and np.nanmean(table["pattern"]) >= 0.65


def test_it_stands_on_something(table):
    assert np.nanmean(table["supported"]) >= 0.85


def test_the_rest_of_the_scene_stays(table):
    assert table["background"].mean() > 30.5
    assert table["background"].mean() > 0.95 * table["background_vae"].mean()
