"""A paper's tables: seeds, paired tests and their number, columns that were chosen, and the grid."""

import csv
import io

import numpy as np
import pytest
from scipy.stats import wilcoxon

from visual_insertion_pack.pipelines.evaluation import report, tables
from visual_insertion_pack.pipelines.evaluation.metrics import PER_CASE
from visual_insertion_pack.pipelines.evaluation.protocol import Table, make_results
from visual_insertion_pack.pipelines.evaluation.trivial import TRIVIAL_METHODS
from visual_insertion_pack.tests import evaluation_parts as parts

NAMED = {metric.name: metric for metric in PER_CASE}
L1, AREA = NAMED["l1"], NAMED["placement_area"]
RUNS = {"base": ["base"], "ours": ["ours", "ours_seed1", "ours_seed2"]}


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.4, 20)
    values = {"base": {"l1": base, "placement_area": np.full(20, 2.0)}}
    for number, name in enumerate(RUNS["ours"]):
        values[name] = {
            "l1": base - 0.1 + 0.01 * number + rng.normal(0, 0.001, 20),
            "placement_area": np.full(20, (0.5, 1.0, 2.0)[number]),
        }
    names = tuple(f"case{number}" for number in range(20))
    return Table("discs", "", names, [L1, AREA], values, {}, {})


def test_a_method_of_three_seeds_has_mean_spread_and_a_paired_test(table):
    rows = tables.cells(table, RUNS, [L1, AREA], "base")
    ours = rows["ours"]["l1"]
    seeds = [table.values[name]["l1"] for name in RUNS["ours"]]
    assert ours.interval.value == pytest.approx(np.mean(seeds)) and ours.interval.count == 20
    assert ours.spread == pytest.approx(np.std([one.mean() for one in seeds], ddof=1))
    difference = np.mean(seeds, 0) - table.values["base"]["l1"]
    assert ours.difference.value == pytest.approx(difference.mean())
    assert ours.p == pytest.approx(2 * wilcoxon(difference).pvalue)  # the smaller of two tests
    assert rows["base"]["l1"].spread is None and rows["base"]["l1"].p is None
    assert rows["ours"]["placement_area"].interval.value == pytest.approx(1)  # half, right and double
    assert rows["ours"]["placement_area"].difference.value == pytest.approx(np.log(1 / 2))


def test_holm_is_stricter_with_every_test_and_keeps_the_order():
    assert tables.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert tables.holm([0.9, 0.6]) == [1.0, 1.0] and tables.holm([]) == []


def test_few_cases_are_no_test_and_equal_ones_no_difference():
    assert tables.signed_rank_p(np.array([0.1, 0.2, np.nan])) is None
    assert tables.signed_rank_p(np.zeros(10)) == 1.0
    assert tables.signed_rank_p(np.array([np.nan])) is None


def test_the_three_forms_have_the_same_numbers_and_say_how_many_tests(table):
    rows = tables.cells(table, RUNS, [AREA, L1], "base")
    lines = list(csv.DictReader(io.StringIO(tables.as_csv(rows))))
    assert [(line["method"], line["metric"]) for line in lines[2:]] == [("ours", "placement_area"), ("ours", "l1")]
    mean, spread = (float(lines[3][name]) for name in ("mean", "seeds_sd"))
    markdown, latex = (form(rows, [AREA, L1], "base") for form in (tables.as_markdown, tables.as_latex))
    for text in (markdown, latex):
        assert f"{mean:.3f}" in text and f"{spread:.3f}" in text and "Holm for all 2 tests" in text
    assert markdown.index("placement_area") < markdown.index("l1 ↓") and "Differences to base" in markdown
    assert rf"\textbf{{{mean:.3f}}} $\pm$ {spread:.3f}$^*$" in latex and r"placement\_area" in latex
    assert latex.count(r" \\") == 3 and latex.count("&") == 6


def test_a_column_that_was_not_measured_is_refused(table):
    assert tables.chosen_columns(table, ["l1"]) == [L1]
    with pytest.raises(ValueError, match="There is no metric dino in this run; there are l1, placement_area"):
        tables.chosen_columns(table, ["dino"])


def test_a_grid_has_the_same_cases_for_all_methods(tmp_path):
    benchmark = parts.squares()
    results = {}
    for name in ("unchanged", "copy_paste"):
        results[name] = make_results(benchmark, name, TRIVIAL_METHODS[name](benchmark), tmp_path / name, {})
    grid = report.draw_grid(benchmark, results)
    rows = min(report.IN_GRID, len(benchmark))
    assert grid.width == 5 * report.HEIGHT + 4 * report.GAP
    assert grid.height == report.HEIGHT // 8 + rows * (report.HEIGHT + report.GAP)
    pixels = np.asarray(grid)
    first = pixels[report.HEIGHT // 8 + report.GAP :][: report.HEIGHT]
    scene, unchanged = (first[:, column * (report.HEIGHT + report.GAP) :][:, : report.HEIGHT] for column in (0, 2))
    assert np.array_equal(scene, unchanged)
    grid.save(tmp_path / "grid.png")
