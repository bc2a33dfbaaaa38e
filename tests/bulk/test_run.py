"""Runs over many pairs in real processes: each picture once, whatever is killed, and failures as rows."""

import json
import multiprocessing
import os
import signal
from functools import partial

import pytest
from PIL import Image

from visual_insertion_pack.pipelines.bulk import workers
from visual_insertion_pack.pipelines.bulk.pairs import Columns
from visual_insertion_pack.pipelines.bulk.run import Many, Missing, check_list, make_many
from visual_insertion_pack.pipelines.bulk.servers import WorkerThread
from visual_insertion_pack.pipelines.bulk.workers import Workers, processes
from visual_insertion_pack.pipelines.whole_files import PARTS
from visual_insertion_pack.tests.bulk import toy_making

pytestmark = pytest.mark.skipif(os.name == "nt", reason="processes are killed by signals")


class Runs:
    """Runs over lists of pairs in a folder, made by `toy_making`."""

    def __init__(self, folder):
        self.folder = folder
        self.many = Many(folder / "pairs.csv", Columns(), dict.fromkeys(("scene", "object"), folder), folder / "out")
        self.told = []
        self.progress = []

    def run(self, scenes, opening=toy_making.colouring, *arguments, workers=2, settings=None, told=None):
        rows = "".join(f"{scene},x,{scene.partition(':')[0]}\n" for scene in scenes)
        self.many.pairs.write_text("scene,object,name\n" + rows, encoding="utf-8")
        self.told.clear()
        self.progress.clear()
        return make_many(
            self.many,
            check_list(self.many),
            settings or {"size": 8},
            processes(workers, opening, self.folder, *arguments),
            progress=lambda *counts: self.progress.append(counts),
            told=told or self.told.append,
        )

    def pictures(self):
        return {path.relative_to(self.many.folder).as_posix(): path.read_bytes() for path in self.paths("*.png")}

    def paths(self, pattern):
        return sorted(self.many.folder.rglob(pattern))

    def failures(self):
        path = self.many.folder / "failures.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def begun(self):
        return toy_making.begun(self.folder)


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path)


