"""Building data sets of triplets from parquet with PIPE's columns, made here with all their faults."""

import io
import json
import os
import shutil
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.exceptions import DataFilesNotFoundError
from PIL import Image

from visual_insertion_pack.benchmarks import bench_builder
from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import build_dataset
from visual_insertion_pack.pipelines.pictures import objects as object_picture
from visual_insertion_pack.pipelines.pictures.opening import FORMATS
from visual_insertion_pack.pipelines.triplets import build
from visual_insertion_pack.pipelines.triplets import folder as triplet_folder
from visual_insertion_pack.pipelines.triplets import sources as sources_module
from visual_insertion_pack.pipelines.triplets.plan import make_plan
from visual_insertion_pack.pipelines.triplets.row import (
    MIN_PIXELS,
    RowError,
    cut_released,
    cut_with_mask,
    in_validation,
)
from visual_insertion_pack.pipelines.triplets.settings import BACKGROUNDS, BuildSettings
from visual_insertion_pack.pipelines.triplets.sources import look
from visual_insertion_pack.pipelines.triplets.threads import Threads

ROOT = Path(__file__).resolve().parents[2]
FIRST = 40  # number of the first row of `sources`


@pytest.fixture
def run(capsys):
    """run(*arguments): (exit code, stdout, stderr) of the command."""

    def call(*arguments):
        code = main(["build-dataset", *map(str, arguments)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """60 sound rows in two files of each side, three row groups each; one of their pictures is held out."""
    folder = tmp_path_factory.mktemp("sources")
    rows, masks = zip(*(bench_builder.make_row(number, 64) for number in range(FIRST, FIRST + 60)), strict=True)
    for file, part in enumerate((slice(0, 30), slice(30, 60))):
        bench_builder.write_parquet(folder / "PIPE" / "data" / f"train-{file}.parquet", list(rows[part]), group=10)
        bench_builder.write_parquet(
            folder / "PIPE_Masks" / "data" / f"train-{file}.parquet", list(masks[part]), group=10
        )
    return folder / "PIPE", folder / "PIPE_Masks"


def table(folder):
    """All rows of a data set by id."""
    rows = [row for path in sorted(folder.glob("*/*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def picture(stored):
    return np.asarray(Image.open(io.BytesIO(stored["bytes"])))


def bad_rows(folder):
    return [json.loads(line) for line in (folder / "bad_rows.jsonl").read_text("utf-8").splitlines()]


def page_of_pictures(path):
    """Where in a parquet file its pictures begin."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = (group.column(number) for number in range(group.num_columns))
    return next(column.data_page_offset for column in columns if column.path_in_schema.endswith(".bytes"))


def write_pair(folder, rows, masks):
    bench_builder.write_parquet(folder / "rows.parquet", rows, group=7)
    bench_builder.write_parquet(folder / "masks.parquet", masks, group=4)
    return folder / "rows.parquet", folder / "masks.parquet"


# join


def test_rows_find_their_masks_whatever_the_order(run, tmp_path):
    sides = [bench_builder.make_row(number, 64) for number in range(24)]  # two of each img_id
    rows, masks = [row for row, _ in sides], [mask for _, mask in sides]
    shuffled = [masks[place] for place in np.random.default_rng(0).permutation(24)]
    code, _, err = run(
        *write_pair(tmp_path, rows, shuffled)[:1], tmp_path / "out", "--masks", tmp_path / "masks.parquet"
    )
    assert code == 0, err
    built = table(tmp_path / "out")
    assert list(built) == [f"{number // 2:08}:{number}" for number in range(24)]
    for number, row in enumerate(built.values()):
        expected = np.asarray(Image.open(io.BytesIO(masks[number]["mask"]["bytes"])))[:, ::2]  # half as wide
        assert np.array_equal(picture(row["mask"]), expected)
        left, top, right, bottom = row["box"]
        assert expected.sum() == 255 * (right - left) * (bottom - top)
        assert (row["source_file"], row["source_row"]) == ("rows.parquet", number)
        assert row["Instruction_Class"] == rows[number]["Instruction_Class"]
        for ours, theirs in (("scene", "source_img"), ("target", "target_img")):
            assert row[ours] == rows[number][theirs]  # to the bit


def test_numbers_for_keys_join_with_text(run, tmp_path):
    row, mask = bench_builder.make_row(0, 64)
    rows, masks = [{**row, "img_id": 7, "ann_id": 12}], [{**mask, "img_id": "7", "ann_id": "12"}]
    source, partner = write_pair(tmp_path, rows, masks)
    code, _, err = run(source, tmp_path / "out", "--masks", partner)
    assert code == 0, err
    assert list(table(tmp_path / "out")) == ["7:12"]


def test_bad_rows_are_counted_and_named(run, tmp_path):
    (rows, masks) = map(list, zip(*(bench_builder.make_row(number, 64) for number in range(10)), strict=True))
    half = rows[0]["target_img"]["bytes"]
    rows[0] = {**rows[0], "target_img": {"bytes": half[: len(half) // 2], "path": None}}
    rows[1] = {**rows[1], "source_img": {"bytes": b"", "path": None}}
    masks[2] = {**masks[2], "mask": bench_builder.stored(np.zeros((64, 80), np.uint8), "PNG")}
    masks[3] = {**masks[3], "mask": {"bytes": b"not a picture", "path": None}}
    masks[4] = {**masks[4], "ann_id": "other"}
    rows[5] = {**rows[5], "source_img": bench_builder.stored(np.zeros((32, 64, 3), np.uint8), "PNG")}
    rows[6] = {**rows[6], "ann_id": None}
    rows.append({**rows[9], "Instruction_Class": "add a second one"})
    masks.append({**masks[8], "mask": masks[9]["mask"]})
    masks.append({**masks[8], "img_id": None})
    source, partner = write_pair(tmp_path, rows, masks)
    code, out, err = run(source, tmp_path / "out", "--masks", partner, "--validation", "0")
    assert code == 0, err
    assert set(table(tmp_path / "out")) == {"00000003:7", "00000004:8", "00000004:9"}
    found = {(row["side"], row["row"]): (row["id"], row["reason"]) for row in bad_rows(tmp_path / "out")}
    assert found == {
        ("rows", 0): ("00000000:0", "unreadable target"),
        ("rows", 1): ("00000000:1", "no scene"),
        ("rows", 2): ("00000001:2", "empty mask"),
        ("rows", 3): ("00000001:3", "unreadable mask"),
        ("rows", 4): ("00000002:4", "no mask"),
        ("rows", 5): ("00000002:5", "scene and target differ in size"),
        ("rows", 6): ("00000003:?", "no ann_id"),
        ("rows", 10): ("00000004:9", "second row of this key"),
        ("masks", 4): ("00000002:other", "mask of no row"),
        ("masks", 6): ("00000003:6", "mask of no row"),
        ("masks", 10): ("00000004:8", "second mask of this key, not used"),
        ("masks", 11): ("?:8", "mask without a key"),
    }
    statistics = json.loads((tmp_path / "out" / "statistics.json").read_text("utf-8"))
    assert statistics["rows"] == 11 and statistics["kept"] == {"train": 3}
    assert sum(statistics["dropped"].values()) == 8 and statistics["masks"]["mask of no row"] == 2
    assert statistics["class"] == {"add a dog": 1, "add a kite": 1, "add a red chair": 1}
    assert statistics["object_side"] == {"16-32": 3} and statistics["picture_size"] == {"64x64": 3}
    assert "1 unreadable target" in out and "2 mask of no row" in out
    with Image.open(tmp_path / "out" / "contact_sheet.jpg") as sheet:
        assert sheet.width > 1000 and np.asarray(sheet).std() > 20
    first = picture(table(tmp_path / "out")["00000004:8"]["mask"])  # of two masks of a key the first is used
    assert np.array_equal(first, np.asarray(Image.open(io.BytesIO(masks[8]["mask"]["bytes"])))[:, ::2])


def jpeg_with_exif(*entries):
    """A stored JPEG whose EXIF has these entries: tag, type, count, four bytes of value."""
    packed = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    exif = b"Exif\0\0" + struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + packed + bytes(4)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG", exif=exif)
    return {"bytes": buffer.getvalue(), "path": None}


def test_pictures_that_pillow_fails_on_in_other_ways_are_named_too(run, tmp_path):
    (rows, masks) = map(list, zip(*(bench_builder.make_row(number, 64) for number in range(4)), strict=True))
    turned = (0x112, 3, 1, b"\6")
    broken = [
        jpeg_with_exif(turned, (0x128, 2, 4, b"abc")),  # ResolutionUnit as text: struct.error
        jpeg_with_exif(turned, (0x11A, 2, 4, b"abc")),  # XResolution as text: TypeError
        {"bytes": b"not a picture", "path": None},
    ]
    for number, stored in enumerate(broken):
        rows[number] = {**rows[number], "source_img": stored}
    source, partner = write_pair(tmp_path, rows, masks)
    code, _, err = run(source, tmp_path / "out", "--masks", partner)
    assert code == 0, err
    assert list(table(tmp_path / "out")) == ["00000001:3"]
    found = bad_rows(tmp_path / "out")
    assert [(row["row"], row["reason"]) for row in found] == [(row, "unreadable scene") for row in range(3)]
    assert found[2]["detail"] == f"it is none of {', '.join(FORMATS)}, or damaged"  # no address: it is the same again
    read = triplet_folder.read_picture
    for stored in broken:
        (tmp_path / "scene.jpg").write_bytes(stored["bytes"])
        with pytest.raises(ValueError, match=r"scene\.jpg is not a readable picture"):
            read(tmp_path / "scene.jpg")


def outside(folder, row):
    """A row whose pictures are files beside the data set, as it is saved without embedding them: [path, no bytes]."""
    paths = {}
    for number, (name, value) in enumerate(row.items()):
        if isinstance(value, dict):
            file = folder / f"{row['img_id']}_{row['ann_id']}_{name}.png"
            file.write_bytes(value["bytes"])
            paths[name] = {"bytes": None, "path": str(file) if number % 2 else file.name}
    return row | paths


def test_pictures_of_which_only_the_path_is_stored_are_read_from_their_files(run, tmp_path):
    (rows, masks) = map(list, zip(*(bench_builder.make_row(number, 64) for number in range(4)), strict=True))
    whole = write_pair(tmp_path, rows, masks)
    (tmp_path / "paths").mkdir()
    of_paths = write_pair(
        tmp_path / "paths",
        [outside(tmp_path / "paths", row) for row in rows],
        [outside(tmp_path / "paths", mask) for mask in masks],
    )
    for source, partner in (whole, of_paths):
        code, _, err = run(source, source.parent / "out", "--masks", partner)
        assert code == 0, err
    built, expected = table(tmp_path / "paths" / "out"), table(tmp_path / "out")
    assert len(built) == 4 and list(built) == list(expected)
    for name, row in built.items():
        assert all(row[column]["bytes"] == expected[name][column]["bytes"] for column in ("scene", "target", "mask"))
        assert "/" not in row["scene"]["path"]  # nobody's folders


def test_a_file_of_which_only_the_path_is_left_is_named(run, tmp_path):
    row, mask = bench_builder.make_row(0, 64)
    gone = {**outside(tmp_path, row), "source_img": {"bytes": None, "path": "gone.png"}}
    source, partner = write_pair(tmp_path, [gone], [mask])
    assert run(source, tmp_path / "out", "--masks", partner)[0] == 1  # of one row nothing is kept
    (bad,) = bad_rows(tmp_path / "out")
    assert bad["reason"] == "no scene" and f"{tmp_path / 'gone.png'} does not exist" in bad["detail"]


def test_a_path_that_a_data_set_of_the_hub_names_is_not_read(tmp_path):
    (tmp_path / "private.png").write_bytes(b"a file of this machine")
    stored = {"bytes": None, "path": str(tmp_path / "private.png")}
    with pytest.raises(ValueError, match="stores only the path of a picture"):
        sources_module._whole(stored, f"{sources_module.HUB}owner/name/rows.parquet", "scene")


def test_units_that_begin_inside_a_row_group_hold_what_a_plain_join_gives(sources, tmp_path):
    rows, masks = (
        [row for path in sorted(side.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()] for side in sources
    )
    shuffled = [masks[place] for place in np.random.default_rng(3).permutation(60)]
    bench_builder.write_parquet(tmp_path / "rows" / "0.parquet", rows[:25], group=25)
    bench_builder.write_parquet(tmp_path / "rows" / "1.parquet", rows[25:], group=16)
    bench_builder.write_parquet(tmp_path / "masks.parquet", shuffled, group=11)
    given = (str(tmp_path / "rows"), str(tmp_path / "masks.parquet"))
    settings = BuildSettings(unit_rows=7, validation=0)
    starts = [unit.start for unit in make_plan(*given, "train", settings).units]
    assert starts == [0, 7, 14, 21, 0, 7, 14, 0, 7, 14, 0]
    build.build(*given, tmp_path / "out", settings, Threads(2))
    mask_of = {(mask["img_id"], mask["ann_id"]): mask["mask"] for mask in masks}
    built = list(table(tmp_path / "out").values())
    assert len(built) == 60
    for number, (row, expected) in enumerate(zip(built, rows, strict=True)):
        assert (row["img_id"], row["ann_id"]) == (expected["img_id"], expected["ann_id"])
        assert (row["scene"], row["target"]) == (expected["source_img"], expected["target_img"])
        assert np.array_equal(picture(row["mask"]), picture(mask_of[row["img_id"], row["ann_id"]])[:, ::2])
        place = ("0.parquet", number) if number < 25 else ("1.parquet", number - 25)
        assert (row["source_file"], row["source_row"]) == place


# one row


def row_of(target, scene=None):
    return {
        "target": bench_builder.stored(target, "PNG"),
        "scene": bench_builder.stored(target if scene is None else scene, "PNG"),
    }


@pytest.fixture
def cut():
    """cut(mask, size, **settings): the triplet of a target of noise [H,W,3] and a mask of any size."""

    def call(mask, size=(100, 80), **settings):
        width, height = size
        target = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
        given = bench_builder.stored(mask, "PNG")
        return target, cut_with_mask(row_of(target), given, BuildSettings(**settings))

    return call


def test_a_mask_is_scaled_along_each_axis_by_itself(cut):
    mask = np.zeros((320, 100), np.uint8)  # the target's width, four times its height
    mask[80:240, 30:60] = 255
    _, made = cut(mask)
    assert made.columns["box"] == [30, 20, 60, 60]
    assert made.area == pytest.approx(30 * 40 / 8000) and made.side == 40
    upwards = np.zeros((40, 25), np.uint8)
    upwards[10:30, 5:15] = 1  # masks of 0 and 1 exist, too
    assert cut(upwards)[1].columns["box"] == [20, 20, 60, 60]


def test_a_mask_that_fits_keeps_its_bytes_and_a_lossy_one_its_shape(cut):
    mask = np.zeros((80, 100), np.uint8)
    mask[20:60, 30:70] = 255
    assert cut(mask)[1].columns["mask"]["bytes"] == bench_builder.stored(mask, "PNG")["bytes"]
    noisy = np.clip(mask.astype(int) + np.random.default_rng(0).integers(-40, 40, mask.shape), 0, 255).astype(np.uint8)
    assert np.array_equal(picture(cut(noisy)[1].columns["mask"]), mask)


def test_the_background_is_really_gone_or_kept(cut):
    mask = np.zeros((80, 100), np.uint8)
    mask[20:60, 30:70] = 255
    mask[20:40, 30:50] = 0  # a corner of the box is background
    on, box = mask[16:64, 26:74] > 0, np.s_[16:64, 26:74]
    target, made = cut(mask)
    shown = picture(made.columns["object"][0])
    assert shown.shape == (48, 48, 4) and np.array_equal(shown[..., 3] > 0, on)
    assert np.array_equal(shown[on][:, :3], target[box][on]) and not shown[~on].any()
    target, made = cut(mask, background="white")
    shown = picture(made.columns["object"][0])
    assert np.array_equal(shown[on], target[box][on]) and (shown[~on] == 255).all()
    target, made = cut(mask, background="keep", margin=0.0)
    assert np.array_equal(picture(made.columns["object"][0]), target[20:60, 30:70])
    assert np.array_equal(picture(made.columns["object_mask"][0]), mask[20:60, 30:70])


def test_a_margin_ends_at_the_edge_of_the_picture(cut):
    mask = np.zeros((80, 100), np.uint8)
    mask[0:40, 90:100] = 255
    _, made = cut(mask, margin=0.5, min_side=10)
    assert made.columns["box"] == [90, 0, 100, 40]
    assert picture(made.columns["object"][0]).shape[:2] == (60, 15)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"min_side": 20}, None),
        ({"min_side": 21}, "object too small"),
        ({"min_area": 0.1}, None),
        ({"min_area": 0.101}, "object's area out of range"),
        ({"max_area": 0.1}, None),
        ({"max_area": 0.099}, "object's area out of range"),
    ],
)
def test_filters_drop_what_is_beyond_their_limit(cut, settings, reason):
    mask = np.zeros((80, 100), np.uint8)
    mask[10:50, 10:30] = 255  # 20 x 40 px, a tenth of the picture
    if reason is None:
        assert cut(mask, **settings)[1].columns["box"] == [10, 10, 30, 50]
    else:
        with pytest.raises(RowError, match=reason):
            cut(mask, **settings)


def test_a_speckle_is_no_object(cut):
    mask = np.zeros((80, 100), np.uint8)
    mask[10, 10] = mask[50, 50] = 255  # its box is large enough
    with pytest.raises(RowError, match="object too small: 2 pixels"):
        cut(mask, min_area=0.0)


def test_the_constants_that_are_spelt_out_again_are_the_same():
    assert MIN_PIXELS == object_picture.MIN_PIXELS
    assert build_dataset.BACKGROUNDS == BACKGROUNDS


# split


def test_no_picture_is_in_both_splits_and_neither_order_nor_workers_matter(run, sources, tmp_path):
    split_of = {}
    for name, order in (("as it is", 1), ("backwards", -1)):
        folder = tmp_path / name
        parts = [pq.read_table(path).to_pylist() for path in sorted(sources[0].rglob("*.parquet"))]
        rows = [row for part in parts for row in part][::order]
        bench_builder.write_parquet(folder / "rows.parquet", rows, group=9)
        code, _, err = run(folder / "rows.parquet", folder / "out", "--masks", sources[1], "--validation", "0.3")
        assert code == 0, err
        for split in ("train", "validation"):
            ids = [
                key for path in (folder / "out" / split).glob("*") for key in pq.read_table(path)["img_id"].to_pylist()
            ]
            split_of.setdefault(split, []).append(sorted(ids))
    train, validation = split_of["train"], split_of["validation"]
    assert train[0] == train[1] and validation[0] == validation[1]
    assert len(train[0]) + len(validation[0]) == 60 and 6 <= len(validation[0]) <= 32
    assert not set(train[0]) & set(validation[0])


def test_the_share_of_the_split_is_the_one_asked_for():
    held = [in_validation(f"{number:012}", 0.05) for number in range(20_000)]
    assert np.mean(held) == pytest.approx(0.05, abs=0.006)


# shards


@pytest.fixture(scope="module")
def built(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "out"
    masks = ["--masks", str(sources[1]), "--workers", "1"]
    assert main(["build-dataset", str(sources[0]), str(folder), *masks]) == 0
    return folder


def test_hugging_face_datasets_read_it(built, tmp_path):
    loaded = datasets.load_dataset(str(built), cache_dir=str(tmp_path))
    kept = json.loads((built / "statistics.json").read_text("utf-8"))["kept"]
    assert {split: len(rows) for split, rows in loaded.items()} == kept == {"train": 58, "validation": 2}
    row = loaded["train"][0]
    assert row["scene"].size == row["target"].size == row["mask"].size == (64, 64)
    assert row["object"][0].size == row["object_mask"][0].size
    streamed = datasets.load_dataset(str(built), split="train", streaming=True)
    assert next(iter(streamed))["id"] == row["id"]


def test_three_workers_write_the_same_bytes_as_one(run, built, sources, tmp_path):
    code, _, err = run(sources[0], tmp_path / "out", "--masks", sources[1], "--workers", "3")
    assert code == 0, err
    assert len(bench_builder.contents(built)) >= 12
    assert bench_builder.contents(tmp_path / "out") == bench_builder.contents(built)


def test_three_workers_of_ray_write_the_same_bytes(built, sources, tmp_path):
    process = bench_builder.start(sources, tmp_path / "out", "--workers", "3", "--ray")
    bench_builder.finish(process, tmp_path / "out")
    assert bench_builder.contents(tmp_path / "out") == bench_builder.contents(built)


def test_a_problem_in_a_worker_of_ray_is_told_and_gone_on_from(built, sources, tmp_path):
    folder = tmp_path / "out"
    bench_builder.finish(bench_builder.start(sources, folder, "--workers", "1"), folder)
    (folder / "units" / "000002.json").unlink()
    (folder / "train" / "000002.parquet").unlink()
    (folder / "train" / "000002.parquet").mkdir()  # nothing can be written there
    with pytest.raises(RuntimeError, match=r"ended with 1:[\s\S]*000002\.parquet could not be written"):
        bench_builder.finish(bench_builder.start(sources, folder, "--workers", "3", "--ray"), folder)
    (folder / "train" / "000002.parquet").rmdir()
    bench_builder.finish(bench_builder.start(sources, folder, "--workers", "1"), folder)
    assert bench_builder.contents(folder) == bench_builder.contents(built)


# stopped and gone on with


def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(tmp_path):
    sources = bench_builder.make_sources(tmp_path / "sources", 800, 64)
    bench_builder.finish(bench_builder.start(sources, tmp_path / "whole"), tmp_path / "whole")
    folder, killed = tmp_path / "killed", []
    for done in (2, 5):
        killed.append(bench_builder.kill_at(bench_builder.start(sources, folder, "--workers", "2"), folder, done))
        assert 2 <= bench_builder.units(folder) < 8 and not (folder / "statistics.json").exists()
    assert killed == [True, True]
    bench_builder.finish(bench_builder.start(sources, folder, "--workers", "2"), folder)
    assert bench_builder.contents(folder) == bench_builder.contents(tmp_path / "whole")
    assert len(table(folder)) == 800


def test_what_is_done_is_not_done_again_and_what_is_damaged_is(run, built, sources, tmp_path):
    folder = tmp_path / "out"
    arguments = (sources[0], folder, "--masks", sources[1])
    assert run(*arguments)[0] == 0
    shards = sorted(folder.glob("*/*.parquet"))
    before = {path: path.stat().st_mtime_ns for path in shards}
    assert run(*arguments)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in shards} == before
    shards[1].write_bytes(shards[1].read_bytes()[:100])
    shards[2].unlink()
    assert run(*arguments)[0] == 0
    assert {path for path in shards if path.stat().st_mtime_ns != before[path]} >= set(shards[1:3])
    assert shards[0].stat().st_mtime_ns == before[shards[0]]
    assert bench_builder.contents(folder) == bench_builder.contents(built)


@pytest.mark.parametrize("damage", ['{"rows": 1}', "[]", '{"shards": 5}', "null", "{", '{"shards": {}, "bad": 1}', ""])
def test_a_unit_with_a_damaged_report_is_done_anew(run, built, sources, tmp_path, damage):
    folder = tmp_path / "out"
    shutil.copytree(built, folder)
    (folder / "units" / "000001.json").write_text(damage)
    code, _, err = run(sources[0], folder, "--masks", sources[1])
    assert code == 0, err
    assert bench_builder.contents(folder) == bench_builder.contents(built)


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"settings": 1, "sources": {}}', '{"settings": {}}', "nonsense"])
def test_a_damaged_record_of_a_build_is_said_by_name(run, built, sources, tmp_path, damage):
    folder = tmp_path / "out"
    shutil.copytree(built, folder)
    (folder / "build.json").write_text(damage)
    code, _, err = run(sources[0], folder, "--masks", sources[1])
    assert code == 1 and "build.json is damaged" in err and "Build into another folder" in err


def test_a_flipped_bit_in_a_shard_is_noticed_when_it_is_read(built, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(built, folder)
    shard = sorted((folder / "train").glob("*.parquet"))[0]
    content = bytearray(shard.read_bytes())
    content[content.index(b"IHDR") + 40] ^= 1  # in a picture; the size stays
    shard.write_bytes(content)
    with pytest.raises(ValueError, match="is not a readable shard"):
        for triplet in triplet_folder.read_folder(folder / "train"):
            for picture in triplet.objects:
                triplet_folder.read_picture(picture)


def test_ctrl_c_leaves_whole_files_and_the_next_call_goes_on(built, sources, tmp_path):
    def rebuild(progress):
        settings, runner = BuildSettings(), Threads(2)
        return build.build(*map(str, sources), tmp_path / "out", settings, runner, progress=progress)

    def interrupted(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(interrupted)
    assert 1 <= bench_builder.units(tmp_path / "out") < 6 and not list((tmp_path / "out").rglob("*.part"))
    seen = []
    assert rebuild(lambda done, total: seen.append((done, total)))["rows"] == 60
    assert seen[0][0] >= 10 and seen[-1] == (60, 60)
    assert bench_builder.contents(tmp_path / "out") == bench_builder.contents(built)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("name", ["train/000001.parquet", "units/000001.json", "contact_sheet.jpg", "statistics.json"])
def test_a_full_disk_is_said_clearly_and_the_next_call_goes_on(run, built, sources, tmp_path, name):
    part = tmp_path / "out" / f"{name}.{os.getpid()}.part"
    arguments = (sources[0], tmp_path / "out", "--masks", sources[1])
    assert run(*arguments)[0] == 0
    (tmp_path / "out" / "units" / "000001.json").unlink()
    part.symlink_to("/dev/full")
    code, _, err = run(*arguments)
    assert code == 1 and f"{tmp_path / 'out' / name} could not be written" in err and "Free some space" in err
    assert not part.is_symlink()
    code, _, err = run(*arguments)
    assert code == 0, err
    assert bench_builder.contents(tmp_path / "out") == bench_builder.contents(built)


# refused


def test_a_data_set_of_other_settings_or_sources_is_left_alone(run, sources, tmp_path):
    folder = tmp_path / "out"
    arguments = (sources[0], folder, "--masks", sources[1])
    assert run(*arguments)[0] == 0
    before = bench_builder.contents(folder)
    code, _, err = run(*arguments, "--margin", "0.2")
    assert code == 1 and "was built otherwise (margin was 0.1, is 0.2)" in err
    others = bench_builder.make_sources(tmp_path / "sources", 60, 64)
    code, _, err = run(others[0], folder, "--masks", sources[1])
    assert code == 1 and "was built otherwise (other files of rows)" in err
    assert bench_builder.contents(folder) == before


def test_masks_of_the_same_sizes_under_swapped_keys_are_other_masks(run, tmp_path):
    rows, masks = map(list, zip(*(bench_builder.make_row(number, 64) for number in range(10, 30)), strict=True))
    source, partner = write_pair(tmp_path, rows, masks)
    pq.write_table(pa.Table.from_pylist(masks), partner, compression="none")
    arguments = (source, tmp_path / "out", "--masks", partner)
    assert run(*arguments)[0] == 0
    before, layout = bench_builder.contents(tmp_path / "out"), look(str(partner), "").digest
    neighbours = [masks[number ^ 1] for number in range(20)]
    swapped = [{**mask, "ann_id": other["ann_id"]} for mask, other in zip(masks, neighbours, strict=True)]
    pq.write_table(pa.Table.from_pylist(swapped), partner, compression="none")
    assert look(str(partner), "").digest == layout
    code, _, err = run(*arguments)
    assert code == 1 and "was built otherwise (other files of masks)" in err
    assert bench_builder.contents(tmp_path / "out") == before


def test_a_folder_of_something_else_and_one_that_is_built_into_are_refused(run, sources, tmp_path):
    from filelock import FileLock

    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to mum.txt").write_text("dear")
    code, _, err = run(sources[0], tmp_path / "letters", "--masks", sources[1])
    assert code == 1 and "is not empty (to mum.txt) and no data set" in err
    (tmp_path / "busy").mkdir()
    with FileLock(tmp_path / "busy" / ".lock"):
        code, _, err = run(sources[0], tmp_path / "busy", "--masks", sources[1])
    assert code == 1 and "Another process is writing into" in err


def test_wrong_sources_and_settings_say_what_is_wrong(run, sources, tmp_path):
    (tmp_path / "page.parquet").write_bytes(b"<html>not found</html>")
    bench_builder.write_parquet(tmp_path / "other.parquet", [{"img_id": "1", "photo": "x"}])
    (tmp_path / "empty").mkdir()
    row, mask = bench_builder.make_row(0, 64)
    bench_builder.write_parquet(tmp_path / "plain.parquet", [{**row, "target_img": row["target_img"]["bytes"]}])
    bench_builder.write_parquet(tmp_path / "plain masks.parquet", [{**mask, "mask": mask["mask"]["bytes"]}])
    masks = ("--masks", sources[1])
    for code, message, arguments in [
        (2, "nowhere is neither a folder, a parquet file, nor", (tmp_path / "nowhere", tmp_path / "a", *masks)),
        (2, "has no parquet file of the split 'train' (0 files", (tmp_path / "empty", tmp_path / "b", *masks)),
        (
            2,
            "has no parquet file of the split 'test' (2 files",
            (sources[0], tmp_path / "c", *masks, "--split", "test"),
        ),
        (1, "page.parquet is not a readable parquet file", (tmp_path / "page.parquet", tmp_path / "d", *masks)),
        (1, "has the columns img_id, photo: neither those", (tmp_path / "other.parquet", tmp_path / "e", *masks)),
        (1, "Give its masks", (sources[0], tmp_path / "f")),
        (1, "is not a file of masks: it has no column mask", (sources[0], tmp_path / "g", "--masks", sources[0])),
        (
            1,
            "plain.parquet: the column target_img is binary, but",
            (tmp_path / "plain.parquet", tmp_path / "j", *masks),
        ),
        (
            1,
            "plain masks.parquet: the column mask is binary, but",
            (sources[0], tmp_path / "k", "--masks", tmp_path / "plain masks.parquet"),
        ),
        (1, "min_area must be a share", (sources[0], tmp_path / "h", *masks, "--min-area", "2")),
        (
            1,
            "min_area, 0.9, must not be above max_area, 0.8",
            (sources[0], tmp_path / "l", *masks, "--min-area", "0.9"),
        ),
        (2, "--workers must be at least 1", (sources[0], tmp_path / "i", *masks, "--workers", "0")),
    ]:
        found, _, err = run(*arguments)
        assert (found, message in err) == (code, True), err


@pytest.mark.parametrize("side", ["rows", "masks"])
@pytest.mark.parametrize("fault", ["cut off", "empty", "damaged page"])
def test_a_source_that_is_cut_off_or_damaged_stops_the_build_by_name(run, sources, tmp_path, side, fault):
    path = sources[side == "masks"] / "data" / "train-0.parquet"
    spoiled, page = bytearray(path.read_bytes()), page_of_pictures(path)
    if fault == "damaged page":
        spoiled[page : page + 20] = b"\xff" * 20
    else:
        del spoiled[len(spoiled) // 2 if fault == "cut off" else 0 :]
    (tmp_path / "spoiled.parquet").write_bytes(spoiled)
    given = {"rows": sources[0], "masks": sources[1], side: tmp_path / "spoiled.parquet"}
    code, _, err = run(given["rows"], tmp_path / "out", "--masks", given["masks"])
    assert code == 1 and f"{tmp_path / 'spoiled.parquet'} is not a readable parquet file" in err
    assert not (tmp_path / "out" / "statistics.json").exists()


def test_an_output_among_the_sources_is_refused(run, sources, tmp_path):
    for inside in (sources[0] / "out", sources[1] / "data" / ".." / "deep" / "out"):
        code, _, err = run(sources[0], inside, "--masks", sources[1])
        assert code == 1 and "what is built would be read as a source" in err
        assert not inside.exists()


def test_a_limit_reads_the_first_rows(run, sources, tmp_path):
    code, _, err = run(sources[0], tmp_path / "out", "--masks", sources[1], "--limit", "33", "--validation", "0")
    assert code == 0, err
    assert list(table(tmp_path / "out")) == [f"{number // 2:08}:{number}" for number in range(FIRST, FIRST + 33)]
    assert bad_rows(tmp_path / "out") == []


def test_a_build_that_keeps_nothing_says_so_to_all_who_read_it(run, sources, tmp_path):
    folder = tmp_path / "out"
    code, out, err = run(sources[0], folder, "--masks", sources[1], "--min-side", "65")
    assert code == 1 and "60 rows read; kept: none\n60 object too small" in out, err
    assert "No row could be used" in err
    with pytest.raises(DataFilesNotFoundError):  # and not TypeError, or its JSON files as data
        datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    read = triplet_folder.read_folder
    with pytest.raises(FileNotFoundError, match="no rows of the split 'train'"):
        read(folder / "train")


def test_training_on_a_split_without_rows_names_what_sets_its_share(run, sources, tmp_path):
    folder = tmp_path / "out"
    assert run(sources[0], folder, "--masks", sources[1], "--validation", "0")[0] == 0
    read = triplet_folder.read_folder
    assert len(read(folder / "train")) == 60
    with pytest.raises(FileNotFoundError, match=r"no rows of the split 'validation'[\s\S]*--validation"):
        read(folder / "validation")
    (folder / "statistics.json").unlink()
    with pytest.raises(ValueError, match="is not complete"):
        read(folder / "validation")
    with pytest.raises(FileNotFoundError, match=r"metadata\.jsonl does not exist"):
        read(tmp_path / "nowhere")


# released triplet sets


@pytest.fixture
def released(tmp_path):
    """A set with the columns of the authors' own: no masks, an img_id twice, one object too small."""
    rows = []
    for number, side in enumerate((30, 30, 9, 30)):
        row, _ = bench_builder.make_row(number, 64)
        cropped = bench_builder.stored(np.full((side, 40, 3), 40 * number, np.uint8), "JPEG")
        names = {"original_image": row["source_img"], "target_image": row["target_img"], "object_image": cropped}
        rows.append({"img_id": ("a", "b", "c", "a")[number], **names})
    bench_builder.write_parquet(tmp_path / "released" / "train-00000-of-00001.parquet", rows)
    return rows, tmp_path / "released"


def test_a_released_set_is_read_and_its_pictures_stay_as_they_are(run, released, sources, tmp_path):
    rows, folder = released
    code, _, err = run(folder, tmp_path / "out", "--validation", "0")
    assert code == 0, err
    built = table(tmp_path / "out")
    assert list(built) == ["a:0", "b:0", "a:1"]
    for row, number in zip(built.values(), (0, 1, 3), strict=True):
        assert row["scene"] == rows[number]["original_image"] and row["target"] == rows[number]["target_image"]
        assert row["object"] == [rows[number]["object_image"]]
        assert row["object_mask"] == [] and row["mask"] is None and row["box"] is None and row["ann_id"] is None
    assert [(row["id"], row["reason"], row["detail"]) for row in bad_rows(tmp_path / "out")] == [
        ("c:0", "object too small", "40x9 px")
    ]
    code, _, err = run(folder, tmp_path / "more", "--masks", sources[1])
    assert code == 1 and "brings pictures of the objects itself" in err


def test_an_object_that_is_all_but_transparent_is_dropped_where_training_would_refuse_it():
    read = triplet_folder.read_picture
    prepare = object_picture.prepare_object

    def objects(seen):
        """Pictures of 40 x 40 px with so many that are not transparent, as RGBA and with a palette."""
        pixels = np.full((40, 40, 4), 255, np.uint8)
        pixels[..., 3] = np.arange(1600).reshape(40, 40) < seen
        palette, buffer = Image.fromarray(1 - pixels[..., 3]).convert("P"), io.BytesIO()
        palette.save(buffer, "PNG", transparency=1)
        return bench_builder.stored(pixels, "PNG"), {"bytes": buffer.getvalue(), "path": None}

    def cut(picture):
        row = {**row_of(np.zeros((64, 64, 3), np.uint8)), "object": picture}
        return cut_released(row, BuildSettings(min_side=1))

    for seen in (0, 15):
        for dropped in objects(seen):
            with pytest.raises(RowError, match=f"object too small: {seen} pixels"):
                cut(dropped)
    for kept in objects(16):
        assert cut(kept).columns["object"] == [kept]
        stored = SimpleNamespace(open=lambda kept=kept: io.BytesIO(kept["bytes"]))
        assert prepare(read(stored, None)[None].movedim(1, -1)).shape == (1, 40, 40, 3)
    with pytest.raises(RowError, match="object too small: 15 pixels"):
        cut(bench_builder.stored(np.zeros((5, 3, 3), np.uint8), "PNG"))


# from the hub


class FakeHub(ThreadingHTTPServer):
    """Serves folders as data sets, with the routes that the hub's file system asks for; counts what it sends."""

    daemon_threads = True

    def __init__(self, repositories):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.sent = repositories, 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    COMMIT = "c0ffee" * 6 + "c0ff"

    def log_message(self, *args):
        pass

    def reply(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), "X-Repo-Commit": self.COMMIT, **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0].removeprefix("/api").removeprefix("/datasets/")
        name = "/".join(path.split("/")[:2])
        folder = self.server.repositories.get(name)
        if folder is None:
            return self.reply(b"{}", 404, X_Error_Code="RepoNotFound")
        rest = path.split("/")[2:]
        files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*.parquet"))}
        if rest[:1] == ["resolve"]:
            data = files["/".join(rest[2:])].read_bytes()
            if wanted := self.headers["Range"]:
                start, _, stop = wanted.removeprefix("bytes=").partition("-")
                part = data[int(start) : int(stop) + 1 if stop else None]
                self.server.sent += len(part)
                span = f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}"
                return self.reply(part, 206, ETag='"x"', Content_Range=span)
            return self.reply(data, ETag='"x"')
        listed = [{"type": "file", "path": n, "size": f.stat().st_size, "oid": "0" * 40} for n, f in files.items()]
        if rest[:1] in (["tree"], ["paths-info"]):
            return self.reply(json.dumps(listed).encode())
        return self.reply(json.dumps({"id": name, "sha": self.COMMIT, "siblings": []}).encode())


@pytest.fixture
def hub(sources):
    hub = FakeHub({"paint-by-inpaint/PIPE": sources[0], "paint-by-inpaint/PIPE_Masks": sources[1]})
    threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True).start()
    yield hub
    hub.shutdown()
    hub.server_close()


def stream(hub, folder, rows="paint-by-inpaint/PIPE", *options):
    names = (rows, "paint-by-inpaint/PIPE_Masks@main")
    variables = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0"}
    bench_builder.finish(
        bench_builder.start(names, folder, *options, **variables, HF_HOME=str(folder / "home")), folder
    )


def test_streamed_from_the_hub_it_is_the_same_to_the_byte(hub, built, tmp_path):
    stream(hub, tmp_path / "out")
    assert bench_builder.contents(tmp_path / "out") == bench_builder.contents(built)
    assert hub.sent > 0


def test_of_files_on_the_hub_little_more_than_the_rows_that_are_read_is_fetched(hub, tmp_path):
    sides = zip(*(bench_builder.make_row(number, 512) for number in range(48)), strict=True)
    hub.repositories = {f"paint-by-inpaint/{name}": tmp_path / name for name in ("PIPE", "PIPE_Masks")}
    for folder, side in zip(hub.repositories.values(), sides, strict=True):
        bench_builder.write_parquet(folder / "train.parquet", list(side), group=4)
    stream(hub, tmp_path / "out", "paint-by-inpaint/PIPE", "--limit", "4")
    assert len(table(tmp_path / "out")) == 4
    whole = sum((folder / "train.parquet").stat().st_size for folder in hub.repositories.values())
    assert hub.sent < whole / 3


def test_an_unknown_name_is_told(hub, tmp_path):
    with pytest.raises(
        RuntimeError, match=r"ended with 2:[\s\S]*owner/gone could not be read from the Hugging Face hub"
    ):
        stream(hub, tmp_path / "out", "owner/gone")


# memory


def peak(command):
    """The most memory in MB that a process was seen to have."""
    process, most = psutil.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}), 0
    while process.poll() is None:
        try:
            most = max(most, process.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.02)
    assert process.wait() == 0
    return most / 1e6


