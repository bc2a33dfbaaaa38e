"""Benchmarks that tell in words what is added: what is read of local copies, and what is said of broken ones."""

import json

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.evaluation.benchmarks import READERS
from visual_insertion_pack.pipelines.evaluation.cases import Case
from visual_insertion_pack.pipelines.evaluation.subjects import subject_and_count, told_subject
from visual_insertion_pack.tests import evaluation_parts as parts
from visual_insertion_pack.tests.evaluation.test_evaluation_benchmarks import same, stored, write


@pytest.mark.parametrize(
    ("instruction", "subject"),
    [
        ("Add a fork on the left side of the plate", "fork"),
        ("please put another cup of tea next to him.", "cup of tea"),
        ("Place some pillows on the bed, please", "pillows"),
        ("add ants", "ants"),
        ("insert a man with glasses", "man"),
        ("Make it night", ""),
        ("Add to the room a lamp", ""),
        ("", ""),
    ],
)
def test_the_subject_is_read_off_an_instruction(instruction, subject):
    assert told_subject(instruction) == subject


def test_a_subject_may_say_how_many_of_it_are_looked_for():
    assert subject_and_count(" red  ball ", "here") == ("red ball", None)
    assert subject_and_count("red ball: 2", "here") == ("red ball", 2)
    for text in ("", "  ", ":2"):
        with pytest.raises(ValueError, match="here names no subject"):
            subject_and_count(text, "here")
    for text in ("ball:", "ball:0", "ball:-1", "ball:two", "ball:1.5"):
        with pytest.raises(ValueError, match=f"here is “{text}”; words are needed, or words:N"):
            subject_and_count(text, "here")


# Additing


def test_additing_reads_scene_prompts_and_subject(tmp_path):
    entries = [parts.prompt_set(index=7, subject_token="ba:2"), parts.prompt_set()]
    folder = parts.save_sets(tmp_path / "sets", entries)
    (folder / "images" / "7.png").unlink()
    parts.picture(3, (64, 48)).convert("RGBA").save(folder / "images" / "7.webp", lossless=True)
    benchmark = READERS["additing"](folder)
    assert benchmark.names == ("7", "1")  # an entry without an index has its place in the list
    case = benchmark[0]
    assert isinstance(case, Case) and same(case.scene, parts.picture(3, (64, 48)))
    assert (case.scene_caption, case.caption, case.instruction) == ("a b", "a b ba", "Add ba to a b")
    assert (case.subject, case.subject_count) == ("ba", 2)
    assert not case.objects and case.target is None and case.mask is None
    assert case.truths == {"scene caption", "caption", "subject"}
    assert benchmark[1].subject_count is None
    with pytest.raises(ValueError, match="Case 7 shows no picture of its object, .*“Add ba to a b”"):
        case.views()


@pytest.mark.parametrize("name", ["additing", "additing-affordance"])
@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "sets.json is empty"),
        ({"a": 1}, "sets.json is no list"),
        (["a"], "sets.json, entry 0 lacks src_prompt, tgt_prompt, subject_token, instruction"),
        ([parts.prompt_set(), parts.prompt_set(tgt_prompt=3)], "sets.json, entry 1 lacks tgt_prompt"),
        ([parts.prompt_set(subject_token="  ")], "sets.json, entry 0 lacks subject_token; words are needed"),
        ([parts.prompt_set(subject_token=":2")], "entry 0, subject_token names no subject"),
        ([parts.prompt_set(subject_token="ba:x")], "entry 0, subject_token is “ba:x”; words are needed"),
        ([parts.prompt_set(index=1), parts.prompt_set(index="1")], "has the index 1 twice"),
        ([parts.prompt_set(index="../1")], "names of cases must differ and be fit for files"),
    ],
)
def test_sets_that_are_malformed_are_said(tmp_path, name, entries, said):
    (tmp_path / "images").mkdir()
    for stem in ("0", "1"):
        parts.picture(1, (8, 8)).save(tmp_path / "images" / f"{stem}.png")
    parts.picture(1, (8, 8)).save(tmp_path / "1.png")
    if isinstance(entries, list):
        entries = [{**entry, "boxes": [[0, 0, 4, 4]]} if isinstance(entry, dict) else entry for entry in entries]
    (tmp_path / "sets.json").write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        READERS[name](tmp_path)


