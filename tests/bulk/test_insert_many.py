"""`insert --pairs` with the toy models: killed and run again, it ends in the bytes of a run that nobody disturbed."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.provenance import PNG_TEXT
from visual_insertion_pack.pipelines.weights.manifest import sha256_of
from visual_insertion_pack.pipelines.whole_files import PARTS
from visual_insertion_pack.tests.bad_commands import ROOT, TOYS

COUNT = 12
PATIENCE = 120  # seconds until a run counts as hanging


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Scenes of several sizes, two objects, and a list of twelve pairs."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("scenes", "objects"):
        (folder / name).mkdir()
    scene = Image.open(TOYS / "samples" / "scene.png").convert("RGB")
    for number in range(5):
        scene.rotate(90 * number).crop((0, 0, 64 + 8 * number, 61)).save(folder / "scenes" / f"room{number}.png")
    thing = Image.open(TOYS / "samples" / "object.png")
    thing.save(folder / "objects" / "toy.png")
    thing.rotate(180).save(folder / "objects" / "turned.png")
    rows = [f"room{number}.png,{name}.png,,\n" for number in range(5) for name in ("toy", "turned")]
    rows += ["room0.png,toy.png,7,\n", "room1.png,toy.png,7,more/seventh\n"]
    (folder / "pairs.csv").write_text("scene,object,seed,name\n" + "".join(rows), encoding="utf-8")
    return folder


def words(data, output, *more):
    folders = ["--scenes", data / "scenes", "--objects", data / "objects", "--output", output]
    given = ["--pairs", data / "pairs.csv", *folders, "--steps", 3, "--device", "cpu", *more]
    return ["insert", *map(str, given)]


def pictures(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """The folder of one worker that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main(words(data, folder)) == 0
    assert len(pictures(folder)) == COUNT
    return folder


class Command:
    """The command in a process of its own, on which signals fall when so many pictures are there."""

    def __init__(self, data, output, *more):
        command = [sys.executable, str(ROOT / "pipelines"), *words(data, output, *more)]
        self.output = output
        self.process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def wait_for(self, count, pattern="*.png"):
        until = time.monotonic() + PATIENCE
        while len(list(self.output.rglob(pattern))) < count:
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.002)

    def workers(self):
        children = self.process.children()
        return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]

    def kill(self):
        """Kill the command, and wait until its workers have gone as well."""
        workers = self.workers()
        self.process.kill()
        _, left = psutil.wait_procs([*workers, self.process], timeout=PATIENCE)
        assert not left


@pytest.mark.skipif(os.name == "nt", reason="processes are killed by signals")
def test_killed_workers_and_commands_end_in_the_same_bytes(data, undisturbed, tmp_path):
    output = tmp_path / "out"
    first = Command(data, output)
    first.wait_for(1, "pairs.json")
    first.kill()  # before a picture
    assert not pictures(output)
    second = Command(data, output, "--workers", "2")
    second.wait_for(2)
    second.workers()[0].kill()
    second.wait_for(5)
    second.kill()
    expected = pictures(undisturbed)
    there = pictures(output)
    assert 5 <= len(there) < COUNT and there.items() <= expected.items()
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*.png")}
    assert main(words(data, output, "--workers", "2")) == 0
    assert pictures(output) == expected
    assert all(path.stat().st_mtime_ns == before for path, before in times.items()), "what was there is made once"
    assert not list(output.rglob(f"*{PARTS}")) and not (output / "failures.jsonl").exists()


def test_a_pairs_picture_is_that_of_the_command_for_one(data, undisturbed, tmp_path):
    one = tmp_path / "one.png"
    given = ["--scene", data / "scenes" / "room1.png", "--object", data / "objects" / "toy.png", "--output", one]
    assert main([str(word) for word in ["insert", *given, "--steps", 3, "--seed", 7, "--device", "cpu"]]) == 0
    many = Image.open(undisturbed / "more" / "seventh.png")
    assert many.tobytes() == Image.open(one).tobytes()
    alone = json.loads(Image.open(one).text[PNG_TEXT])
    del alone["command"]  # that of many says how many workers there were, which changes no picture
    assert json.loads(many.text[PNG_TEXT]) == alone


def test_a_picture_says_what_made_it_and_the_folder_what_made_all(data, undisturbed):
    record = json.loads(Image.open(undisturbed / "room3__turned.png").text[PNG_TEXT])
    assert record["sha256"]["scene"] == {"room3.png": sha256_of(data / "scenes" / "room3.png")}
    assert record["sha256"]["object"] == {"turned.png": sha256_of(data / "objects" / "turned.png")}
    assert record["licences"] == {"models": "apache-2.0", "embedding_optimizer": "Apache-2.0"}
    assert record["settings"]["steps"] == 3 and 0 <= record["settings"]["seed"] < 2**32
    whole = json.loads((undisturbed / "made_with.json").read_text("utf-8"))
    assert whole["weights"] == {name: record["sha256"][name] for name in ("models", "embedding_optimizer")}
    assert (whole["seed"], whole["steps"], whole["device"]) == (0, 3, "cpu")


