"""python dev.py demo, as a user calls it: through the real host, with the models that ship."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def demo(home, *arguments):
    command = [sys.executable, ROOT / "dev.py", "demo", *map(str, arguments)]
    variables = {**os.environ, "COMFYUI_PATH": str(home)}
    return subprocess.run(command, capture_output=True, text=True, env=variables)


@pytest.fixture(scope="module")
def made(home, tmp_path_factory):
    """One run on a turned photograph and a grey object with transparency."""
    folder = tmp_path_factory.mktemp("demo")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (150, 260), (120, 140, 160)).save(folder / "scene.jpg", exif=exif)
    Image.new("LA", (33, 47), (90, 128)).save(folder / "object.png")
    output = folder / "out"
    shown = demo(
        home,
        *("--scene", folder / "scene.jpg", "--object", folder / "object.png"),
        *("--seed", 7, "--steps", 3, "--output", output),
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return shown.stdout, output


def test_the_demo_leaves_pictures_and_a_report(made):
    said, output = made
    names = {"scene.png", "object.png", "result.png", "mask.png", "sheet.png", "report.json"}
    assert {path.name for path in output.iterdir() if not path.name.startswith(".")} == names
    for name in ("scene", "result", "mask"):
        assert Image.open(output / f"{name}.png").size == (128, 74)
    assert str(output) in said
    assert "dev.py serve" in said


def test_the_demos_mask_is_black_where_the_result_is_the_scene(made):
    scene, result, mask = (np.asarray(Image.open(made[1] / f"{name}.png")) for name in ("scene", "result", "mask"))
    report = json.loads((made[1] / "report.json").read_text("utf-8"))
    assert report["changed_share"] == pytest.approx((mask > 0).mean(), abs=1e-4)
    assert np.abs(result.astype(int) - scene)[mask == 0].max(initial=0) <= 1  # a share below 1/255 is black too


def test_the_demo_writes_over_nobodys_pictures(home, tmp_path):
    (tmp_path / "result.png").write_bytes(b"mine")
    shown = demo(home, "--output", tmp_path)
    assert shown.returncode == 1 and "holds result.png, which would be written over" in shown.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


def test_the_demo_says_that_its_models_are_toys(made):
    assert "toys" in made[0]


def test_the_demo_shows_the_servers_steps(made):
    assert "3/3 steps" in made[0]


def test_the_report_says_what_was_run(made):
    report = json.loads((made[1] / "report.json").read_text("utf-8"))
    assert (report["seed"], report["steps"]) == (7, 3)
    assert set(report["seconds"]) == {"boot", "pictures", "upload", "run", "save"}
    assert report["comfyui"] and report["torch"] and report["model_files"]


def test_the_result_is_a_graph_for_the_canvas(made):
    graph = json.loads(Image.open(made[1] / "result.png").text["prompt"])
    assert "LoadImage" in {node["class_type"] for node in graph.values()}


def test_a_scene_whose_region_is_cut_out_keeps_its_size(home, tmp_path):
    shown = demo(home, "--workflow", "insert_in_local_region", "--steps", 2, "--output", tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert Image.open(tmp_path / "result.png").size == Image.open(tmp_path / "scene.png").size == (768, 768)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scene", "nowhere.png"], "there is no picture nowhere.png"),
        (["--workflow", "no-such"], "there is no workflow 'no-such'"),
    ],
)
def test_a_mistake_is_one_sentence(home, arguments, sentence):
    shown = demo(home, *arguments)
    assert shown.returncode == 1
    assert sentence in shown.stderr
    assert "Traceback" not in shown.stderr


def test_missing_real_weights_are_listed_with_how_to_get_them(home, tmp_path):
    """In a host without models, so that no weight of this machine is found; it never starts."""
    for name in ("main.py", "requirements.txt"):
        shutil.copy(home / name, tmp_path)
    shown = demo(tmp_path, "--models", "real")
    assert shown.returncode == 2, shown.stdout + shown.stderr
    assert "weights fetch" in shown.stdout
    assert str(tmp_path / "models") in shown.stdout
