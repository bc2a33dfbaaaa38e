"""From an empty folder to a paper's table, by nothing but the commands that stand in docs/evaluation.md."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.benchmarks import bench_table
from visual_insertion_pack.pipelines.weights.reading import metadata_of

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32" or not shutil.which("bash"), reason="the block is written for bash"),
    pytest.mark.timeout(1200),
]
METHODS = ["frozen-swap", "unchanged", "copy_paste", "visual-insertion"]
RUNS = [f"visual-insertion{run}{seed}" for run in ("", "_run2", "_run3") for seed in ("", "_seed1")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The report's folder, and what a run with two workers, killed and started again, made otherwise."""
    return bench_table.table(tmp_path_factory.mktemp("empty"))


def test_two_workers_killed_and_started_again_give_the_same_table(made):
    assert made[1] == []


def test_the_table_has_all_methods_with_intervals_spread_and_tests(made):
    folder, _ = made
    latex = (folder / "table.tex").read_text("utf-8")
    assert latex.count(r"\\") >= len(METHODS) and r"\toprule" in latex
    rows = (folder / "table.md").read_text("utf-8")
    assert all(f"| {method} " in rows.replace("**", "") for method in METHODS)
    report = json.loads((folder / "report.json").read_text())
    assert report["settings"]["runs"]["visual-insertion"] == RUNS
    assert report["settings"]["runs"]["frozen-swap"] == ["frozen-swap", "frozen-swap_seed1"]
    assert report["settings"]["runs"]["unchanged"] == ["unchanged"]
    assert "\u00b1" in rows and "p = " in rows


def test_the_three_trainings_differ_and_their_second_stage_began_with_the_first(made):
    work = made[0].parent
    two = [metadata_of(work / f"two_{seed}" / "embedding_optimizer.safetensors") for seed in range(3)]
    assert [facts["seed"] for facts in two] == ["0", "1", "2"]
    starts = [json.loads(facts["configuration"])["optimizer"]["start"] for facts in two]
    assert starts == ["embedding_optimizer.safetensors"] * 3
    record = json.loads((work / "two_1" / "run.json").read_text())
    assert record["configuration"]["optimizer"]["start"].endswith("one_1/embedding_optimizer.safetensors")
    pictures = [np.asarray(Image.open(min((made[0] / "results" / name).glob("*.png")))) for name in RUNS[::2]]
    assert not np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[1], pictures[2])


def test_the_grid_shows_the_same_cases_across_all_methods(made):
    grid = Image.open(made[0] / "grid.png")
    assert grid.width > 128 * (len(METHODS) + 3) and grid.height > 6 * 128
