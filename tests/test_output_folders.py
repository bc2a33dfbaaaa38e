"""Folders that users name: what is there and is not ours stays, whatever we are told to do."""

import os
import subprocess
import sys
import time

import pytest

from visual_insertion_pack.pipelines.output_folders import MARK, claim, locked, whole_folder


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_new_or_empty_folder_becomes_ours_and_stays_so(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new" / "one", tmp_path / "empty"):
        claim(folder, "report")
        (folder / "index.html").write_text("ours")
        claim(folder, "report")
        assert (folder / MARK).is_file()


def test_half_a_mark_that_a_killed_process_left_is_in_nobodys_way(tmp_path):
    (tmp_path / f"{MARK}.123.part").write_text("{")
    claim(tmp_path, "data set")
    assert (tmp_path / MARK).is_file()


def test_a_folder_with_what_would_be_written_over_is_refused_and_not_touched(tmp_path):
    (tmp_path / "index.html").write_text("a page of mine")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds index.html, which would be written over.* nothing was changed"):
        claim(tmp_path, "report", ("index.html", "report.json"))
    assert contents(tmp_path) == before


def test_other_files_are_in_nobodys_way_unless_any_would_be(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt"):
        claim(tmp_path, "data set")
    claim(tmp_path, "report", ("index.html",))


def test_a_folder_of_another_kind_of_ours_and_a_damaged_mark_are_refused(tmp_path):
    claim(tmp_path / "run", "training run")
    with pytest.raises(ValueError, match="is the folder of a training run"):
        claim(tmp_path / "run", "report")
    for damage in ("", "[]", "{", '{"kin": 1}'):
        (tmp_path / "run" / MARK).write_text(damage)
        with pytest.raises(ValueError, match="is damaged"):
            claim(tmp_path / "run", "training run")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; a folder is needed"):
        claim(tmp_path / "file", "report")


HOLDER = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_there_is_one_writer_and_a_killed_one_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(OSError, match="Another process is writing into"), locked(tmp_path):
        pass
    other.kill()
    other.wait()
    with locked(tmp_path, patience=10):
        pass


def test_a_folder_is_replaced_in_one_go_and_files_of_others_in_the_old_one_stay(tmp_path):
    folder = tmp_path / "model"
    for version in ("one", "two"):
        with whole_folder(folder) as part:
            (part / "unet").mkdir()
            (part / "unet" / "weights").write_text(version)
            assert part.parent == folder.parent
    assert contents(tmp_path) == {"model/unet/weights": b"two"}
    (folder / "my_notes.txt").write_text("mine")
    with whole_folder(folder) as part:
        (part / "unet").mkdir()
        (part / "unet" / "weights").write_text("three")
    assert contents(tmp_path) == {
        "model/unet/weights": b"three",
        "model.before-1/unet/weights": b"two",
        "model.before-1/my_notes.txt": b"mine",
    }


def test_a_folder_that_was_not_finished_leaves_the_one_before(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("before")
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "model") as part:
        (part / "weights").write_text("half")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"model/weights": b"before"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_files_of_a_folder_may_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        with whole_folder(tmp_path / "model") as part:
            (part / "weights").write_text("x")
            (part / "weights").chmod(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "model" / "weights").stat().st_mode & 0o777 == 0o640


def test_waiting_for_the_other_writer_works(tmp_path):
    command = [sys.executable, "-c", HOLDER.replace("60", "1"), str(tmp_path / ".lock")]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    begun = time.monotonic()
    with locked(tmp_path, patience=60):
        assert time.monotonic() > begun
    other.wait()
