"""Public test sets in their publishers' layouts, made small: what is read of them, and what is said when they are not
as they should be."""

import csv
import io
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.evaluation.benchmarks import READERS
from visual_insertion_pack.pipelines.evaluation.benchmarks.files import Rows
from visual_insertion_pack.pipelines.evaluation.benchmarks.magicbrush import is_addition
from visual_insertion_pack.tests.evaluation_parts import picture


def stored(image, form="PNG"):
    """As Hugging Face datasets store a picture."""
    data = io.BytesIO()
    image.save(data, form)
    return {"bytes": data.getvalue(), "path": f"a.{form.lower()}"}


def write(path, rows, group=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)


def spot(size, box, high=255):
    """White in a box, black elsewhere."""
    image = Image.new("L", size)
    image.paste(high, box)
    return image


def same(image, other):
    return np.array_equal(np.asarray(image), np.asarray(other))


# PIPE


@pytest.fixture
def pipe(tmp_path):
    """Three pairs of 64x64 px; two objects of one picture; masks of the originals' 128x32 px, in another order."""
    pairs, masks = [], []
    for number, (img, ann) in enumerate([("11", "5"), ("11", "6"), ("12", "5")]):
        pairs.append(
            {
                "source_img": stored(picture(number, (64, 64))),
                "target_img": stored(picture(10 + number, (64, 64))),
                "Instruction_VLM-LLM": "add a red ball" if number else "",
                "Instruction_Class": "add a ball",
                "Instruction_Ref_Dataset": "",
                "object_location": "center",
                "target_img_dataset": "COCO",
                "img_id": img,
                "ann_id": ann,
            }
        )
        box = (32 + 16 * number, 8, 96, 24)
        masks.append({"mask": stored(spot((128, 32), box)), "target_img_dataset": "COCO", "img_id": img, "ann_id": ann})
    write(tmp_path / "PIPE" / "data" / "test-00000-of-00001-abc.parquet", pairs)
    write(tmp_path / "PIPE_Masks" / "data" / "test-00000-of-00002-abc.parquet", masks[2:])
    write(tmp_path / "PIPE_Masks" / "data" / "test-00001-of-00002-abc.parquet", masks[:2])
    return tmp_path, pairs, masks


def test_pipe_joins_by_picture_and_object(pipe):
    folder, _, _ = pipe
    benchmark = READERS["pipe"](folder)
    assert benchmark.names == ("11_5", "11_6", "12_5")
    for number in (2, 0, 1):
        case = benchmark[number]
        assert case.name == benchmark.names[number]
        assert same(case.scene, picture(number, (64, 64))) and same(case.target, picture(10 + number, (64, 64)))
        expected = np.zeros((64, 64), bool)
        expected[16:48, 16 + 8 * number : 48] = True  # each axis scaled on its own
        assert np.array_equal(case.mask, expected)
        box = (16 + 8 * number, 16, 48, 48)
        assert same(case.objects[0], case.target.crop(box)) and case.object_masks[0].all()
        assert case.instruction == ("add a red ball" if number else "add a ball")


def test_pictures_of_which_only_the_path_is_stored_are_read_from_their_files(tmp_path):
    content = stored(picture(9))["bytes"]
    (tmp_path / "scene.png").write_bytes(content)
    rows = [{"scene": {"bytes": None, "path": name}} for name in ("scene.png", str(tmp_path / "scene.png"), "gone.png")]
    write(tmp_path / "rows.parquet", rows)
    table = Rows(tmp_path, "*.parquet", columns=("scene",), source="")
    assert table[0]["scene"]["bytes"] == table[1]["scene"]["bytes"] == content
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist, and the data set stores only its path"):
        table[2]