def test_missing_files_of_additing_are_said(tmp_path):
    read = READERS["additing"]
    with pytest.raises(
        FileNotFoundError, match="sets.json does not exist. Needed is a folder with sets.json.*not publ"
    ):
        read(tmp_path)
    folder = parts.save_sets(tmp_path / "sets", [parts.prompt_set(index=index) for index in (1, 2)])
    (folder / "images" / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match="images lacks 1 of 2 scenes, such as 2.png"):
        read(folder)
    (folder / "images" / "2.png").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="2.png is not a readable picture"):
        read(folder)[1]
    (folder / "sets.json").write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match="sets.json is not JSON"):
        read(folder)


# Additing Affordance


def test_additing_affordance_reads_the_marked_places(tmp_path):
    boxes = [[0, 8, 40.5, 80], [50, 0, 96, 20]]
    folder = parts.save_sets(tmp_path / "sets", [parts.prompt_set(boxes=boxes)])
    case = READERS["additing-affordance"](folder)[0]
    assert case.places == ((0, 8, 40.5, 80), (50, 0, 96, 20))
    assert case.truths == {"scene caption", "caption", "subject", "marked place"}
    assert not READERS["additing"](folder)[0].places


@pytest.mark.parametrize(
    "boxes",
    [
        None,
        [],
        {"a": 1},
        [1, 2, 3, 4],
        [[0, 0, 4]],
        [[0, 0, 4, "5"]],
        [[0, 0, 4, True]],
        [[4, 0, 0, 4]],
        [[0, 4, 4, 4]],
        [[0, 0, 4, float("nan")]],
        [[0, 0, 4, float("inf")]],
        [[-1, 0, 4, 4]],
    ],
)
def test_malformed_places_are_said_before_anything_is_made(tmp_path, boxes):
    entries = [parts.prompt_set(boxes=[[0, 0, 4, 4]]), parts.prompt_set(boxes=boxes)]
    folder = parts.save_sets(tmp_path / "sets", entries)
    said = "sets.json, entry 1(, boxes has| lacks boxes).*x0, y0, x1, y1 in px of the scene"
    with pytest.raises(ValueError, match=said):
        READERS["additing-affordance"](folder)


@pytest.mark.parametrize("box", [[0, 0, 97, 4], [0, 0, 4, 81], [0, 0, 10**400, 4]])
def test_a_place_outside_of_the_scene_is_said(tmp_path, box):
    folder = parts.save_sets(tmp_path / "sets", [parts.prompt_set(boxes=[box])])
    with pytest.raises(ValueError, match="sets.json, entry 0, boxes has .* but 0.png is 96x80 px"):
        READERS["additing-affordance"](folder)[0]


# Emu Edit


def emu_row(idx, instruction="Add a fork to the plate", task="add", **changes):
    row = {
        "instruction": instruction,
        "image": stored(parts.picture(idx, (64, 48))),
        "task": task,
        "split": "validation",
        "idx": idx,
        "hash": "0",
        "input_caption": "a plate",
        "output_caption": "a plate and a fork",
    }
    return {**row, **changes}


@pytest.fixture
def emu(tmp_path):
    """Three additions in two files of the validation split, among others; the test split is not read."""
    rows = [
        emu_row(11),
        emu_row(12, task="remove"),
        emu_row(13, "Have a dog sit there", output_caption="a plate and a dog"),
        emu_row(14, "Put a red ball on the table", input_caption=None),
    ]
    write(tmp_path / "data" / "validation-00000-of-00002-a.parquet", rows[:2])
    write(tmp_path / "data" / "validation-00001-of-00002-b.parquet", rows[2:])
    write(tmp_path / "data" / "test-00000-of-00001-c.parquet", [emu_row(99)])
    return tmp_path


