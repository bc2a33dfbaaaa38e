"""`evaluate --method learned-object` on toys in InsertSet's layout: learned once for each, painted, measured."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.evaluation.benchmarks import READERS
from visual_insertion_pack.pipelines.object_representation import learned_object
from visual_insertion_pack.pipelines.object_representation.method import LearnsObjects, object_views, read_settings
from visual_insertion_pack.pipelines.object_representation.training import learned_once
from visual_insertion_pack.pipelines.object_representation.training.learn import LearningSettings
from visual_insertion_pack.pipelines.object_representation.training.learned_once import LearnedOnce
from visual_insertion_pack.pipelines.object_representation.training.of_pipeline import learning_model
from visual_insertion_pack.pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from visual_insertion_pack.pipelines.systems import METHODS
from visual_insertion_pack.tests import evaluation_parts as parts
from visual_insertion_pack.tests.evaluation.test_evaluation_benchmarks import dream_row, write
from visual_insertion_pack.tests.insert_set_parts import write_set

MODELS = ROOT / "playroom_models" / "paint_by_example"
QUICK = {"steps": 2, "batch": 2, "examples": 2, "look_every": 1}
PAINTED = ("--paint-by-example", str(MODELS), "--steps", "2", "--sampler", "ddim")
RIM = 16  # px around the mask: the pasted part's feather


@pytest.fixture
def run(tmp_path, capsys):
    """run(*arguments, benchmark=..., data=...): (exit code, stdout, stderr) of an evaluation on the CPU."""

    def call(*arguments, data, benchmark="insert-set", output="out"):
        shared = ["--benchmark", benchmark, "--data", str(data), "--output", str(tmp_path / output), "--device", "cpu"]
        code = main(["evaluate", *shared, *PAINTED, *map(str, arguments)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def pipeline():
    return PaintByExamplePipeline.from_folder(MODELS)


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_from_a_folder_to_a_report_and_what_was_learned_is_not_learned_again(run, tmp_path, monkeypatch):
    data = write_set(tmp_path / "set")
    networks = parts.save_networks(tmp_path / "networks")
    metrics = "--clip-b32", networks["clip_b32"], "--dinov2", networks["dinov2"]
    methods = "paint-by-example", "paint-by-example-views", "learned-object"
    asked = ("--method", *methods, *metrics, "--learn-settings", json.dumps(QUICK))
    code, _, err = run(*asked, data=data)
    assert code == 0, err
    out = tmp_path / "out"
    facts = json.loads((out / "report.json").read_text("utf-8"))
    known = facts["settings"]["learned-object"]
    assert known["learn"] == {**vars(LearningSettings()), **QUICK} and known["others"] is None
    assert facts["settings"]["paint-by-example-views"]["views"] == "concatenate"
    assert "views" not in facts["settings"]["paint-by-example"]
    summary = facts["summary"]
    for method in methods:
        assert -100 <= summary[method]["masked_clip"]["value"] <= 100
        assert summary[method]["masked_dinov2"]["count"] == 4
    assert summary["learned-object"]["inclusion"]["value"] == 1
    benchmark = READERS["insert-set"](data)
    for case in (benchmark[index] for index in range(4)):
        made = [out / "results" / method / f"{case.name}.png" for method in methods]
        result = pixels(made[2])
        changed = (result != np.asarray(case.scene)).any(-1)
        near = ndimage.binary_dilation(case.mask, np.ones((3, 3)), iterations=RIM)
        assert changed[case.mask].mean() > 0.9 and not changed[~near].any()
        assert not np.array_equal(result, pixels(made[0])) and not np.array_equal(pixels(made[1]), pixels(made[0]))
    files = sorted((out / "learned").iterdir())
    assert len(files) == 2, "one for each object, not for each case"
    for path in files:
        assert len(learned_object.load(path).tokens) == 3
    stamps = [path.stat().st_mtime_ns for path in files]
    gone = out / "results" / "learned-object" / "mug_0002.png"
    before = pixels(gone)
    gone.unlink()

    def refuse(*arguments, **options):
        raise AssertionError("it was learned again")

    monkeypatch.setattr(learned_once, "learn", refuse)
    measured = {name: (out / name).read_bytes() for name in ("cases.csv", "summary.csv")}
    code, _, err = run(*asked, data=data)
    assert code == 0, err
    assert np.array_equal(pixels(gone), before) and [path.stat().st_mtime_ns for path in files] == stamps
    assert {name: (out / name).read_bytes() for name in measured} == measured
    other = json.dumps(QUICK | {"rank": 2})
    code, _, err = run("--method", "learned-object", "--learn-settings", other, data=data)
    assert code == 1 and "other settings" in err


def test_two_workers_measure_what_one_does(run, tmp_path):
    data = write_set(tmp_path / "set", names=("mug",))
    networks = parts.save_networks(tmp_path / "networks")
    asked = ("--method", "learned-object", "--clip-b32", networks["clip_b32"], "--learn-settings", json.dumps(QUICK))
    for workers in (1, 2):
        code, _, err = run(*asked, "--workers", workers, data=data, output=f"out{workers}")
        assert code == 0, err
    for name in ("cases.csv", "table.csv"):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()


def test_subjects_of_dream_edit_bench_are_learned_as_well(run, tmp_path):
    rows = [dream_row(), dream_row(), dream_row("cat", views=3)]
    write(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    asked = "--method", "learned-object", "--learn-settings", json.dumps(QUICK | {"steps": 1})
    code, _, err = run(*asked, data=tmp_path, benchmark="dreameditbench")
    assert code == 0, err
    learned = [learned_object.load(path) for path in (tmp_path / "out" / "learned").iterdir()]
    assert sorted(len(one.tokens) for one in learned) == [2, 3], "a file for each subject"


def test_what_was_learned_depends_on_pictures_settings_base_and_what_is_mixed_in(tmp_path, pipeline, monkeypatch):
    benchmark = READERS["insert-set"](write_set(tmp_path / "set", scenes=1))
    views, other_views = (object_views(benchmark[index].views(), "") for index in range(2))
    others = object_views(benchmark.others(benchmark[0]), "")
    model = learning_model(pipeline)
    seen = []

    def spy(model, views, settings, *, others, **options):
        seen.append((len(views), len(others)))
        return learning(model, views, settings, others=others, **options)

    learning = learned_once.learn
    monkeypatch.setattr(learned_once, "learn", spy)

    def objects(base="base cpu", **changes):
        settings = LearningSettings(**{**QUICK, "steps": 1, **changes})
        return LearnedOnce(tmp_path / "learned", settings, base, "toys", lambda: model)

    one = objects()
    paths = [one(views, lambda: []).path, one(other_views, lambda: []).path, one(views, lambda: 1 / 0).path]
    assert paths[0] == paths[2] != paths[1] and seen == [(3, 0), (3, 0)], "others are asked for once"
    assert objects()(views, lambda: []).path == paths[0] and len(seen) == 2
    for different in (objects("other cpu"), objects(rank=2), objects(seed=1)):
        assert different(views, lambda: []).path not in paths
    mixed = objects()(views, lambda: others)
    assert mixed.path not in paths and seen[-1] == (3, 2)
    assert mixed.learned.facts["base_name"] == "toys" and json.loads(mixed.learned.facts["settings"])["steps"] == 1


def test_how_many_of_the_same_kind_are_mixed_in_is_said(run, tmp_path):
    data = write_set(tmp_path / "set", names=("mug",), scenes=1)
    asked = "--method", "learned-object", "--learn-settings", json.dumps(QUICK | {"steps": 1})
    for number, more in enumerate(((), ("--learn-others", 1), ("--learn-others", 0), ("--learn-others", 2))):
        code, _, err = run(*asked, *more, data=data, output=f"out{number}")
        assert code == 0, err
    names = [next((tmp_path / f"out{number}" / "learned").iterdir()).name for number in range(4)]
    assert names[0] == names[3] and len(set(names)) == 3, "by default all, and there are two"


def test_half_of_a_learning_is_not_kept(tmp_path, pipeline, monkeypatch):
    views = object_views(READERS["insert-set"](write_set(tmp_path / "set"))[0].views(), "")
    learning = learned_once.learn

    def interrupted(model, views, settings, **options):
        return learning(model, views, settings, **options, stop=lambda: True)

    monkeypatch.setattr(learned_once, "learn", interrupted)
    for minutes in (0.0, 60.0):
        settings = LearningSettings(**QUICK, minutes=minutes)
        objects = LearnedOnce(tmp_path / "learned", settings, "base", "toys", lambda: learning_model(pipeline))
        with pytest.raises(KeyboardInterrupt):
            objects(views, lambda: [])
    assert not (tmp_path / "learned").exists()
    monkeypatch.setattr(learned_once, "learn", learning)
    settings = LearningSettings(**QUICK | {"steps": 500}, minutes=1e-4)
    kept = LearnedOnce(tmp_path / "learned", settings, "base", "toys", lambda: learning_model(pipeline))(views, list)
    assert kept.path.is_file(), "a limit of time that was asked for is no interruption"


def test_settings_are_json_or_a_file_of_it(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text('{"train": "kv", "minutes": 2.5}')
    assert read_settings(str(file)) == LearningSettings("kv", minutes=2.5)
    assert read_settings("{}") == LearningSettings() and read_settings(' {"own_tokens": true}').own_tokens


@pytest.mark.parametrize(
    ("text", "said", "error"),
    [
        ("steps=3", 'steps=3 does not exist. --learn-settings is JSON, such as {"train": "kv"', FileNotFoundError),
        ("{steps: 3}", "--learn-settings is not JSON: ", ValueError),
        ('{"steps": "many"}', "--learn-settings: 'steps' must be of type int, not 'many'.", ValueError),
        ('{"stepps": 3}', "--learn-settings: unknown entry 'stepps'; known there: train, steps, rank", ValueError),
        ('{"steps": -1}', "--learn-settings: configuration: steps must be 0 or more, not -1.", ValueError),
        ('{"train": "all"}', "--learn-settings: configuration: Unknown way to learn 'all'; use tokens", ValueError),
        ('{"size": 60}', "--learn-settings: configuration: size must be a multiple of 8 px, not 60.", ValueError),
    ],
)
def test_unusable_settings_are_named(text, said, error):
    with pytest.raises(error) as refused:
        read_settings(text)
    assert str(refused.value).startswith(said)


def test_a_file_of_settings_is_named(tmp_path):
    file = tmp_path / "settings.json"
    for content, said in ((b"[1]", "is no table; needed is one"), (b"\xff", "is not JSON"), (b'{"rank": 0}', ": conf")):
        file.write_bytes(content)
        with pytest.raises(ValueError) as refused:
            read_settings(str(file))
        assert str(refused.value).startswith(f"{file}{said if said[0] == ':' else f' {said}'}")


def test_what_cannot_be_learned_is_said_before_models_are_read(tmp_path):
    squares = parts.squares()
    method = next(method for method in METHODS if method.name == "learned_object")
    assert isinstance(method, LearnsObjects)
    args = Namespace(paint_by_example=Path("nowhere"), device="cpu", dtype=None, learn_settings="{}", learn_others=None)
    told = replace(squares, read=lambda index: replace(squares.read(index), objects=(), object_masks=()))
    bare = replace(squares, read=lambda index: replace(squares.read(index), mask=None))
    for benchmark, said in ((bare, "disc0 of discs has no mask, .*insert-set"), (told, "disc0 shows no picture of")):
        with pytest.raises(ValueError, match=said):
            method.inserter(args, benchmark)
    args.learn_others = -1
    with pytest.raises(ValueError, match="--learn-others must be 0 .none. or more, not -1"):
        method.inserter(args, squares)
    args.learn_others, args.learn_settings = 0, "{"
    with pytest.raises(ValueError, match="--learn-settings is not JSON"):
        method.inserter(args, squares)


def test_more_pictures_than_can_be_learned_are_refused_by_number(run, tmp_path):
    data = write_set(tmp_path / "set", names=("mug",), scenes=1, views=17, others=0)
    code, _, err = run("--method", "learned-object", data=data)
    assert code == 1 and "An object is learned from 1 to 16 pictures, not 17" in err


def test_a_picture_that_shows_too_little_is_named(tmp_path):
    small = Image.new("RGB", (2, 2))
    with pytest.raises(ValueError, match="^picture 2 of case one: .*too small"):
        object_views([(Image.new("RGB", (40, 40)), None), (small, None)], "of case one")