NAMES = [f"p{number}" for number in range(12)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The pictures of NAMES by one process that nobody disturbs."""
    runs = Runs(tmp_path_factory.mktemp("undisturbed"))
    done = runs.run(NAMES, workers=1)
    assert (done.there, done.made, done.failed) == (0, 12, 0) and runs.begun() == NAMES
    assert runs.progress == [(number, 12) for number in range(13)]
    return runs.pictures()


def test_the_number_of_workers_and_the_order_of_the_list_change_no_byte(runs, undisturbed):
    runs.run(NAMES[::-1], workers=3)
    assert runs.pictures() == undisturbed and len(set(undisturbed.values())) == 12
    assert sorted(runs.begun()) == sorted(NAMES)


def test_workers_that_are_killed_lose_nothing(runs, undisturbed):
    killed = []

    def progress(done, total):
        children = [child.pid for child in multiprocessing.active_children() if child.pid not in killed]
        if done in (2, 4, 6):  # the oldest: no process is killed three times while it opens, no pair twice
            killed.append(min(children))
            os.kill(killed[-1], signal.SIGKILL)

    runs.progress = type("Counts", (list,), {"append": lambda self, counts: progress(*counts)})()
    done = runs.run(NAMES, toy_making.colouring, 0.02)
    assert len(killed) == 3
    assert done.made == 12 and runs.pictures() == undisturbed and not runs.failures()
    assert not runs.paths(f"*{PARTS}")


def test_a_run_that_is_stopped_goes_on_where_it_was(runs, undisturbed):
    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    runs.progress = type("Counts", (list,), {"append": lambda self, counts: stop(*counts)})()
    with pytest.raises(KeyboardInterrupt):
        runs.run(NAMES, toy_making.colouring, 0.02)
    there = runs.pictures()
    assert 5 <= len(there) < 12 and there.items() <= undisturbed.items() and not runs.paths(f"*{PARTS}")
    runs.progress = []
    (runs.folder / "begun.txt").unlink()
    done = runs.run(NAMES)
    assert (done.there, done.made) == (len(there), 12 - len(there)) and runs.pictures() == undisturbed
    assert sorted(f"{name}.png" for name in runs.begun()) == sorted(undisturbed.keys() - there.keys())
    assert runs.progress[-1] == (12, 12)


def test_a_run_with_nothing_to_do_starts_no_process(runs, undisturbed):
    runs.run(NAMES[:2])
    (runs.folder / "begun.txt").unlink()
    done = runs.run(NAMES[:2], toy_making.failing_to_open)
    assert (done.there, done.made, done.failed) == (2, 0, 0) and not (runs.folder / "begun.txt").exists()
    assert runs.progress == [(0, 2), (2, 2)]


def test_further_pairs_go_on_and_other_pairs_or_settings_are_refused(runs):
    runs.run(NAMES[:3])
    assert runs.run(NAMES[:4]).there == 3
    before = runs.pictures()
    with pytest.raises(ValueError, match="is not the list that the pictures in .* are made from: its first 4 pairs"):
        runs.run(NAMES[1:6])
    with pytest.raises(ValueError, match="is not the list"):
        runs.run(NAMES[:3])
    with pytest.raises(ValueError, match=r"other settings \(size\), see .*made_with.json"):
        runs.run(NAMES[:6], settings={"size": 9})
    (runs.many.folder / "made_with.json").unlink()
    with pytest.raises(ValueError, match="unknown origin"):
        runs.run(NAMES[:6])
    assert runs.pictures() == before


def test_lines_that_come_while_a_run_goes_on_wait_for_the_next_one(runs):
    runs.run(NAMES[:1])
    runs.many.pairs.write_text("scene,object,name\np0,x,p0\np1,x,p1\n", encoding="utf-8")
    content = check_list(runs.many)
    with open(runs.many.pairs, "a", encoding="utf-8") as pairs:
        pairs.write("late,x,late\nlate,x,la")
    missing = Missing(runs.many, content.count)
    assert [task.name for task in missing] == ["p1"] and missing.there == 1


def test_a_folder_of_something_else_and_one_in_use_are_refused(runs):
    from filelock import FileLock

    runs.many.folder.mkdir()
    (runs.many.folder / "holiday.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match="holds holiday.png, which would be written over"):
        runs.run(NAMES)
    (runs.many.folder / "holiday.png").unlink()
    with FileLock(runs.many.folder / ".lock"), pytest.raises(OSError, match="Another process is writing into"):
        runs.run(NAMES)


def test_failures_are_rows_and_are_tried_again(runs, undisturbed):
    done = runs.run(["p0", "b:bad", "p2", "a:bad"], workers=1)
    assert (done.made, done.failed) == (2, 2) and set(runs.pictures()) == {"p0.png", "p2.png"}
    rows = [
        {"name": "b", "scene": "b:bad", "object": "x", "reason": "this scene is bad", "line": 3},
        {"name": "a", "scene": "a:bad", "object": "x", "reason": "this scene is bad", "line": 5},
    ]
    assert runs.failures() == rows
    assert runs.told == ["b: this scene is bad", "a: this scene is bad"]
    again = runs.run(["p0", "b:bad", "p2", "a:bad", "c:bad"])
    assert (again.there, again.made, again.failed) == (2, 0, 3)
    assert runs.failures() == [*rows, {**rows[0], "name": "c", "scene": "c:bad", "line": 6}]
    assert runs.begun().count("a") == 2


def test_failures_are_known_while_a_run_goes_on_and_after_a_torn_row(runs):
    seen = []
    runs.many.folder.mkdir()
    runs.run(["a:bad", "p1"], workers=1, told=lambda line: seen.append(runs.failures()))
    assert [[row["name"] for row in rows] for rows in seen] == [["a"]]
    with open(runs.many.folder / "failures.jsonl", "a", encoding="utf-8") as file:
        file.write('{"name": "b", "sc')  # killed here
    runs.run(["a:bad", "p1", "c:bad"])
    assert [row["name"] for row in runs.failures()] == ["a", "c"]
    (runs.many.folder / "a.png").write_bytes(b"mended")
    (runs.many.folder / "c.png").write_bytes(b"mended")
    assert runs.run(["a:bad", "p1", "c:bad"]).failed == 0
    assert not (runs.many.folder / "failures.jsonl").exists()


@pytest.mark.parametrize(
    ("ending", "reason"),
    [("kill", "A worker process was killed from outside"), ("damage", "CUDA error: an illegal memory access")],
)
def test_a_pair_that_ends_its_process_twice_is_given_up_alone(runs, ending, reason):
    scenes = ["p0", f"bad:{ending}", *NAMES[2:6]]
    done = runs.run(scenes)
    assert (done.made, done.failed) == (5, 1)
    (row,) = runs.failures()
    assert row["name"] == "bad" and row["reason"].startswith(f"Its worker process ended twice: {reason}")
    assert runs.begun().count("bad") == 2 and len(runs.begun()) == 7, "no other pair is begun again"


def test_a_pair_that_ends_its_process_once_is_made(runs):
    done = runs.run(["p0", "p1:kill once", "p2"], workers=1)
    assert (done.made, done.failed) == (3, 0) and runs.begun().count("p1") == 2


def test_a_picture_whose_process_is_killed_after_it_was_written_is_made(runs):
    done = runs.run(NAMES[:3], toy_making.killed_at_last, workers=1)
    assert (done.made, done.failed) == (3, 0) and len(runs.begun()) == 3


def test_a_machine_that_ends_every_process_ends_the_run(runs, monkeypatch):
    assert workers.ROW > 3
    monkeypatch.setattr(workers, "ROW", 3)
    with pytest.raises(RuntimeError, match="3 worker processes ended without a picture, the last one so: CUDA error"):
        runs.run([f"{name}:damage" for name in NAMES], workers=1)
    assert runs.begun() == NAMES[:3] and not runs.failures()
    done = runs.run([f"{name}:damage" for name in NAMES], toy_making.opened_on_a_sound_machine)
    assert (done.made, done.failed) == (12, 0)


@pytest.mark.parametrize("opening", [toy_making.ended_together, toy_making.killed_together_in_opening])
def test_one_outage_of_many_workers_ends_no_run(runs, opening):
    count = workers.ROW + 4
    names = [f"p{number}" for number in range(count)]
    runs.many.pairs.write_text("scene,object,name\n" + "".join(f"s,x,{name}\n" for name in names), encoding="utf-8")
    content = check_list(runs.many)
    crew = Workers([partial(WorkerThread, opening, runs.folder, count)] * count)
    done = make_many(runs.many, content, {"size": 8}, crew, told=runs.told.append)
    assert (done.made, done.failed) == (count, 0) and not runs.told


def test_a_worker_that_cannot_open_its_models_ends_the_run(runs):
    with pytest.raises(FileNotFoundError, match="nowhere/unet is missing"):
        runs.run(NAMES, toy_making.failing_to_open, workers=1)
    assert runs.begun() == ["opened"] and not runs.pictures()
    with pytest.raises(RuntimeError, match="3 worker processes were killed .* while they loaded the models"):
        runs.run(NAMES, toy_making.killed_in_opening, workers=1)
    assert runs.begun() == ["opened"] * 4 and not runs.failures()


def test_a_full_disk_ends_the_run_and_is_no_failure_of_a_pair(runs, undisturbed):
    pytest.importorskip("resource")
    with pytest.raises(OSError, match=r"p0.png could not be written .*Free some space there"):
        runs.run(NAMES, toy_making.full_disk, workers=1)
    assert not runs.pictures() and not runs.failures() and not runs.paths(f"*{PARTS}")
    runs.run(NAMES)
    assert runs.pictures() == undisturbed


def test_halves_that_a_killed_run_left_are_removed(runs, undisturbed):
    runs.run(NAMES[:1])
    (runs.many.folder / f"p1.png.99999{PARTS}").write_bytes(Image.new("RGB", (8, 8)).tobytes())
    runs.run(NAMES)
    assert not runs.paths(f"*{PARTS}") and runs.pictures() == undisturbed


def test_no_process_outlives_its_run(runs):
    def stop(line):
        assert len(multiprocessing.active_children()) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run(["a:bad", "long:sleep", *NAMES], told=stop)
    assert not multiprocessing.active_children() and not runs.pictures()
