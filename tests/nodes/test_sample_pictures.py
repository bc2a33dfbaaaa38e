"""The samples in the input folder: put there once, whole, and never over anything."""

import errno
import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = {path.name: path.read_bytes() for path in (ROOT / "playroom_models" / "samples").glob("*.[jp][pn]g")}
COPIES = {f"visual_insertion_{name}": data for name, data in SAMPLES.items()}


@pytest.fixture
def input_folder(comfy, tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    (tmp_path / "input").mkdir()
    return tmp_path / "input"


@pytest.fixture
def offer(comfy):
    """What every start of the host does."""
    from visual_insertion_pack.nodes.sample_pictures import offer_samples

    return offer_samples


def pictures(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_every_sample_is_put_there(input_folder, offer):
    offer()
    assert pictures(input_folder) == COPIES


def test_a_picture_of_the_same_name_stays(input_folder, offer):
    own = input_folder / "visual_insertion_scene.png"
    own.write_bytes(b"mine")
    offer()
    assert pictures(input_folder) == COPIES | {own.name: b"mine"}


def test_what_was_deleted_stays_away(input_folder, offer):
    offer()
    for name in ("scene", "object"):
        (input_folder / f"visual_insertion_{name}.png").unlink()
    before = pictures(input_folder)
    offer()
    assert len(before) == len(COPIES) - 2
    assert pictures(input_folder) == before


def test_a_sample_that_is_new_comes_to_those_that_were_there(input_folder, offer, tmp_path, monkeypatch):
    from visual_insertion_pack.nodes import sample_pictures

    offer()
    shutil.rmtree(input_folder)
    input_folder.mkdir()
    (input_folder / ".visual_insertion_samples").write_text("scene.png\nof_another_version.png\n", "utf-8")
    (tmp_path / "samples").mkdir()
    for name in ("scene.png", "new.png"):
        (tmp_path / "samples" / name).write_bytes(b"sample")
    monkeypatch.setattr(sample_pictures, "SAMPLES", tmp_path / "samples")
    for _ in range(2):
        offer()
        assert pictures(input_folder) == {"visual_insertion_new.png": b"sample"}
    names = (input_folder / ".visual_insertion_samples").read_text("utf-8").split()
    assert names == ["new.png", "of_another_version.png", "scene.png"]


def test_each_input_folder_gets_them(input_folder, offer, tmp_path, monkeypatch):
    import folder_paths

    offer()
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "other"))
    offer()
    assert pictures(tmp_path / "other") == COPIES


def test_a_disk_that_was_full_leaves_no_cut_picture(input_folder, offer, monkeypatch, caplog):
    def half(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(shutil, "copyfile", half)
        offer()
    assert "cannot be put into the input folder: " in caplog.text and "[Errno 28]" in caplog.text
    assert list(input_folder.iterdir()) == []
    offer()
    assert pictures(input_folder) == COPIES


def test_a_link_that_leads_nowhere_is_not_followed(input_folder, offer, tmp_path):
    link = input_folder / "visual_insertion_scene.png"
    try:
        link.symlink_to(tmp_path / "outside.png")
    except OSError as error:
        pytest.skip(f"no symbolic links here: {error}")
    offer()
    assert link.is_symlink() and not os.path.lexists(tmp_path / "outside.png")


def test_an_input_folder_that_cannot_be_written_is_reported(input_folder, offer, caplog):
    input_folder.rmdir()
    offer()
    assert "cannot be put into the input folder" in caplog.text
    assert str(input_folder) in caplog.text


def test_a_full_input_folder_that_cannot_be_written_is_no_matter(input_folder, offer, monkeypatch, caplog):
    from visual_insertion_pack.nodes import sample_pictures

    def read_only(path, text):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    offer()
    (input_folder / ".visual_insertion_samples").unlink()
    monkeypatch.setattr(sample_pictures, "write_text", read_only)
    offer()
    assert caplog.text == ""
    assert pictures(input_folder) == COPIES