def test_emu_edit_reads_the_additions_of_the_validation_split(emu):
    benchmark = READERS["emuedit-add"](emu)
    assert benchmark.names == ("11", "13", "14")
    case = benchmark[0]
    assert same(case.scene, parts.picture(11, (64, 48)))
    assert (case.scene_caption, case.caption) == ("a plate", "a plate and a fork")
    assert (case.subject, case.instruction) == ("fork", "Add a fork to the plate")
    assert benchmark[1].subject == "" and "subject" not in benchmark[1].truths
    assert benchmark[2].subject == "red ball" and "scene caption" not in benchmark[2].truths


def test_emu_edits_subjects_may_be_named_beside_it(emu):
    (emu / "subjects.json").write_text('{"13": "dog:1", "11": "silver fork"}', encoding="utf-8")
    benchmark = READERS["emuedit-add"](emu)
    cases = [benchmark[index] for index in range(3)]
    assert [case.subject for case in cases] == ["silver fork", "dog", "red ball"]
    assert [case.subject_count for case in cases] == [None, 1, None]


@pytest.mark.parametrize(
    ("subjects", "said"),
    [
        ("[]", "subjects.json is no object"),
        ("{", "subjects.json is not JSON"),
        ('{"12": "dog"}', "subjects.json names 12, which is no idx of an addition"),
        ('{"13": ""}', "subjects.json, 13 names no subject"),
        ('{"13": 1}', "subjects.json, 13 is no text"),
        ('{"13": "dog:many"}', "subjects.json, 13 is “dog:many”"),
    ],
)
def test_subjects_that_are_malformed_are_said(emu, subjects, said):
    (emu / "subjects.json").write_text(subjects, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        READERS["emuedit-add"](emu)


def test_emu_edit_says_what_is_wrong(tmp_path):
    read = READERS["emuedit-add"]
    with pytest.raises(FileNotFoundError, match=r"data has no parquet file, validation-\*.parquet.*emu_edit_test_set"):
        read(tmp_path)
    path = tmp_path / "data" / "validation-00000-of-00001.parquet"
    write(path, [{name: value for name, value in emu_row(1).items() if name != "output_caption"}])
    with pytest.raises(ValueError, match="has no column output_caption; it has instruction, image, task"):
        read(tmp_path)
    write(path, [emu_row(1, task="remove"), emu_row(2, task="style")])
    with pytest.raises(ValueError, match=r"no row of the task add; its tasks are \['remove', 'style'\]"):
        read(tmp_path)
    write(path, [emu_row(1), emu_row(2, image=None)])
    with pytest.raises(ValueError, match="00001.parquet, row 1, image holds no picture"):
        read(tmp_path)[1]
    write(path, [emu_row(1), emu_row(2, image={"bytes": b"<html>", "path": None})])
    with pytest.raises(ValueError, match="00001.parquet, row 1, image is not a readable picture"):
        read(tmp_path)[1]
    write(path, [emu_row(1, instruction=" ")])
    with pytest.raises(ValueError, match="row 0, instruction is empty"):
        read(tmp_path)[0]
    write(path, [emu_row(1), emu_row(1)])
    with pytest.raises(ValueError, match="emuedit-add: names of cases must differ"):
        read(tmp_path)


def test_what_is_told_is_written_where_others_show_a_picture(tmp_path):
    from visual_insertion_pack.pipelines.evaluation.report import HEIGHT, draw_strip, object_piece

    folder = parts.save_sets(tmp_path / "sets", [parts.prompt_set(instruction="Add a word " * 60)])
    case = READERS["additing"](folder)[0]
    piece = np.asarray(object_piece(case))
    assert piece.shape == (HEIGHT, HEIGHT, 3) and piece.min() == 0 and (piece[:, -4:] == 255).all()
    strip = draw_strip(case, case.scene, None)
    assert isinstance(strip, Image.Image) and strip.height == HEIGHT
