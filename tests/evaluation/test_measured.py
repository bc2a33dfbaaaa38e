"""What was measured is kept: a run that goes on has the same numbers, and measures only what is new."""

import numpy as np
import pytest

from visual_insertion_pack.pipelines.evaluation import case_metrics, protocol
from visual_insertion_pack.pipelines.evaluation.backbones import Backbones, load_backbones
from visual_insertion_pack.pipelines.evaluation.trivial import TRIVIAL_METHODS
from visual_insertion_pack.tests import evaluation_parts as parts

METHODS = ("unchanged", "perfect_copy", "shuffled_object")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    benchmark = parts.squares().first(3)
    folder = tmp_path_factory.mktemp("results")
    methods = {name: TRIVIAL_METHODS[name](benchmark) for name in METHODS}
    return benchmark, {
        name: protocol.make_results(benchmark, name, method, folder / name, {}) for name, method in methods.items()
    }


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    return load_backbones(parts.save_networks(tmp_path_factory.mktemp("networks")))


def assert_same(one, other):
    assert one.values.keys() == other.values.keys()
    for method, row in one.values.items():
        for name, values in row.items():
            assert np.allclose(values, other.values[method][name], rtol=0, atol=1e-6, equal_nan=True), (method, name)


@pytest.fixture
def places(monkeypatch):
    """The methods whose pictures were looked through, as it happens."""
    looked = []
    original = case_metrics.found_places

    def found_places(case, pictures, vae_scene):
        looked.extend((case.name, method) for method in pictures)
        return original(case, pictures, vae_scene)

    monkeypatch.setattr(case_metrics, "found_places", found_places)
    return looked


def test_two_processes_and_a_second_run_have_the_same_numbers(results, backbones, tmp_path, request, monkeypatch):
    monkeypatch.setattr(protocol, "FEW", 1)
    benchmark, folders = results
    plain = protocol.measure(benchmark, folders, backbones)
    parallel = protocol.measure(benchmark, folders, backbones, store=tmp_path, workers=2)
    places = request.getfixturevalue("places")  # from here on: it cannot follow another process
    resumed = protocol.measure(benchmark, folders, backbones, store=tmp_path)
    assert places == []
    assert_same(plain, parallel)
    assert_same(plain, resumed)
    for name in METHODS:
        assert plain.sets[name] == pytest.approx(resumed.sets[name], abs=1e-6)


def test_a_new_method_and_a_new_backbone_measure_only_what_is_new(results, backbones, tmp_path, places):
    benchmark, folders = results
    first = {name: folders[name] for name in METHODS[:2]}
    protocol.measure(benchmark, first, Backbones(), store=tmp_path)
    places.clear()
    grown = protocol.measure(benchmark, folders, Backbones(dino=backbones.dino), store=tmp_path)
    assert places == [(name, METHODS[2]) for name in benchmark.names]
    assert_same(protocol.measure(benchmark, folders, Backbones(dino=backbones.dino)), grown)


def test_another_picture_is_measured_again_and_a_damaged_file_too(results, tmp_path, places):
    benchmark, folders = results
    first = {"a": folders["unchanged"]}
    protocol.measure(benchmark, first, Backbones(), store=tmp_path)
    places.clear()
    protocol.measure(benchmark, {"a": folders["shuffled_object"]}, Backbones(), store=tmp_path)
    assert len(places) == len(benchmark)
    places.clear()
    (tmp_path / f"{benchmark.names[0]}.json").write_text("{ not", encoding="utf-8")
    protocol.measure(benchmark, first, Backbones(), store=tmp_path)
    assert places == [(benchmark.names[0], "a")]


def test_with_a_vae_that_does_not_say_which_it_is_nothing_is_kept(results, tmp_path):
    benchmark, folders = results
    protocol.measure(
        benchmark, {"a": folders["unchanged"]}, Backbones(), round_trip=lambda picture: picture, store=tmp_path
    )
    assert not list(tmp_path.iterdir())
