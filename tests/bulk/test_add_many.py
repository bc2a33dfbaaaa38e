"""`add --pairs`: the pictures of the command for one, and lines that say what is no prompt."""

import json

import pytest
from PIL import Image

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.provenance import PNG_TEXT
from visual_insertion_pack.tests.bad_commands import TOYS

PROMPT = "a room with a table and a plain red ball on the table"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    Image.open(TOYS / "samples" / "scene.png").convert("RGB").save(folder / "room.png")
    rows = [
        {"scene": "room.png", "prompt": PROMPT, "subject": "red ball", "scene_prompt": "a room", "seed": 4},
        {"scene": "room.png", "prompt": PROMPT, "subject": "blue mug", "name": "none"},
    ]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def run(*words):
    return main([str(word) for word in words])


def failures(folder):
    return [json.loads(line) for line in (folder / "failures.jsonl").read_text("utf-8").splitlines()]


def test_added_pairs_are_those_of_the_command_for_one(data, tmp_path):
    shared = ["--steps", 2, "--device", "cpu"]
    assert run("add", "--pairs", data / "pairs.jsonl", "--output", tmp_path / "out", *shared) == 1
    words = ["--prompt", PROMPT, "--subject", "red ball", "--scene-prompt", "a room", "--seed", 4]
    assert run("add", "--scene", data / "room.png", "--output", tmp_path / "one.png", *words, *shared) == 0
    many = Image.open(tmp_path / "out" / "room__red_ball__4.png")
    assert many.tobytes() == Image.open(tmp_path / "one.png").tobytes()
    assert many.tobytes() != Image.open(data / "room.png").tobytes()
    alone = json.loads(Image.open(tmp_path / "one.png").text[PNG_TEXT])
    del alone["command"]
    assert json.loads(many.text[PNG_TEXT]) == alone
    (row,) = failures(tmp_path / "out")
    assert row["subject"] == "blue mug" and "“blue mug” is not in the prompt" in row["reason"]


def test_a_server_adds_by_the_lines_words(server, data, tmp_path):
    given = ["--steps", 2, "--output", tmp_path / "out", "--servers", server.url]
    assert run("add", "--pairs", data / "pairs.jsonl", *given) == 1
    made = Image.open(tmp_path / "out" / "room__red_ball__4.png")
    assert json.loads(made.text[PNG_TEXT])["settings"]["subject"] == "red ball"
    (row,) = failures(tmp_path / "out")
    assert "AddItSampler (node 3): " in row["reason"] and "“blue mug” is not in the prompt" in row["reason"]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (["--scene", "a.png"], 2, "--prompt TEXT and --subject TEXT are needed"),
        (["--prompt", "a", "--subject", "b"], 2, "--scene FILE is needed, or --pairs FILE for many pictures."),
        (["--pairs", "pairs.csv", "--prompt", "a"], 2, "leave out --prompt."),
        (["--pairs", "pairs.csv"], 1, "pairs.csv has no column 'subject' in its first line."),
        (["--pairs", "empty.csv"], 1, "empty.csv, line 2 is no pair: 'subject' must be a text."),
        (["--pairs", "pairs.csv", "--servers", "http://a:1", "--gamma", "1.1"], 2, "leave out --gamma."),
    ],
)
def test_what_cannot_be_run_is_said(tmp_path, monkeypatch, capsys, given, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.csv").write_text("scene,prompt\na.png,x\n", encoding="utf-8")
    (tmp_path / "empty.csv").write_text("scene,prompt,subject\na.png,x,\n", encoding="utf-8")
    assert run("add", *given, "--output", "out") == code
    assert message in capsys.readouterr().err.splitlines()[-1]