def test_pipe_says_what_is_wrong(pipe, tmp_path):
    folder, pairs, masks = pipe
    read = READERS["pipe"]
    with pytest.raises(FileNotFoundError, match="data has no parquet file, test-.*paint-by-inpaint/PIPE_Masks"):
        read(folder / "PIPE")
    mask_file = folder / "PIPE_Masks" / "data" / "test-00000-of-00002-abc.parquet"
    write(mask_file, [masks[0]])
    with pytest.raises(ValueError, match="same .img_id, ann_id. twice"):
        read(folder)
    write(mask_file, [{**masks[2], "ann_id": "7"}])
    with pytest.raises(ValueError, match=r"lacks 1 of 3 .*\('12', '5'\)"):
        read(folder)
    write(mask_file, [{**masks[2], "mask": stored(spot((128, 32), (0, 0, 0, 0)))}])
    with pytest.raises(ValueError, match="test-00000-of-00002-abc.parquet, row 0 is an empty mask"):
        read(folder)[2]
    write(mask_file, [{**masks[2], "mask": {"bytes": b"no picture", "path": None}}])
    with pytest.raises(ValueError, match="row 0 is not a readable picture"):
        read(folder)[2]
    other = folder / "PIPE_Masks" / "data" / "test-00001-of-00002-abc.parquet"
    write(mask_file, masks[2:])
    write(other, [masks[0], {**masks[1], "mask": None}])
    with pytest.raises(ValueError, match="test-00001-of-00002-abc.parquet, row 1 holds no picture"):
        read(folder)[1]
    write(mask_file, [{name: value for name, value in masks[2].items() if name != "mask"}])
    with pytest.raises(ValueError, match="00000-of-00002-abc.parquet has no column mask; it has"):
        read(folder)
    mask_file.write_bytes(b"PAR1 broken")
    with pytest.raises(ValueError, match="not a readable parquet file"):
        read(folder)


# MagicBrush


@pytest.fixture
def magicbrush(tmp_path):
    scene, target = picture(1, (64, 48)), picture(2, (64, 48))
    (tmp_path / "images" / "139").mkdir(parents=True)
    images = tmp_path / "images" / "139"
    scene.save(images / "139-input.png")
    target.save(images / "139-output1.png")
    alpha = Image.new("L", (64, 48), 255)
    alpha.paste(0, (10, 20, 30, 40))
    marked = scene.copy()
    marked.putalpha(alpha)
    marked.save(images / "139-mask1.png")
    turns = [
        {
            "input": "139-input.png",
            "mask": "139-mask1.png",
            "output": "139-output1.png",
            "instruction": "Put a cat there",
        },
        {"input": "139-output1.png", "mask": "a", "output": "139-output2.png", "instruction": "Remove the cat"},
        {"input": "139-output1.png", "mask": "a", "output": "139-output3.png", "instruction": "Add a hat and a tie"},
    ]
    (tmp_path / "edit_turns.json").write_text(json.dumps(turns), encoding="utf-8")
    captions = {"139": {"139-input.png": "a train", "139-output1.png": "a cat on a train"}}
    (tmp_path / "global_descriptions.json").write_text(json.dumps(captions), encoding="utf-8")
    return tmp_path, scene, target


def test_magicbrush_reads_additions_with_their_masks_and_captions(magicbrush):
    folder, scene, target = magicbrush
    benchmark = READERS["magicbrush-add"](folder)
    assert benchmark.names == ("139-output1",)
    case = benchmark[0]
    assert same(case.scene, scene) and same(case.target, target)
    assert case.mask.sum() == 400 and case.mask[20:40, 10:30].all()
    assert same(case.objects[0], target.crop((10, 20, 30, 40)))
    assert (case.instruction, case.caption) == ("Put a cat there", "a cat on a train")
    assert case.scene_caption == "a train"
    assert is_addition("add a hand") and is_addition("Put sand on it.")
    assert not is_addition("let him have a hat") and not is_addition("an additional cat")


def test_magicbrush_masks_may_be_white_instead_of_transparent(magicbrush):
    folder, scene, _ = magicbrush
    marked = scene.copy()
    marked.paste((255, 255, 255), (10, 20, 30, 40))
    marked.save(folder / "images" / "139" / "139-mask1.png")
    assert READERS["magicbrush-add"](folder)[0].mask.sum() == 400
    scene.save(folder / "images" / "139" / "139-mask1.png")
    with pytest.raises(ValueError, match="139-mask1.png marks nothing"):
        READERS["magicbrush-add"](folder)[0]