def test_ten_thousand_rows_stream_in_bounded_memory(tmp_path):
    row, mask = bench_builder.make_row(0, 32)
    peaks, sizes = [], []
    for count in (2000, 10_000):
        folder = tmp_path / str(count)
        sides = {"rows": row, "masks": mask}
        made = {side: [] for side in sides}
        for key in range(count):
            for side, given in sides.items():
                made[side].append({**given, "img_id": str(key), "ann_id": "0"})
            for name in ("source_img", "target_img"):  # decoders ignore what comes after the end of a picture
                padded = row[name]["bytes"] + os.urandom(10_000)
                made["rows"][-1][name] = {"bytes": padded, "path": None}
        for side, rows in made.items():
            bench_builder.write_parquet(folder / f"{side}.parquet", rows, group=count)  # all in one row group
        del made
        sizes.append((folder / "rows.parquet").stat().st_size / 1e6)
        arguments = (folder / "rows.parquet", folder / "out", "--masks", folder / "masks.parquet", "--min-side", "4")
        command = [sys.executable, ROOT / "pipelines", "build-dataset", *arguments, "--workers", "2"]
        peaks.append(peak([str(word) for word in command]))
        statistics = json.loads((folder / "out" / "statistics.json").read_text("utf-8"))
        assert statistics["rows"] == sum(statistics["kept"].values()) == count
    assert sizes[1] - sizes[0] > 150  # MB that would show if all were held
    print("MB", peaks)
    assert peaks[1] - peaks[0] < 60, peaks


