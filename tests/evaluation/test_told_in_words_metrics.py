"""Metrics of insertions that are told in words: Emu Edit's similarities, inclusion by a detector, and affordance."""

import csv
import json
import re
import shutil
import socket
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.evaluation import case_metrics, detection, features, placement, protocol
from visual_insertion_pack.pipelines.evaluation.backbones import Backbones, load_backbones
from visual_insertion_pack.pipelines.evaluation.benchmarks import READERS
from visual_insertion_pack.tests import evaluation_parts as parts

LEFT = (8, 20, 28, 40)  # px in scenes of 96x80
RIGHT = (60, 20, 80, 40)
RED = (255, 0, 0)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("networks") / "clip_b32"
    parts.save_clip(folder, 224, 32)
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    return parts.save_grounding_dino(tmp_path_factory.mktemp("networks") / "detector")


@pytest.fixture
def case(tmp_path):
    """A scene with two marked places, told to get a red square."""
    entry = parts.prompt_set(subject_token="red square", boxes=[list(RIGHT), [0, 60, 30, 80]])
    return READERS["additing-affordance"](parts.save_sets(tmp_path / "sets", [entry]))[0]


def with_squares(picture, *boxes):
    changed = picture.copy()
    for box in boxes:
        changed.paste(RED, box)
    return changed


def red_squares(picture, subject):
    """Stands in for a detector: the boxes of what is pure red, the largest first."""
    assert subject == "red square"
    labels, _ = ndimage.label((np.asarray(picture) == RED).all(-1))
    slices = ndimage.find_objects(labels)
    boxes = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in slices]
    return sorted((tuple(map(float, box)) for box in boxes), key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))


# CLIPdir, CLIPout, CLIPim


def test_emu_edits_similarities_are_those_of_clip_itself(clip_folder, case):
    from transformers import CLIPModel, CLIPTokenizer

    result = with_squares(case.scene, RIGHT)
    backbones = load_backbones({"clip_b32": clip_folder})
    row = case_metrics.measure_case(case, {"m": result}, backbones)["m"]

    network = CLIPModel.from_pretrained(clip_folder)
    tokenizer = CLIPTokenizer.from_pretrained(clip_folder)
    prepare = features.preparation(224, 224, features.CLIP_STATISTICS)

    @torch.no_grad()
    def seen(picture):
        vector = network.visual_projection(network.vision_model(prepare(picture)[None]).pooler_output)[0]
        return (vector / vector.norm()).double()

    @torch.no_grad()
    def read(text):
        tokens = tokenizer(text, return_tensors="pt")
        vector = network.text_projection(network.text_model(**tokens).pooler_output)[0]
        return (vector / vector.norm()).double()

    change = seen(result) - seen(case.scene)
    told = read("a b ba") - read("a b")
    assert row["clip_im"] == pytest.approx(float(seen(result) @ seen(case.scene)), abs=1e-6)
    assert row["clip_out"] == pytest.approx(float(seen(result) @ read("a b ba")), abs=1e-6)
    assert row["clip_out"] == pytest.approx(row["clip_t"], abs=1e-6)
    assert row["clip_dir"] == pytest.approx(float(change @ told / change.norm() / told.norm()), abs=1e-4)


def test_the_change_of_pictures_agrees_with_that_of_captions_and_not_with_its_opposite(case):
    """With vectors chosen so that the truth is known: the result goes the captions' way by half."""
    vectors = {"scene": [1.0, 0, 0], "along": [0.8, 0.6, 0], "a b": [0, 0, 1.0], "a b ba": [-0.12, 0.36, 0.925]}
    unit = {name: torch.nn.functional.normalize(torch.tensor(v), dim=0) for name, v in vectors.items()}
    along = Image.new("RGB", case.scene.size, RED)
    clip = SimpleNamespace(
        tokenizer=True,
        pictures=lambda some: torch.stack([unit["along" if one is along else "scene"] for one in some]),
        texts=lambda texts: torch.stack([unit[text] for text in texts]),
    )
    told = unit["a b ba"] - unit["a b"]
    change = unit["along"] - unit["scene"]
    expected = float(torch.dot(told, change) / (told.norm() * change.norm()))
    similar = case_metrics.edit_similarities
    assert similar(clip, case, {"m": along})["m"]["clip_dir"] == pytest.approx(expected, abs=1e-6)
    assert expected > 0.9
    back = replace(case, scene_caption="a b ba", caption="a b")
    assert similar(clip, back, {"m": along})["m"]["clip_dir"] == pytest.approx(-expected, abs=1e-6)