def test_pictures_that_cannot_be_made_are_rows_and_the_others_are_there(data, undisturbed, tmp_path, capsys):
    (tmp_path / "scenes").mkdir()
    for path in (data / "scenes").iterdir():
        (tmp_path / "scenes" / path.name).write_bytes(path.read_bytes())
    torn = tmp_path / "scenes" / "room1.png"
    torn.write_bytes(torn.read_bytes()[:200])
    listed = tmp_path / "pairs.jsonl"
    pairs = [("room0.png", "toy.png"), ("gone.png", "toy.png"), ("room1.png", "toy.png"), ("room2.png", "toy.png")]
    lines = [json.dumps({"scene": scene, "object": thing}) for scene, thing in pairs]
    listed.write_text("\n".join(lines), encoding="utf-8")
    given = words(data, tmp_path / "out", "--pairs", listed, "--scenes", tmp_path / "scenes")
    assert main(given) == 1
    said = capsys.readouterr()
    assert f"2 of 4 pairs failed; why is in {tmp_path / 'out' / 'failures.jsonl'}" in said.err
    assert "2 pictures made" in said.out
    rows = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text("utf-8").splitlines()]
    assert [row["name"] for row in rows] == ["gone__toy", "room1__toy"]
    assert "gone.png does not exist" in rows[0]["reason"] and "is not a readable picture" in rows[1]["reason"]
    made, expected = pictures(tmp_path / "out"), pictures(undisturbed)
    assert made == {name: expected[name] for name in ("room0__toy.png", "room2__toy.png")}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--steps", "4"], "were made with other settings (steps), see"),
        (["--seed", "1"], "were made with other settings (seed), see"),
        (["--no-restore"], "were made with other settings (no_restore), see"),
        (["--object-scale", "2"], "were made with other settings (object_scale), see"),
        (["--unet-patch", "none"], "were made with other settings (weights), see"),
    ],
)
def test_a_folder_holds_pictures_of_one_origin(data, undisturbed, capsys, more, message):
    before = pictures(undisturbed)
    assert main(words(data, undisturbed, *more)) == 1
    assert message in capsys.readouterr().err and pictures(undisturbed) == before
    assert main(words(data, undisturbed, "--workers", "3")) == 0, "the number of workers is no setting"
    assert f"0 pictures made in {undisturbed}, {COUNT} were there" in capsys.readouterr().out


PAIRS = ["--pairs", "pairs.csv"]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ([], 2, "--scene FILE is needed, or --pairs FILE for many pictures."),
        ([*PAIRS, "--scene", "a.png"], 2, "--pairs names what many pictures are made of: leave out --scene."),
        ([*PAIRS, "--object", "a.png"], 2, "--pairs names what many pictures are made of: leave out --object."),
        ([*PAIRS, "--learned", "a"], 2, "--pairs names what many pictures are made of: leave out --learned."),
        ([*PAIRS, "--mask", "a.png"], 2, "--pairs names what many pictures are made of: leave out --mask."),
        ([*PAIRS, "--box", "0", "0", "9", "9"], 2, "--pairs names what many pictures are made of: leave out --box."),
        (["--scene", "a.png", "--scenes", "a"], 2, "Without --pairs one picture is made: leave out --scenes."),
        (["--scene", "a.png", "--workers", "2"], 2, "Without --pairs one picture is made: leave out --workers."),
        ([*PAIRS, "--workers", "0"], 2, "--workers must be at least 1."),
        ([*PAIRS, "--device", "abacus"], 1, "--device abacus cannot be used here"),
        ([*PAIRS, "--models", "nowhere"], 2, "nowhere"),
        (["--pairs", "nowhere.csv"], 2, "nowhere.csv is not a file."),
        (["--pairs", "twice.csv"], 1, "twice.csv, line 3 would make the same file as line 2: a__x.png."),
        ([*PAIRS, "--output", "pairs.csv"], 1, "pairs.csv is a file; a folder is needed."),
        ([*PAIRS, "--output", "pairs.csv/out"], 1, "pairs.csv"),
        ([*PAIRS, "--output", "."], 1, "holds pairs.csv, which would be written over"),
    ],
)
def test_what_cannot_be_run_is_said_before_a_picture_is_read(tmp_path, monkeypatch, capsys, given, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.csv").write_text("scene,object\na.png,x.png\n", encoding="utf-8")
    (tmp_path / "twice.csv").write_text("scene,object\na.png,x.png\na.png,x.png\n", encoding="utf-8")
    output = [] if "--output" in given else ["--output", "out"]
    assert main(["insert", *output, "--device", "cpu", *given]) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.png")) and not list(tmp_path.rglob("failures.jsonl"))