# training


def test_it_is_trained_on_row_by_row_with_its_masks(run, capsys, tmp_path):
    sources = bench_builder.make_sources(tmp_path / "sources", 24, 128)
    code, _, err = run(
        sources[0], tmp_path / "set", "--masks", sources[1], "--validation", "0.3", "--background", "keep"
    )
    assert code == 0, err
    triplets, rows = triplet_folder.read_folder(tmp_path / "set" / "train"), table(tmp_path / "set")
    kept = json.loads((tmp_path / "set" / "statistics.json").read_text("utf-8"))["kept"]
    assert len(triplets) == kept["train"]
    for triplet in triplets:
        for stored, expected in (
            (triplet.scene, rows[triplet.name]["scene"]),
            (triplet.objects[0], rows[triplet.name]["object"][0]),
            (triplet.masks[0], rows[triplet.name]["object_mask"][0]),
        ):
            assert stored.open().getvalue() == expected["bytes"]
    base = (ROOT / "playroom_models").as_posix()
    places = [f"folder={(tmp_path / 'run').as_posix()}", f"models.base={base}"]
    data = [f"data.{name}={(tmp_path / 'set' / name).as_posix()}" for name in ("train", "validation")]
    small = ["run.steps=2", "run.log_every=1", "run.warmup=1", "run.precision=fp32", "batch=4", "run.validate_every=2"]
    changes = [*small, *places, *data, "data.pictures.background=mean", "data.augment=true"]
    code = main(["train", "playroom", "--set", *changes])
    assert code == 0, capsys.readouterr().err
    with Image.open(tmp_path / "run" / "sheet.png") as sheet:
        assert sheet.size == (4 * 128, kept["validation"] * 128)


def test_training_refuses_a_data_set_that_is_not_complete_or_broken(built, tmp_path):
    import shutil

    folder = shutil.copytree(built, tmp_path / "copy")
    (folder / "statistics.json").unlink()
    with pytest.raises(ValueError, match="is not complete. Run build-dataset again"):
        triplet_folder.read_folder(folder / "train")
    shutil.copy(built / "statistics.json", folder)
    before = triplet_folder.read_index(folder / "train")
    shard = sorted((folder / "train").glob("*.parquet"))[0]
    triplets = triplet_folder.read_folder(folder / "train")
    shard.write_bytes(shard.read_bytes()[:200])
    assert triplet_folder.read_index(folder / "train") != before
    with pytest.raises(ValueError, match=f"{shard.name} is not a readable shard"):
        triplet_folder.read_picture(triplets[0].scene)
    with pytest.raises(ValueError, match=f"{shard.name} is not a readable shard"):
        triplet_folder.read_folder(folder / "train")
    with pytest.raises(IndexError):
        triplets[len(triplets)]
    shard.unlink()
    with pytest.raises(ValueError, match=f"{shard.name} is not a readable shard"):
        triplet_folder.read_picture(triplets[0].scene)