def test_no_change_agrees_with_nothing_and_captions_that_say_the_same_have_no_direction(clip_folder, case):
    clip = load_backbones({"clip_b32": clip_folder}).clip_b32
    similar = case_metrics.edit_similarities
    row = similar(clip, case, {"unchanged": case.scene})["unchanged"]
    assert row["clip_dir"] == 0 and row["clip_im"] == pytest.approx(1, abs=1e-6)
    same = similar(clip, replace(case, caption=case.scene_caption), {"m": Image.new("RGB", (96, 80))})["m"]
    assert set(same) == {"clip_im", "clip_out"}
    assert similar(clip, replace(case, scene_caption=""), {"m": case.scene}) == {}
    assert set(similar(clip, replace(case, caption=""), {"m": case.scene})["m"]) == {"clip_im"}


def test_a_clip_that_cannot_read_measures_clip_im_alone(clip_folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "clip").mkdir(exist_ok=True)
        shutil.copy(clip_folder / name, tmp_path / "clip" / name)
    benchmark = READERS["additing"](parts.save_sets(tmp_path / "sets", [parts.prompt_set()]))
    folder = protocol.make_results(benchmark, "m", lambda case: case.scene, tmp_path / "m", {})
    table = protocol.measure(benchmark, {"m": folder}, load_backbones({"clip_b32": tmp_path / "clip"}))
    assert table.values["m"]["clip_im"][0] == pytest.approx(1, abs=1e-6)
    for name in ("clip_t", "clip_dir", "clip_out"):
        assert table.missing[name] == "the folder of --clip-b32 has no tokenizer"


# Inclusion and affordance


def test_only_what_the_scene_did_not_have_is_included(case):
    before = replace(case, scene=with_squares(case.scene, LEFT))
    results = {
        "unchanged": before.scene,
        "moved a little": with_squares(case.scene, tuple(side + 2 for side in LEFT)),
        "added": with_squares(before.scene, RIGHT),
        "gone": case.scene,
    }
    rows = case_metrics.measure_case(before, results, Backbones(detector=red_squares))
    assert {name: row["inclusion_detected"] for name, row in rows.items()} == {
        "unchanged": 0,
        "moved a little": 0,
        "added": 1,
        "gone": 0,
    }
    assert {name for name, row in rows.items() if "affordance" in row} == {"added"}


def test_affordance_is_the_share_of_new_objects_with_half_of_their_area_in_a_marked_place(case):
    inside = RIGHT
    half = (50, 20, 70, 40)  # 10 of its 20 columns are
    less = (49, 20, 69, 40)
    results = {
        "inside": with_squares(case.scene, inside),
        "half": with_squares(case.scene, half),
        "less": with_squares(case.scene, less),
        "one of two": with_squares(case.scene, inside, LEFT),
        "one of three": with_squares(case.scene, inside, LEFT, (34, 50, 44, 60)),
        "other place": with_squares(case.scene, (5, 58, 25, 78)),
        "nothing": case.scene,
    }
    rows = case_metrics.measure_case(case, results, Backbones(detector=red_squares))
    shares = {name: row.get("affordance") for name, row in rows.items()}
    assert shares == {
        "inside": 1,
        "half": 1,
        "less": 0,
        "one of two": 0.5,
        "one of three": pytest.approx(1 / 3),
        "other place": 1,
        "nothing": None,
    }
    assert rows["nothing"]["inclusion_detected"] == 0


def test_so_many_of_a_subject_as_it_says_are_looked_for_the_surest_first(case):
    larger = (60, 16, 82, 40)
    result = {"m": with_squares(case.scene, larger, LEFT)}
    for count, share in ((None, 0.5), (1, 1), (2, 0.5), (5, 0.5)):
        row = case_metrics.measure_case(replace(case, subject_count=count), result, Backbones(detector=red_squares))
        assert row["m"]["affordance"] == share


def test_without_a_detector_what_appeared_is_compared_with_the_marked_places(case):
    results = {
        "inside": with_squares(case.scene, RIGHT),
        "outside": with_squares(case.scene, LEFT),
        "nothing": case.scene,
    }
    rows = case_metrics.measure_case(case, results, Backbones())
    assert {name: row.get("affordance_found") for name, row in rows.items()} == {
        "inside": 1,
        "outside": 0,
        "nothing": None,
    }
    assert not any(name in row for row in rows.values() for name in ("affordance", "inclusion_detected", "copy_paste"))


