"""`paint --pairs` and `restore --pairs`: the pictures of the commands for one, and what a list of theirs has."""

import json

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.provenance import PNG_TEXT
from visual_insertion_pack.tests.bad_commands import TOYS


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A scene, its edit with a patch of another colour, an object, masks, and a list for each command."""
    folder = tmp_path_factory.mktemp("data")
    scene = Image.open(TOYS / "samples" / "scene.png").convert("RGB")
    scene.save(folder / "scene.png")
    Image.open(TOYS / "samples" / "object.png").save(folder / "toy.png")
    edited = scene.copy()
    edited.paste((250, 20, 200), (40, 30, 80, 70))
    edited.save(folder / "edit.png")
    mask = Image.new("L", scene.size)
    mask.paste(255, (32, 24, 60, 90))
    (folder / "masks").mkdir()
    mask.save(folder / "masks" / "left.png")
    Image.new("L", (9, 9), 255).save(folder / "masks" / "small.png")
    painted = "scene,exemplar,mask,seed,name\nscene.png,toy.png,left.png,5,\nscene.png,toy.png,small.png,,\n"
    (folder / "paint.csv").write_text(painted, encoding="utf-8")
    restored = "scene,edited,mask\nscene.png,edit.png,\nscene.png,edit.png,left.png\n"
    (folder / "restore.csv").write_text(restored, encoding="utf-8")
    return folder


def run(*words):
    return main([str(word) for word in words])


def test_painted_pairs_are_those_of_the_command_for_one(data, tmp_path):
    shared = ["--steps", 2, "--device", "cpu"]
    given = ["--pairs", data / "paint.csv", "--masks", data / "masks", "--output", tmp_path / "out"]
    assert run("paint", *given, *shared) == 1
    one = ["--scene", data / "scene.png", "--exemplar", data / "toy.png", "--mask", data / "masks" / "left.png"]
    assert run("paint", *one, "--seed", 5, "--output", tmp_path / "one.png", *shared) == 0
    many = Image.open(tmp_path / "out" / "scene__toy__left__5.png")
    assert many.tobytes() == Image.open(tmp_path / "one.png").tobytes()
    alone = json.loads(Image.open(tmp_path / "one.png").text[PNG_TEXT])
    del alone["command"]
    assert json.loads(many.text[PNG_TEXT]) == alone
    (row,) = map(json.loads, (tmp_path / "out" / "failures.jsonl").read_text("utf-8").splitlines())
    assert row["mask"] == "small.png" and "mask is 9x9 px, the scene 128x128 px" in row["reason"]


def test_restored_pairs_are_those_of_the_command_for_one(data, tmp_path):
    given = ["--pairs", data / "restore.csv", "--masks", data / "masks", "--output", tmp_path / "out"]
    assert run("restore", *given, "--workers", 2) == 0
    one = ["--scene", data / "scene.png", "--edited", data / "edit.png", "--output", tmp_path / "one.png"]
    assert run("restore", *one) == 0
    many = Image.open(tmp_path / "out" / "scene__edit.png")
    assert many.tobytes() == Image.open(tmp_path / "one.png").tobytes()
    record = json.loads(many.text[PNG_TEXT])
    assert set(record["sha256"]) == {"scene", "edited"} and record["settings"]["mask_use"] == "limit"
    assert record["report"]
    inside = np.zeros((128, 128), bool)
    inside[24:90, 32:60] = True
    limited = np.asarray(Image.open(tmp_path / "out" / "scene__edit__left.png"))
    changed = (limited != np.asarray(Image.open(data / "scene.png"))).any(2)
    assert changed.any() and not (changed & ~inside).any()


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (["paint", "--scene", "a.png"], 2, "One of --mask FILE and --box X Y WIDTH HEIGHT is needed"),
        (["paint", "--mask", "a.png"], 2, "--scene FILE is needed, or --pairs FILE for many pictures."),
        (
            ["paint", "--pairs", "pairs.csv"],
            1,
            "pairs.csv has a column 'edited' in its first line. A list of ",
        ),
        (["paint", "--pairs", "pairs.csv", "--exemplar", "a.png"], 2, "leave out --exemplar."),
        (["restore", "--scene", "a.png"], 2, "--edited FILE is needed, or --pairs FILE for many pictures."),
        (["restore", "--pairs", "pairs.csv", "--layer", "a.png"], 2, "leave out --layer."),
        (
            ["restore", "--pairs", "seeds.csv"],
            1,
            "seeds.csv has a column 'seed' in its first line. A list of ",
        ),
    ],
)
def test_what_cannot_be_run_is_said(tmp_path, monkeypatch, capsys, given, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.csv").write_text("scene,edited\na.png,x.png\n", encoding="utf-8")
    (tmp_path / "seeds.csv").write_text("scene,edited,seed\na.png,x.png,4\n", encoding="utf-8")
    assert run(*given, "--output", "out") == code
    assert message in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "out").exists()
