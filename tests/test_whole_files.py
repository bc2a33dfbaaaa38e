"""Files that are whole or not there."""

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.pictures.files import save_picture
from visual_insertion_pack.pipelines.whole_files import whole, write_text


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


@pytest.mark.parametrize("problem", [OSError("full"), ValueError("no"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_the_file_before_and_nothing_else(tmp_path, problem):
    (tmp_path / "a.txt").write_bytes(b"before")
    with pytest.raises(type(problem)), whole(tmp_path / "a.txt") as part:
        part.write_bytes(b"half")
        raise problem
    assert contents(tmp_path) == {"a.txt": b"before"}


def test_a_part_that_cannot_be_removed_does_not_hide_the_first_error(tmp_path):
    (tmp_path / "a.txt.part").mkdir()
    with pytest.raises(ValueError, match="the first"), whole(tmp_path / "a.txt"):
        raise ValueError("the first")


def test_what_a_killed_process_left_is_written_over(tmp_path):
    (tmp_path / "a.txt.part").write_bytes(b"much more than the text")
    write_text(tmp_path / "a.txt", "a\nb\n")
    assert contents(tmp_path) == {"a.txt": b"a\nb\n"}


@pytest.mark.parametrize(("suffix", "format"), [(".png", "PNG"), (".JPG", "JPEG"), (".webp", "WEBP")])
def test_a_picture_has_the_format_of_its_name(tmp_path, suffix, format):
    save_picture(Image.fromarray(np.zeros((8, 8, 3), np.uint8)), tmp_path / f"picture{suffix}")
    (path,) = tmp_path.iterdir()
    assert path.suffix == suffix and Image.open(path).format == format
