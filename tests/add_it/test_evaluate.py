"""Add-it among the methods of `evaluate`."""

import json
from types import SimpleNamespace

import pytest
from PIL import Image

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.add_it.method import subject_of
from visual_insertion_pack.pipelines.add_it.pipeline import AddItPipeline
from visual_insertion_pack.tests import evaluation_parts as parts


@pytest.mark.parametrize(
    ("instruction", "subject"),
    [
        ("add a striped red ball", "striped red ball"),
        ("Add an apple to the table.", "apple"),
        ("please add some pillows on the bed", "pillows"),
    ],
)
def test_the_subject_is_read_off_the_instruction(instruction, subject):
    assert subject_of(SimpleNamespace(name="one", subject="", instruction=instruction)) == subject


def test_a_subject_of_the_benchmark_comes_before_that_of_the_instruction():
    assert subject_of(SimpleNamespace(name="one", subject="scarf", instruction="Add warmth to them")) == "scarf"


def test_an_instruction_without_a_subject_is_refused():
    with pytest.raises(ValueError, match="says not in words what to add"):
        subject_of(SimpleNamespace(name="one", subject="", instruction="make it night"))


def test_evaluate_scores_it_on_the_playroom(tmp_path, capsys):
    shared = ["--benchmark", "playroom", "--limit", "1", "--device", "cpu", "--output", str(tmp_path)]
    assert main(["evaluate", "--method", "add-it", "unchanged", "--steps", "4", *shared]) == 0
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    made = report["settings"]["add-it"]
    assert made["steps"] == 4
    assert made["weights"]
    (picture,) = tmp_path.rglob("add-it/*.png")
    assert Image.open(picture).size == (128, 128)
    assert report["summary"]["add-it"]["oracle_inserted"]["value"] in (0, 1)
    assert main(["evaluate", "--method", "add-it", "--sampler", "ddim", *shared]) == 1
    assert "Add-it runs with --sampler euler" in capsys.readouterr().err


def test_it_is_told_the_scene_the_whole_picture_and_the_subject_of_a_benchmark_in_words(tmp_path, monkeypatch):
    told = []
    original = AddItPipeline.__call__

    def listening(self, scene, prompt, subject, **settings):
        told.append((prompt, subject, settings["scene_prompt"]))
        return original(self, scene, prompt, subject, **settings)

    monkeypatch.setattr(AddItPipeline, "__call__", listening)
    entry = parts.prompt_set(
        src_prompt="a room with a table", tgt_prompt="a room with a red ball", subject_token="red ball:1"
    )
    data = parts.save_sets(tmp_path / "sets", [entry], size=(64, 64))
    made = ["--benchmark", "additing", "--data", str(data), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["evaluate", "--method", "add-it", "--steps", "3", *made]) == 0
    assert told == [("a room with a red ball", "red ball", "a room with a table")]
    (picture,) = tmp_path.rglob("add-it/*.png")
    assert Image.open(picture).size == (64, 64)
