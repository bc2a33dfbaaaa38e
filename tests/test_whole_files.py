"""Files that are whole or not there."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from visual_insertion_pack.pipelines.pictures.files import save_picture
from visual_insertion_pack.pipelines.weights.writing import save_tensors
from visual_insertion_pack.pipelines.whole_files import check_not_read, remove_parts, whole, write_text
from visual_insertion_pack.tests.small_disks import full_disk


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_takes_its_place_when_all_of_it_is_written(tmp_path):
    path = tmp_path / "shard.npz"
    path.write_bytes(b"before")
    with whole(path) as part:
        part.write_bytes(b"af")
        assert path.read_bytes() == b"before"
        assert not [other for other in tmp_path.glob("*.npz") if other != path]  # nobody takes it for a shard
        part.write_bytes(b"after")
    assert contents(tmp_path) == {"shard.npz": b"after"}


def test_an_output_that_is_read_is_refused_under_any_of_its_names(tmp_path):
    scene = tmp_path / "scene.png"
    scene.write_bytes(b"scene")
    (tmp_path / "link.png").symlink_to(scene)
    (tmp_path / "folder").mkdir()
    for name in ("scene.png", "folder/../scene.png", "link.png"):
        with pytest.raises(ValueError, match=f"{name} is a file that is read, and would be written over"):
            check_not_read([tmp_path / "new.png", tmp_path / name], [None, tmp_path / "gone.png", scene])
    (tmp_path / "other.png").write_bytes(b"scene")
    check_not_read([tmp_path / "new.png", tmp_path / "other.png"], [scene, tmp_path / "new.png"])
    (tmp_path / "folder" / "unet").mkdir()
    weights = tmp_path / "folder" / "unet" / "model.safetensors"
    check_not_read([weights, tmp_path / "other.png"], [tmp_path / "folder"])
    weights.write_bytes(b"weights")
    with pytest.raises(ValueError, match=r"model.safetensors is a file that is read"):
        check_not_read([weights], [tmp_path / "folder"])


@pytest.mark.parametrize("problem", [OSError("full"), ValueError("no"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_the_file_before_and_nothing_else(tmp_path, problem):
    (tmp_path / "a.txt").write_bytes(b"before")
    with pytest.raises(type(problem)), whole(tmp_path / "a.txt") as part:
        part.write_bytes(b"half")
        raise problem
    assert contents(tmp_path) == {"a.txt": b"before"}


def test_a_part_that_cannot_be_removed_does_not_hide_the_first_error(tmp_path):
    with pytest.raises(ValueError, match="the first"), whole(tmp_path / "a.txt") as part:
        part.unlink()
        part.mkdir()
        raise ValueError("the first")


def test_two_processes_that_write_one_file_do_not_mix(tmp_path, monkeypatch):
    with whole(tmp_path / "a.txt") as mine:
        mine.write_bytes(b"mine")
        monkeypatch.setattr("os.getpid", lambda: 1)
        write_text(tmp_path / "a.txt", "another's")
        assert (tmp_path / "a.txt").read_bytes() == b"another's"
    assert contents(tmp_path) == {"a.txt": b"mine"}


def test_what_killed_processes_left_is_removed_and_no_other_file(tmp_path):
    (tmp_path / "deep").mkdir()
    left = [tmp_path / "state.pt.123.part", tmp_path / "deep" / "000.parquet.7.part"]
    kept = [tmp_path / "film.iso.part", tmp_path / "state.pt", tmp_path / "7.parts"]
    for path in (*left, *kept):
        path.write_bytes(b"x")
    remove_parts(tmp_path)
    assert not any(path.exists() for path in left) and all(path.exists() for path in kept)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_weight_file_may_be_read_by_whom_the_umask_lets(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode


def test_the_same_weights_and_notes_are_the_same_bytes(tmp_path):
    tensors = {"b": torch.arange(3.0), "a": torch.zeros(2, 2)}
    notes = {f"note {number}": "öl" * number for number in range(9)}
    written = set()
    for _ in range(4):
        save_tensors(tmp_path / "a.safetensors", tensors, notes)
        written.add((tmp_path / "a.safetensors").read_bytes())
    assert len(written) == 1
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == notes
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items())


def test_a_full_disk_is_an_os_error_and_leaves_the_file_before(tmp_path):
    disk = tmp_path / "disk"
    with full_disk(disk, free=100_000) as make_room:
        save_tensors(disk / "a.safetensors", {"a": torch.zeros(10)})
        before = (disk / "a.safetensors").read_bytes()
        with pytest.raises(OSError, match="No space left on device"):
            save_tensors(disk / "a.safetensors", {"a": torch.zeros(1_000_000)})
        with pytest.raises(OSError, match="No space left on device"):
            write_text(disk / "b.txt", "x" * 1_000_000)
        assert contents(disk) == {"a.safetensors": before, "ballast": (disk / "ballast").read_bytes()}
        make_room()
        save_tensors(disk / "a.safetensors", {"a": torch.zeros(1_000_000)})
        assert load_file(disk / "a.safetensors")["a"].shape == (1_000_000,)


@pytest.mark.parametrize(("suffix", "format"), [(".png", "PNG"), (".JPG", "JPEG"), (".webp", "WEBP")])
def test_a_picture_has_the_format_of_its_name(tmp_path, suffix, format):
    save_picture(Image.fromarray(np.zeros((8, 8, 3), np.uint8)), tmp_path / f"picture{suffix}")
    (path,) = tmp_path.iterdir()
    assert path.suffix == suffix and Image.open(path).format == format
