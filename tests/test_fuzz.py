"""A few damaged inputs for every reader, and all that ever got past one. `python dev.py bench fuzz` tries thousands."""

import json
import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzzer needs alarms, which Windows does not have")
if hasattr(os, "fork"):
    from visual_insertion_pack.benchmarks.bench_fuzz import CASES
    from visual_insertion_pack.benchmarks.fuzzing.readers import READERS, node_readers
    from visual_insertion_pack.benchmarks.fuzzing.trials import replay, run

    CASES_BY_NAME = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(CASES.glob("*.json"))}
else:
    READERS, CASES_BY_NAME = (), {}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_damaged_files_are_refused_by_name_or_read_right(reader):
    outcome = run(reader, 2 * reader.weight, seed=-1)
    assert outcome.tried == 2 * reader.weight and outcome.faults == []


@pytest.fixture(scope="module")
def through_nodes(comfy):
    return {reader.name: reader for reader in node_readers(comfy)}


@pytest.mark.parametrize(
    "name", ["Load Embedding Optimizer", "Load Embedding Optimizer, released", "Load Pix2Pix UNet"]
)
def test_damaged_files_are_refused_by_the_nodes_or_read_right(through_nodes, name):
    reader = through_nodes[name]
    outcome = run(reader, 2 * reader.weight, seed=-1)
    assert outcome.tried == 2 * reader.weight and outcome.faults == []


@pytest.mark.parametrize("case", CASES_BY_NAME.values(), ids=CASES_BY_NAME)
def test_what_once_got_past_a_reader_does_not_any_more(case, request):
    readers = {reader.name: reader for reader in READERS}
    if case["reader"] not in readers:
        readers |= request.getfixturevalue("through_nodes")
    files = {name: bytes.fromhex(content) for name, content in case["files"].items()}
    word, seen = replay(readers[case["reader"]], files)
    assert word in ("refused", "read"), seen