def test_magicbrush_says_what_is_wrong(magicbrush):
    folder, _, _ = magicbrush
    read = READERS["magicbrush-add"]
    (folder / "images" / "139" / "139-output1.png").unlink()
    with pytest.raises(FileNotFoundError, match="139-output1.png does not exist"):
        read(folder)[0]
    (folder / "edit_turns.json").write_text('[{"input": "a"}]', encoding="utf-8")
    with pytest.raises(ValueError, match="entry 0 lacks instruction, mask, output"):
        read(folder)
    for content, said in (
        ('{"a": 1}', "edit_turns.json is no list"),
        ('["a"]', "edit_turns.json, entry 0 lacks input, instruction, mask, output"),
        ('[{"input": "a", "mask": "b", "output": "c", "instruction": 1}]', "entry 0 lacks instruction"),
    ):
        (folder / "edit_turns.json").write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=said):
            read(folder)
    (folder / "edit_turns.json").write_bytes(b'["\xff"]')
    with pytest.raises(ValueError, match="edit_turns.json is not JSON"):
        read(folder)
    (folder / "edit_turns.json").write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match="edit_turns.json is not JSON"):
        read(folder)
    (folder / "edit_turns.json").unlink()
    with pytest.raises(FileNotFoundError, match="osunlp/MagicBrush"):
        read(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [("[]", "global_descriptions.json is no object"), ('{"139": []}', "global_descriptions.json, 139 is no object")],
)
def test_magicbrush_says_what_is_wrong_with_captions(magicbrush, content, said):
    folder, _, _ = magicbrush
    (folder / "global_descriptions.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        READERS["magicbrush-add"](folder)


# OPA


@pytest.fixture
def opa(tmp_path):
    for name in ("foreground/cat", "background/cat", "composite/test_set"):
        (tmp_path / name).mkdir(parents=True)
    picture(1, (40, 30)).save(tmp_path / "foreground" / "cat" / "7.jpg", quality=95)
    spot((40, 30), (10, 5, 30, 25)).save(tmp_path / "foreground" / "cat" / "mask_7.jpg", quality=95)
    picture(2, (80, 60)).save(tmp_path / "background" / "cat" / "3.jpg", quality=95)
    rows = []
    for label, box in ((1, (20, 10, 40, 30)), (0, (0, 0, 20, 20))):
        x, y = box[:2]
        name = f"7_3_{x}_{y}_20_20_0.25_{label}.jpg"
        picture(3 + label, (80, 60)).save(tmp_path / "composite" / "test_set" / name, quality=95)
        spot((80, 60), box).save(tmp_path / "composite" / "test_set" / f"mask_{name}", quality=95)
        at = "dataset/composite/test_set"
        rows.append(
            {
                "fg_id": 7,
                "bg_id": 3,
                "position": f"[{x}, {y}, 20, 20]",
                "scale": 0.25,
                "label": label,
                "img_name": f"{at}/{name}",
                "mask_name": f"{at}/mask_{name}",
            }
        )
    return tmp_path, rows


def write_table(folder, rows):
    with open(folder / "test_set.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def test_opa_reads_plausible_composites(opa):
    folder, rows = opa
    write_table(folder, rows)
    benchmark = READERS["opa"](folder)
    assert benchmark.names == ("7_3_20_10_20_20_0.25_1",)
    case = benchmark[0]
    assert case.scene.size == case.target.size == (80, 60) and case.objects[0].size == (40, 30)
    assert case.mask[12:28, 22:38].all() and 350 < case.mask.sum() < 450
    assert case.object_masks[0][7:23, 12:28].all() and 350 < case.object_masks[0].sum() < 450
    assert case.instruction == "Add a cat"


def test_opa_says_what_is_wrong(opa):
    folder, rows = opa
    read = READERS["opa"]
    with pytest.raises(FileNotFoundError, match="Object-Placement-Assessment-Dataset-OPA"):
        read(folder)
    write_table(folder, [{**rows[0], "fg_id": 8}])
    with pytest.raises(FileNotFoundError, match="lacks 1 objects, such as 8.jpg"):
        read(folder)
    write_table(folder, [{**rows[0], "img_name": "elsewhere/a.jpg"}])
    with pytest.raises(ValueError, match="elsewhere/a.jpg, which is not in composite"):
        read(folder)
    write_table(folder, rows[1:])
    with pytest.raises(ValueError, match="no row with label 1"):
        read(folder)
    write_table(folder, [{"a": 1}])
    with pytest.raises(ValueError, match="no column fg_id, bg_id"):
        read(folder)
    write_table(folder, rows)
    whole = (folder / "test_set.csv").read_bytes()
    (folder / "test_set.csv").write_bytes(whole[: whole.index(b"]", whole.index(b"[0, 0")) + 2])
    with pytest.raises(ValueError, match="test_set.csv, line 3 is cut: no scale, label, img_name, mask_name"):
        read(folder)
    (folder / "test_set.csv").write_bytes(whole + b"\xff")
    with pytest.raises(ValueError, match="test_set.csv is not a csv in UTF-8"):
        read(folder)


# DreamEditBench


def dream_row(subject="duck toy", task="Addition", box=(100, 200, 300, 400), views=2):
    images = {f"subject_images_{n}": stored(picture(n, (30, 40))) if n <= views else None for n in range(1, 5)}
    return {
        "subject_names": subject,
        **images,
        "source_images": stored(picture(9, (80, 60))),
        "identifier": "sks",
        "source_prompt": "a lawn",
        "target_prompt": "a sks toy on a lawn",
        "add_bounding_box": list(box) if box else None,
        "task_type": task,
    }


def test_dream_edit_bench_reads_additions_with_all_views(tmp_path):
    rows = [dream_row(task="Replacement", box=None), dream_row(), dream_row(views=4)]
    write(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    benchmark = READERS["dreameditbench"](tmp_path)
    assert benchmark.names == ("duck_toy_00", "duck_toy_01")
    case = benchmark[0]
    assert case.scene.size == (512, 512) and case.target is None and len(case.objects) == 2
    assert case.mask[200:400, 100:300].all() and case.mask.sum() == 200 * 200
    assert len(benchmark[1].objects) == 4 and case.caption == "a toy on a lawn" and not case.instruction


def test_dream_edit_bench_says_what_is_wrong(tmp_path):
    path, read = tmp_path / "data" / "train-00000-of-00001.parquet", READERS["dreameditbench"]
    with pytest.raises(FileNotFoundError, match="DreamEditBench_SelfContained"):
        read(tmp_path)
    write(path, [dream_row(task="Replacement")])
    with pytest.raises(ValueError, match=r"no addition; its task_type are \['Replacement'\]"):
        read(tmp_path)
    for box in (
        (300, 200, 100, 400),
        (0, 0, 0.4, 400),
        (-1, 0, 9, 9),
        (0, 0, 9, 513),
        (0, 0, 9),
        (0.0, 0.0, 9.0, float("nan")),
        ("0", "0", "9", "9"),
        None,
    ):
        write(path, [dream_row(task="Replacement", box=None), dream_row(box=box)])
        with pytest.raises(ValueError, match="train-00000-of-00001.parquet, row 1, add_bounding_box is"):
            read(tmp_path)[0]


def test_dream_edit_bench_rounds_boxes(tmp_path):
    write(tmp_path / "data" / "train-00000-of-00001.parquet", [dream_row(box=(99.6, 200.0, 300.4, 512.0))])
    mask = READERS["dreameditbench"](tmp_path)[0].mask
    assert mask[200:, 100:300].all() and mask.sum() == 312 * 200


# AnyInsertion


def insertion_row(number=1, category="object", split="test", **more):
    return {
        "id": f"{split}/{category}/{number}",
        "split": split,
        "category": category,
        "ref_image": stored(picture(1, (40, 30))),
        "ref_mask": stored(spot((40, 30), (10, 5, 30, 25))),
        "src_image": stored(picture(2, (80, 60))),
        "tar_image": stored(picture(3, (80, 60))),
        "text": "a mug on the table",
        **more,
    }


def test_any_insertion_reads_test_objects(tmp_path):
    rows = [insertion_row(), insertion_row(category="garment"), insertion_row(split="train")]
    write(tmp_path / "text_prompt" / "a.parquet", rows)
    benchmark = READERS["anyinsertion"](tmp_path)
    assert benchmark.names == ("test_object_1",)
    case = benchmark[0]
    assert same(case.scene, picture(2, (80, 60))) and same(case.target, picture(3, (80, 60)))
    assert case.mask is None and case.object_masks[0].sum() == 400
    assert case.caption == "a mug on the table" and not case.instruction


def test_any_insertion_says_what_is_wrong(tmp_path):
    read = READERS["anyinsertion"]
    with pytest.raises(FileNotFoundError, match=r"has no parquet file, \*\*/\*.parquet.*AnyInsertion_V1"):
        read(tmp_path)
    row = insertion_row()
    write(tmp_path / "a.parquet", [{name: value for name, value in row.items() if name != "src_image"}])
    with pytest.raises(ValueError, match="no column src_image; it has id, split, category, ref_image"):
        read(tmp_path)
    write(tmp_path / "a.parquet", [insertion_row(category="garment")])
    with pytest.raises(ValueError, match=r"no test row of category object; it has \[\('test', 'garment'\)\]"):
        read(tmp_path)