def test_the_share_of_a_box_inside_of_another():
    share = placement.share_inside
    assert share((0, 0, 10, 10), (5, 5, 20, 20)) == 0.25
    assert share((0, 0, 10, 10), (-5, -5, 20, 20)) == 1
    assert share((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert share((5, 5, 5, 9), (0, 0, 20, 20)) == 0  # of no area


# What each benchmark can measure


def test_every_metric_that_cannot_be_measured_says_why(clip_folder, tmp_path):
    entries = [parts.prompt_set(index=index) for index in range(2)]
    benchmark = READERS["additing"](parts.save_sets(tmp_path / "sets", entries))
    folder = protocol.make_results(benchmark, "m", lambda case: with_squares(case.scene, RIGHT), tmp_path / "m", {})
    table = protocol.measure(benchmark, {"m": folder}, load_backbones({"clip_b32": clip_folder}))
    measured = {metric.name for metric in table.metrics}
    assert measured == {
        *("clip_t", "clip_dir", "clip_out", "clip_im", "inclusion"),
        *("background_l1", "background_psnr", "background_ssim"),
    }
    why = table.missing
    assert why["inclusion_detected"] == "no --detector: transformers folder of IDEA-Research/grounding-dino-base"
    assert why["affordance_found"] == "no case has a marked place"
    assert why["l1"] == why["clip_i"] == "no case has a target"
    assert why["dino"] == "no case has a target, and no --dino: transformers folder of facebook/dino-vits16"
    assert why["affordance"].startswith("no case has a subject and marked place, and no --detector: ")
    assert why["placement_iou"] == "no case has a target or mask"
    assert why["identity_clip_found"] == why["copy_paste"] == "no case has a picture of the object"
    detected = protocol.measure(benchmark, {"m": folder}, Backbones(detector=lambda picture, subject: []))
    assert detected.missing["affordance"] == "no case has a subject and marked place"
    assert detected.values["m"]["inclusion_detected"].tolist() == [0, 0]


def test_what_was_detected_is_kept_and_another_subject_is_detected_anew(tmp_path, monkeypatch):
    looked = []

    class Counting:
        network = torch.nn.Linear(1, 1)

        def __call__(self, picture, subject):
            looked.append(subject)
            return []

    def measure(subject):
        sets = parts.save_sets(tmp_path / subject, [parts.prompt_set(subject_token=subject)])
        benchmark = READERS["additing"](sets)
        folder = protocol.make_results(benchmark, "m", lambda case: case.scene, tmp_path / "m", {})
        protocol.measure(benchmark, {"m": folder}, Backbones(detector=detector), store=tmp_path / "store")

    detector = Counting()
    for subject in ("ball", "ball", "cube"):
        shutil.rmtree(tmp_path / subject, ignore_errors=True)
        measure(subject)
    assert looked == ["ball", "ball", "cube", "cube"]  # scene and result, once each


# Grounding-DINO


def test_boxes_are_those_of_transformers_own_grounding_dino(dino_folder, monkeypatch):
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    picture = with_squares(parts.picture(1, (120, 80)), LEFT)
    network = GroundingDinoForObjectDetection.from_pretrained(dino_folder).eval()
    processor = GroundingDinoProcessor.from_pretrained(dino_folder)
    inputs = processor(images=picture, text="red square.", return_tensors="pt")
    with torch.no_grad():
        outputs = network(**inputs)
    scores = outputs.logits[0].sigmoid().amax(-1)
    threshold = float(scores.median())
    x, y, width, height = outputs.pred_boxes[0, scores > threshold].unbind(-1)
    expected = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)
    expected = (expected * torch.tensor([120.0, 80, 120, 80])).clamp(min=0)
    expected = torch.minimum(expected, torch.tensor([120.0, 80, 120, 80]))

    def refuse(*arguments):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(detection, "THRESHOLD", threshold)
    monkeypatch.setattr(detection, "SAME_OBJECT", 1.1)  # every box
    found = torch.tensor(detection.load_detector(dino_folder)(picture, "Red square"))
    order = scores[scores > threshold].argsort(descending=True)
    assert 5 < len(found) == len(expected)
    assert torch.allclose(found, expected[order], atol=1e-3)


def test_boxes_of_one_object_count_once_and_end_at_the_pictures_edge(dino_folder):
    """The processor's own part is played by three boxes; two are of one object."""
    detector = detection.load_detector(dino_folder)
    boxes = torch.tensor([[0.0, 0, 20, 20], [-4, 0, 20, 20], [60, 50, 130, 90]])
    answer = {"boxes": boxes, "scores": torch.tensor([0.5, 0.9, 0.7])}

    class Processor:
        def __call__(self, **given):
            return detector.processor(**given)

        def post_process_grounded_object_detection(self, outputs, input_ids, threshold, target_sizes):
            assert (threshold, target_sizes) == (0.4, [(80, 120)])
            return [answer]

    found = replace(detector, processor=Processor())(parts.picture(1, (120, 80)), "ball")
    assert found == [(0, 0, 20, 20), (60, 50, 120, 80)]
    assert detection.new_boxes(found, [(0, 0, 20, 12)]) == [(60, 50, 120, 80)]
    assert detection.new_boxes(found, [(0, 0, 20, 10)]) == found  # by half, not more
    assert detection.new_boxes([], found) == [] and detection.new_boxes(found, []) == found


def test_other_networks_and_damaged_folders_are_refused_as_a_detector(dino_folder, clip_folder, tmp_path):
    load = detection.load_detector
    with pytest.raises(FileNotFoundError, match="config.json is missing. Needed is a transformers folder"):
        load(tmp_path)
    with pytest.raises(ValueError, match="another network, clip. Needed is grounding-dino or mm-grounding-dino"):
        load(clip_folder)
    folder = tmp_path / "detector"
    shutil.copytree(dino_folder, folder)
    (folder / "preprocessor_config.json").write_text("<html>", encoding="utf-8")
    with pytest.raises(ValueError, match="The processor in .*detector cannot be read"):
        load(folder)
    (folder / "model.safetensors").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="is not a readable safetensors"):
        load(folder)


