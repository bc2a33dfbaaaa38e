"""Lists and pictures in Parquet: the same as CSV and folders, and what is refused."""

import json

import pytest
from PIL import Image

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.bulk.pairs import Columns, read_pairs, survey
from visual_insertion_pack.pipelines.bulk.picture_table import Contents, PictureTable, _Rows
from visual_insertion_pack.tests.bad_commands import TOYS

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402  it is an extra


@pytest.fixture
def written(tmp_path):
    """written(rows, name, **options): a Parquet file of these rows."""

    def write(rows, name="pairs.parquet", **options):
        path = tmp_path / name
        table = rows if isinstance(rows, pyarrow.Table) else pyarrow.Table.from_pylist(rows)
        parquet.write_table(table, path, **options)
        return path

    return write


ROWS = [
    {"scene": "a.png", "object": "x.png", "seed": None, "name": None},
    {"scene": "b.png", "object": "x.png", "seed": 7, "name": None},
    {"scene": "b.png", "object": "y.png", "seed": None, "name": "more/y"},
]


def test_a_list_in_parquet_says_what_csv_does(written, tmp_path):
    listed = tmp_path / "pairs.csv"
    listed.write_text("scene,object,seed,name\na.png,x.png,,\nb.png,x.png,7,\nb.png,y.png,,more/y\n", encoding="utf-8")
    path = written(ROWS)
    assert [(pair.name, pair.seed, pair.line) for pair in read_pairs(path, Columns())] == [
        ("a__x", None, 1),
        ("b__x__7", 7, 2),
        ("more/y", None, 3),
    ]
    as_floats = written([{**row, "seed": row["seed"] and 7.0} for row in ROWS], "floats.parquet")
    digests = {survey(one, Columns()).sha256 for one in (path, listed, as_floats)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"scene": "a"}], "FILE has no column 'object'. A list of pairs has scene, object"),
        ([{"scene": "a", "object": "x", "prompt": "y"}], "FILE has a column 'prompt'. A list"),
        ([{"scene": "a", "object": None}], "FILE, row 1 is no pair: 'object' must be the name of a file."),
        ([{"scene": "a", "object": "x", "seed": 1.5}], "FILE, row 1 is no pair: the seed must be a whole number"),
        ([{"scene": "a", "object": "x"}] * 2, "FILE, row 2 would make the same file as row 1: a__x.png."),
        (pyarrow.table({"scene": [], "object": []}), "FILE holds no pair."),
    ],
)
def test_what_is_no_list_is_said_with_file_and_row(written, rows, message):
    path = written(rows)
    with pytest.raises(ValueError) as caught:
        survey(path, Columns())
    assert str(caught.value).replace(str(path), "FILE").startswith(message)


def test_a_file_that_is_no_parquet_is_said(tmp_path):
    path = tmp_path / "pairs.parquet"
    path.write_bytes(b"scene,object\na,x\n")
    with pytest.raises(ValueError, match="pairs.parquet is not a readable parquet file"):
        survey(path, Columns())


def pictures(count, key="name"):
    rows = [(f"folder/{number}.png", bytes([number]) * 50) for number in range(count)]
    if key == "name":
        return [{"name": name, "image": content} for name, content in rows]
    return [{"image": {"bytes": content, "path": name}} for name, content in rows]


@pytest.mark.parametrize("key", ["name", "path"])
@pytest.mark.parametrize("small", [True, False])
def test_a_picture_is_found_by_its_name(written, monkeypatch, key, small):
    from visual_insertion_pack.pipelines.bulk import picture_table

    monkeypatch.setattr(picture_table, "SMALL", 10**9 if small else 0)
    table = PictureTable(written(pictures(30, key), "scenes.parquet", row_group_size=7))
    contents = Contents()
    for number in (29, 0, 13, 14, 6, 7):
        assert contents(table / f"folder/{number}.png") == bytes([number]) * 50
    with pytest.raises(ValueError, match="scenes.parquet has no picture of the name 3.png"):
        contents(table / "3.png")
    assert isinstance(contents.tables[table.path], _Rows) and len(contents.tables[table.path].kept[1]) == 7 * small


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"name": "a", "picture": b"x"}], "has no column 'image'; it has name, picture."),
        ([{"name": "a", "image": "x"}], "has string in its column 'image'; needed are the bytes of picture files."),
        ([{"image": b"x"}], "has no column 'name', by which the list of pairs names its pictures."),
        ([{"image": {"bytes": b"x"}}], "has no column 'name', by which"),
        ([{"name": None, "image": b"x"}], "row 1 has no name: it is None."),
        ([{"name": name, "image": b"x"} for name in "abca"], "has one name twice, in the rows 1 and 4."),
    ],
)
def test_what_is_no_table_of_pictures_is_said(written, rows, message):
    with pytest.raises(ValueError) as caught:
        PictureTable(written(rows, "scenes.parquet"))
    assert message in str(caught.value)


def run(*words):
    return main([str(word) for word in words])


def test_pictures_out_of_tables_are_those_out_of_folders(written, tmp_path, capsys):
    scene = (TOYS / "samples" / "scene.png").read_bytes()
    thing = (TOYS / "samples" / "object.png").read_bytes()
    for name, content in (("room.png", scene), ("toy.png", thing), ("torn.png", scene[:300])):
        (tmp_path / name).write_bytes(content)
    rows = [("room.png", scene), ("torn.png", scene[:300]), ("empty.png", None)]
    scenes = written([{"name": name, "image": content} for name, content in rows], "scenes.parquet")
    objects = written([{"image": {"bytes": thing, "path": "toy.png"}}], "objects.parquet")
    names = ["room.png", "torn.png", "gone.png", "empty.png"]
    listed = written([{"scene": name, "object": "toy.png"} for name in names])
    shared = ["insert", "--pairs", listed, "--steps", 2, "--device", "cpu"]
    assert run(*shared, "--output", tmp_path / "files") == 1
    assert run(*shared, "--output", tmp_path / "tables", "--scenes", scenes, "--objects", objects) == 1
    made = tmp_path / "tables" / "room__toy.png"
    assert made.read_bytes() == (tmp_path / "files" / "room__toy.png").read_bytes()
    failures = (tmp_path / "tables" / "failures.jsonl").read_text("utf-8").splitlines()
    torn, gone, empty = (json.loads(line)["reason"] for line in failures)
    assert torn.startswith(f"{scenes}/torn.png is not a readable picture")
    assert gone == f"{scenes} has no picture of the name gone.png."
    assert empty == f"{scenes}, row 3 has no bytes of empty.png."
    assert Image.open(made).size == (128, 128)


def test_without_pyarrow_it_is_said_what_to_install(tmp_path, monkeypatch, capsys):
    from visual_insertion_pack.pipelines.commands import _many

    monkeypatch.setattr(_many, "find_spec", lambda name: None)
    assert run("insert", "--pairs", tmp_path / "pairs.parquet", "--output", tmp_path / "out") == 2
    assert "pyarrow is not installed, which reads Parquet." in capsys.readouterr().err
