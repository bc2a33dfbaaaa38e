"""Lists of pairs: what a line says, which name and seed its picture has, and what is refused with file and line."""

import json

import pytest

from visual_insertion_pack.pipelines.bulk.pairs import Columns, Pair, read_pairs, survey

COLUMNS = Columns()


def surveyed(path, first=0):
    return survey(path, COLUMNS, first)


@pytest.fixture
def listed(tmp_path):
    """listed(text): the list of that text, as CSV, or as JSON lines under another name."""

    def write(content, name="pairs.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_csv_and_json_lines_say_the_same(listed):
    rows = [
        {"scene": "a/room.png", "object": "mug.png"},
        {"scene": "a/room.png", "object": "mug.png", "seed": 7},
        {"scene": "hall, large.png", "object": "mug.png", "seed": None, "name": "halls/first"},
    ]
    text = "scene, object,seed,name\na/room.png,mug.png,,\na/room.png,mug.png,7,\n\n"
    text += '"hall, large.png",mug.png,,halls/first\n'
    lines = "".join(json.dumps(row) + "\n\n" for row in rows)
    pairs = list(read_pairs(listed("\ufeff" + text), COLUMNS))
    assert [pair.name for pair in pairs] == ["room__mug", "room__mug__7", "halls/first"]
    assert pairs[2] == Pair({"scene": "hall, large.png", "object": "mug.png"}, None, "halls/first", 5)
    assert [pair.line for pair in read_pairs(listed(lines, "pairs.jsonl"), COLUMNS)] == [1, 3, 5]
    assert surveyed(listed(lines, "pairs.jsonl")).sha256 == surveyed(listed(text)).sha256


def test_a_seed_is_the_pairs_own_or_of_its_name_alone(listed):
    first, again, own = read_pairs(listed("scene,object,seed\na,x,\nb,x,\na,x,5\n"), COLUMNS)
    (alone,) = read_pairs(listed("object,scene\nx,b\n", "other.csv"), COLUMNS)
    assert own.seed_from(3) == 5
    assert again.seed_from(3) == alone.seed_from(3) != first.seed_from(3)
    assert again.seed_from(3) != again.seed_from(4)
    assert all(0 <= pair.seed_from(seed) < 2**32 for pair in (first, again) for seed in range(50))
    assert first.seed_from(0) == 2344710167, "pictures of an earlier version would be mixed with others"


def test_a_survey_knows_the_beginning_of_a_list(listed):
    short = surveyed(listed("scene,object\na,x\nb,x\n"))
    longer = listed("scene,object\na,x\nb,x\nc,x\n")
    assert surveyed(longer, first=2).known == short.sha256
    assert surveyed(longer, first=3).known == surveyed(longer).sha256 != short.sha256
    assert surveyed(longer, first=4).known is None
    assert surveyed(listed("scene,object\nb,x\na,x\nc,x\n"), first=2).known != short.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "FILE is empty. A list of pairs has scene, object, and may have seed and name"),
        ("\n", "FILE is empty. A list of pairs has scene, object, and may have seed and name"),
        ("scene,object\n", "FILE holds no pair."),
        ("scene,seed\na,1\n", "FILE has no column 'object' in its first line."),
        ("scene,object,prompt\na,x,y\n", "FILE has a column 'prompt' in its first line."),
        ("scene,object,scene\na,x,y\n", "FILE has two columns 'scene' in its first line."),
        ("scene,object\na,x\nb,x,4\n", "FILE, line 3 has more cells than the first line has columns."),
        ("scene,object\na\n", "FILE, line 2 is no pair: 'object' must be the name of a file."),
        ("scene,object\n,x\n", "FILE, line 2 is no pair: 'scene' must be the name of a file."),
        (
            "scene,object,seed\na,x,-1\n",
            "FILE, line 2 is no pair: the seed must be a whole number from 0 to 18446",
        ),
        ("scene,object,seed\na,x,1.5\n", "FILE, line 2 is no pair: the seed must be a whole number"),
        (f"scene,object,seed\na,x,{2**64}\n", "FILE, line 2 is no pair: the seed must be a whole number"),
        ("scene,object,name\na,x,../y\n", "FILE, line 2 is no pair: '../y' leads out of the output folder"),
        ("scene,object,name\na,x,/y\n", "FILE, line 2 is no pair: '/y' leads out of the output folder"),
        ("scene,object,name\na,x,y/..\n", "FILE, line 2 is no pair: 'y/..' leads out of the output folder"),
        ("scene,object,name\na,x,C:y\n", "FILE, line 2 is no pair: 'C:y' has characters that not every"),
        (
            "scene,object,name\na,x,a\\b\n",
            "FILE, line 2 is no pair: 'a\\b' has characters that not every",
        ),
        (
            "scene,object,name\na,x,a\0b\n",
            "FILE, line 2 is no pair: 'a\0b' has characters that not every",
        ),
        ("scene,object,name\na,x,nul\n", "FILE, line 2 is no pair: 'nul' is the name of a device on Windows."),
        (
            "scene,object,name\na,x,Com1.x/y\n",
            "FILE, line 2 is no pair: 'Com1.x/y' is the name of a device ",
        ),
        ("scene,object,name\na,x,a.PNG/b\n", "FILE, line 2 is no pair: 'a.PNG/b' has a folder that ends like a file: "),
        ("scene,object,name\na,x,failures.jsonl/b\n", "FILE, line 2 is no pair: 'failures.jsonl/b' has a folder that "),
        ("scene,object,name\na,x,a./b\n", "FILE, line 2 is no pair: 'a./b' has a folder that ends like a file: a.."),
        (f"scene,object,name\na,x,{'é' * 101}\n", "FILE, line 2 is no pair: a name may have 200 bytes; "),
        ("scene,object\na,x\nb,x\na,x\n", "FILE, line 4 would make the same file as line 2: a__x.png."),
        ("scene,object\n1/a.png,x\n2/a.png,x\n", "FILE, line 3 would make the same file as line 2: a__x.png."),
        ("scene,object,seed\na,x,4\na,x,4\n", "FILE, line 3 would make the same file as line 2: a__x__4.png."),
        ("scene,object,name\na,x,Mug\nb,x,mug\n", "FILE, line 3 would make the same file as line 2: mug.png."),
        ("scene,object,name\na,x,é\nb,x,e\u0301\n", "FILE, line 3 would make the same file as line 2: "),
        ('scene,object\n"a"b,x\n', "FILE is no CSV near line 2: "),
        (b"scene,object\na\xff,x\n", "FILE is no text in UTF-8: "),
    ],
)
def test_what_is_no_list_is_said_with_file_and_line(listed, content, message):
    path = listed(content)
    with pytest.raises(ValueError) as caught:
        surveyed(path)
    assert str(caught.value).replace(str(path), "FILE").startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("scene,object\na,x\n", "FILE, line 1 is no JSON: "),
        ('{"scene": "a", "object": "x"}\n[1]\n', "FILE, line 2 is no pair: it is no JSON object."),
        ('{"scene": "a", "object": "x", "size": 4}', "FILE, line 1 is no pair: 'size' is not known; it may have scene"),
        ('{"scene": "a", "object": ["x"]}', "FILE, line 1 is no pair: 'object' must be the name of a file."),
        ('{"scene": "a", "object": "x", "seed": true}', "FILE, line 1 is no pair: the seed must be a whole number"),
        ('{"scene": "a", "object": "x", "name": 4}', "FILE, line 1 is no pair: 'name' must be a text; it is 4."),
        ('{"scene": "a", "object": "x", "name": "\\ud800"}', "FILE, line 1 is no pair: "),
        ("[" * 100_000, "FILE, line 1 is no JSON: "),
        ("\n \n", "FILE holds no pair."),
    ],
)
def test_json_lines_are_refused_as_well(listed, content, message):
    path = listed(content, "pairs.jsonl")
    with pytest.raises(ValueError) as caught:
        surveyed(path)
    assert str(caught.value).replace(str(path), "FILE").startswith(message)


def test_a_list_that_is_not_there_is_said(tmp_path):
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match="is not a file. Needed is a list of pairs"):
            surveyed(path)
