"""Figures in docs/figures belong to code that is there: those that cost nothing are measured again here."""

import json
import re
import subprocess

import pytest

from visual_insertion_pack.benchmarks.bench_it_runs import size
from visual_insertion_pack.devtools.pack import ROOT

FIGURES = {path.stem: json.loads(path.read_text("utf-8")) for path in (ROOT / "docs" / "figures").glob("*.json")}
OF_NO_COMMIT = {"it_runs": {"test_suite_seconds"}}  # measured on changes


def commits():
    """The commits that figures name, each with the benchmark that made a figure there."""
    found = set()
    for table in FIGURES.values():
        for figure in table.values():
            bench = re.search(r"dev\.py bench (\w+)", figure["command"])
            if bench and re.fullmatch(r"[0-9a-f]{7,}", figure["commit"]):
                found.add((figure["commit"], bench[1]))
    return sorted(found)


def test_the_megabytes_of_the_models_are_todays():
    (value, unit) = size()["models_mb"]
    figure = FIGURES["it_runs"]["models_mb"]
    assert (figure["value"], figure["unit"]) == (value, unit), "python dev.py bench it_runs --only size"


def test_no_further_figure_is_of_code_that_no_commit_holds():
    for topic, table in FIGURES.items():
        changed = {name for name, figure in table.items() if figure["commit"].endswith("+changes")}
        assert changed <= OF_NO_COMMIT.get(topic, set()), (topic, changed)


@pytest.mark.parametrize(("commit", "bench"), commits())
def test_the_commit_of_a_figure_holds_the_benchmark_that_made_it(commit, bench):
    git = ["git", "-C", str(ROOT), "cat-file", "-e"]
    if subprocess.run([*git, f"{commit}^{{commit}}"], capture_output=True).returncode:
        pytest.skip("this checkout does not hold that commit")
    file = f"benchmarks/bench_{bench}.py"
    assert subprocess.run([*git, f"{commit}:{file}"], capture_output=True).returncode == 0, f"{commit} has no {file}"
    assert (ROOT / file).is_file()
