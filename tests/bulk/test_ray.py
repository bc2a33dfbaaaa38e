"""`--ray`: actors and the command are killed in a cluster of this machine; the pictures are those of one process."""

import json
import os
import pickle
import subprocess
import sys
import time

import psutil
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.bulk import over_ray
from visual_insertion_pack.pipelines.bulk.over_ray import Maker, NotRead, RayActors, share
from visual_insertion_pack.pipelines.bulk.tasks import Task
from visual_insertion_pack.pipelines.commands import _many
from visual_insertion_pack.pipelines.whole_files import PARTS
from visual_insertion_pack.tests.bad_commands import ROOT, TOYS
from visual_insertion_pack.tests.bulk import toy_making

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


@pytest.mark.parametrize(
    ("workers", "fitting", "part"),
    [(None, 2, 1.0), (1, 2, 1.0), (2, 2, 1.0), (4, 1, 0.25), (4, 2, 0.5), (3, 2, 0.5), (3, 1, 0.3333), (7, 1, 0.1428)],
)
def test_workers_share_gpus_where_these_are_fewer(workers, fitting, part):
    assert share(workers, fitting) == part
    assert int(1 / share(workers, fitting)) * fitting >= (workers or fitting), "all of them fit on whole ones"


def tasks_of(folder, count):
    return [Task(f"p{n}", {}, n, folder / f"p{n}.png", {"scene": "s"}, n + 2) for n in range(count)]


def test_several_workers_are_there_at_once_on_one_gpu(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", json.dumps({"GPU": 1, "CPU": 2}))
    with RayActors("local", 3, True, tmp_path, toy_making.all_there_at_once, tmp_path, 3) as crew:
        ended = {task.name: reason for task, reason in crew.run(tasks_of(tmp_path, 3))}
    assert ended == {"p0": "", "p1": "", "p2": ""}


def test_what_ray_raises_is_said_with_what_to_do(tmp_path):
    pytest.importorskip("ray")
    crew = RayActors("local", 1, False, tmp_path, toy_making.saying_what_cannot_be_sent)
    with (
        crew,
        pytest.raises(
            RuntimeError,
            match=r"^Ray gave up \(.*: Attribute.* pickle .* run the command again: pictures .* are kept\.$",
        ),
    ):
        list(crew.run(tasks_of(tmp_path, 1)))


@pytest.mark.parametrize("damage", ["damaged", "of another version", "gone"])
def test_tasks_that_a_machine_cannot_read_are_a_problem_and_end_no_actor(tmp_path, monkeypatch, damage):
    def no_end(code):
        pytest.fail("the actor ended itself")

    monkeypatch.setattr(over_ray.os, "_exit", no_end)
    crew = RayActors("local", 1, False, tmp_path, toy_making.colouring, tmp_path)
    with crew:
        assert crew._write(tasks_of(tmp_path, 2)) == 2
        content = crew.tasks.read_bytes()
        if damage == "damaged":
            crew.tasks.write_bytes(content[:50])
        elif damage == "gone":
            crew.tasks.unlink()
        else:
            crew.tasks.write_bytes(content.replace(b"Task", b"Tusk"))
        maker = Maker(crew.work, str(crew.tasks), str(crew.places), 1)
        ended, problem = pickle.loads(maker({"id": 0})["ended"])
        assert ended == [] and isinstance(problem, NotRead)
        assert str(crew.tasks) in str(problem) and "have one version of the pack" in str(problem)
