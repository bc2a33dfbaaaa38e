"""`--ray`: actors and the command are killed in a cluster of this machine; the pictures are those of one process."""

import os
import subprocess
import sys
import time

import psutil
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import _many
from visual_insertion_pack.pipelines.whole_files import PARTS
from visual_insertion_pack.tests.bad_commands import ROOT, TOYS

COUNT = 10
PATIENCE = 240  # seconds until a run counts as hanging


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    scene = Image.open(TOYS / "samples" / "scene.png").convert("RGB")
    for number in range(2):
        scene.rotate(90 * number).save(folder / f"room{number}.png")
    Image.open(TOYS / "samples" / "object.png").save(folder / "toy.png")
    rows = "".join(f"room{number % 2}.png,toy.png,{number}\n" for number in range(COUNT))
    (folder / "pairs.csv").write_text(f"scene,object,seed\n{rows}gone.png,toy.png,4\n", encoding="utf-8")
    return folder


def words(data, output, *more):
    given = ["insert", "--pairs", data / "pairs.csv", "--output", output, "--steps", 3, "--device", "cpu", *more]
    return [str(word) for word in given]


def pictures(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def wait_for(process, output, count):
    until = time.monotonic() + PATIENCE
    while len(pictures(output)) < count:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)


def actors(process):
    """The processes in which pictures are made now."""
    named = []
    for child in process.children(recursive=True):
        try:
            named.append((child, " ".join(child.cmdline())))
        except psutil.NoSuchProcess:
            continue
    return [child for child, line in named if line.startswith("ray::") and "MapWorker" in line]


@pytest.mark.skipif(os.name == "nt", reason="processes are killed by signals")
def test_killed_actors_and_commands_end_in_the_same_bytes(data, tmp_path):
    pytest.importorskip("ray")
    here = tmp_path / "here"
    assert main(words(data, here)) == 1, "one pair has no scene"
    expected = pictures(here)
    assert len(expected) == COUNT
    output = tmp_path / "out"
    command = [sys.executable, str(ROOT / "pipelines"), *words(data, output, "--ray", "--workers", 1)]
    run = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(run, output, 2)
    (actor,) = actors(run)
    actor.kill()
    wait_for(run, output, 4)
    assert [other.pid for other in actors(run)] != [actor.pid]
    family = run.children(recursive=True)
    run.kill()
    run.wait()
    _, left = psutil.wait_procs(family, timeout=PATIENCE)
    assert not left, "the cluster ends with the command"
    assert 4 <= len(pictures(output)) < COUNT and pictures(output).items() <= expected.items()
    again = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert again.returncode == 1 and f"1 of {COUNT + 1} pairs failed" in again.stderr, again.stderr
    assert pictures(output) == expected and not list(output.rglob(f"*{PARTS}"))
    assert "gone.png does not exist" in (output / "failures.jsonl").read_text("utf-8")


def test_without_ray_it_is_said_what_to_install(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_many, "find_spec", lambda name: None)
    assert main(words(data, tmp_path / "out", "--ray")) == 2
    assert "ray is not installed. Install the pack with its 'ray' extra." in capsys.readouterr().err