def test_a_detector_of_another_size_than_the_published_one_is_marked(dino_folder):
    from transformers import SwinConfig

    assert load_backbones({"detector": dino_folder}).inexact() == ["detector"]
    base = SwinConfig(embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32])
    assert features.is_published(base, detection.GROUNDING_DINO_BASE)


# The command


def test_evaluate_scores_results_on_a_local_copy(clip_folder, dino_folder, tmp_path, capsys):
    entries = [
        parts.prompt_set(index=index, subject_token="red square", instruction="Add a red square", boxes=[list(RIGHT)])
        for index in (3, 4, 5)
    ]
    data = parts.save_sets(tmp_path / "sets", entries)
    file = tmp_path / "mine.py"
    file.write_text(
        "def add(case):\n    out = case.scene.copy()\n    out.paste((255, 0, 0), (60, 20, 80, 40))\n    return out\n"
    )
    shared = ["evaluate", "--benchmark", "additing-affordance", "--data", str(data), "--output", str(tmp_path / "out")]
    shared += ["--device", "cpu", "--clip-b32", str(clip_folder), "--detector", str(dino_folder)]
    code = main([*shared, "--method", "unchanged", "--function", f"mine={file}:add"])
    err = capsys.readouterr().err
    assert code == 0, err
    facts = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    mean = {name: {m: found and found["value"] for m, found in row.items()} for name, row in facts["summary"].items()}
    assert mean["unchanged"]["clip_dir"] == 0 and mean["unchanged"]["clip_im"] == pytest.approx(1, abs=1e-6)
    assert mean["mine"]["clip_im"] < 1 and mean["mine"]["affordance_found"] == 1
    assert mean["unchanged"]["inclusion_detected"] == 0
    assert facts["backbones_that_are_not_the_published_ones"] == ["clip_b32", "detector"]
    assert facts["settings"]["backbones"]["detector"]["sha256"]["model.safetensors"]
    assert facts["sorted_by"] == "clip_dir"
    with open(tmp_path / "out" / "table.csv", encoding="utf-8", newline="") as rows:
        in_table = {row["metric"] for row in csv.DictReader(rows)}
    assert {"clip_dir", "clip_out", "clip_im", "inclusion", "inclusion_detected", "affordance_found"} <= in_table
    assert not in_table & {"l1", "copy_paste", "placement_iou"}


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("copy_paste", "Case 0 shows no picture of its object, it is told in words: “Add ba to a b”"),
        ("perfect_copy", "Case 0 has no target to copy"),
        ("placed_object", "Case 0 has no mask that says where to place"),
        ("shuffled_object", "Case 0 shows no picture of its object"),
        ("visual-insertion", "Case 0 shows no picture of its object, .* Methods that are told: add-it and text"),
    ],
)
def test_methods_that_must_be_shown_an_object_say_so(tmp_path, capsys, method, said):
    data = parts.save_sets(tmp_path / "sets", [parts.prompt_set()])
    out = ["--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["evaluate", "--benchmark", "additing", "--data", str(data), *out, "--method", method]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Traceback" not in line
    assert re.search(said, line), line


def test_malformed_data_is_a_line_of_the_command(tmp_path, capsys):
    data = parts.save_sets(tmp_path / "sets", [parts.prompt_set(subject_token="")])
    out = ["--output", str(tmp_path / "out")]
    assert main(["evaluate", "--benchmark", "additing", "--data", str(data), *out, "--method", "unchanged"]) == 1
    assert "entry 0 lacks subject_token" in capsys.readouterr().err
    shutil.rmtree(data)
    assert main(["evaluate", "--benchmark", "additing", "--data", str(data), *out, "--method", "unchanged"]) == 2
    assert "sets.json does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
