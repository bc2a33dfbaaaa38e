"""Toy triplets go into folders of their own, and leave other data sets alone."""

import json

import pytest

from visual_insertion_pack.pipelines.__main__ import main


@pytest.mark.parametrize("boxes", [(), ("--boxes",)])
def test_another_data_set_is_not_written_over(tmp_path, capsys, boxes):
    train = tmp_path / "data" / "train"
    train.mkdir(parents=True)
    (train / "metadata.jsonl").write_text("mine")
    assert main(["toy-triplets", str(tmp_path / "data"), "--count", "2", *boxes]) == 1
    assert (
        "holds metadata.jsonl, which would be written over and is not of an earlier set of toy pictures"
        in capsys.readouterr().err
    )
    assert [path.read_text() for path in train.iterdir()] == ["mine"]


def test_a_set_of_toys_is_made_anew_where_it_was(tmp_path):
    folder = tmp_path / "toys"
    for count in ("3", "2"):
        assert main(["toy-triplets", str(folder), "--count", count, "--validation", "1", "--views", "1"]) == 0
    rows = [json.loads(line) for line in (folder / "train" / "metadata.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and all((folder / "train" / row["scene_file_name"]).is_file() for row in rows)
