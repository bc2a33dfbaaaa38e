"""`visual-insertion evaluate` on a few cases of the playroom, with the models that ship, and what it refuses."""

import json
import shutil
import socket
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from scipy import ndimage

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import evaluate
from visual_insertion_pack.pipelines.evaluation.backbones import BACKBONES
from visual_insertion_pack.pipelines.evaluation.benchmarks import READERS
from visual_insertion_pack.pipelines.evaluation.trivial import TRIVIAL_METHODS
from visual_insertion_pack.pipelines.paint_by_example.method import PaintByExample
from visual_insertion_pack.pipelines.playroom.judging.benchmark import playroom
from visual_insertion_pack.pipelines.playroom.judging.benchmarks import PLAYROOM_READERS
from visual_insertion_pack.tests import evaluation_parts as parts

RIM = 16  # px around the true mask: the pasted part's feather
TRIVIAL = ("unchanged", "copy_paste", "shuffled_object")


@pytest.fixture
def run(tmp_path, capsys):
    """run(*arguments): (exit code, stdout, stderr) on the first cases of the playroom."""

    def call(*arguments, benchmark="playroom", limit="3"):
        shared = ["--benchmark", benchmark, "--limit", limit, "--output", str(tmp_path / "out"), "--device", "cpu"]
        code = main(["evaluate", *shared, *arguments])
        return code, *capsys.readouterr()

    return call


def test_it_scores_the_shipped_models_against_trivial_methods_without_a_network(run, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    networks = parts.save_networks(tmp_path / "networks")
    given = [word for name in ("clip_b32", "dinov2") for word in (f"--{name.replace('_', '-')}", str(networks[name]))]
    code, out, err = run("--method", *TRIVIAL, "visual-insertion", "--steps", "4", "--against", "unchanged", *given)
    assert code == 0, err
    assert out.strip() == str(tmp_path / "out" / "index.html")
    facts = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    mean = {name: {m: found and found["value"] for m, found in row.items()} for name, row in facts["summary"].items()}
    assert mean["visual-insertion"]["inclusion"] == 1 == mean["visual-insertion"]["oracle_inserted"]
    assert mean["visual-insertion"]["oracle_identity"] > 0.6 > mean["shuffled_object"]["oracle_identity"]
    assert mean["visual-insertion"]["copy_paste"] == 0 and mean["copy_paste"]["copy_paste"] == 1
    assert mean["unchanged"]["oracle_identity"] == 0 == mean["unchanged"]["inclusion"]
    assert mean["visual-insertion"]["clip_i"] <= 1 and mean["copy_paste"]["identity_dinov2_found"] <= 1
    assert "no --dino:" in facts["missing"]["dino"] and facts["sorted_by"] == "oracle_identity"
    assert facts["settings"]["visual-insertion"]["steps"] == 4 and len(facts["cases"]) == 3
    pictures = sorted(path.name for path in (tmp_path / "out" / "results" / "visual-insertion").glob("*.png"))
    assert pictures == sorted(f"{case}.png" for case in facts["cases"])


def test_it_scores_paint_by_example_which_pastes_what_is_in_the_true_mask_only(run, tmp_path):
    folder = ROOT / "playroom_models" / "paint_by_example"
    settings = "--steps", "8", "--sampler", "ddim", "--similarity", "4"
    code, _, err = run("--method", "shuffled_object", "paint-by-example", "--paint-by-example", str(folder), *settings)
    assert code == 0, err
    facts = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    painted, shuffled = (facts["summary"][name] for name in ("paint-by-example", "shuffled_object"))
    assert painted["oracle_inserted"]["value"] == 1 and painted["copy_paste"]["value"] == 0
    assert painted["oracle_identity"]["value"] > 0.6 > 0.3 > shuffled["oracle_identity"]["value"]
    known = facts["settings"]["paint-by-example"]
    (files,) = known["files"].values()
    assert files["path"] == str(folder) and "unet/diffusion_pytorch_model.safetensors" in files["sha256"]
    assert known["weights"] and known["device"] == "cpu"
    assert (known["steps"], known["sampler"], known["similarity"], known["seed"]) == (8, "ddim", 4, 0)
    benchmark = playroom(ROOT / "playroom_models" / "judge.safetensors")
    for case in (benchmark[index] for index in range(3)):
        result = Image.open(tmp_path / "out" / "results" / "paint-by-example" / f"{case.name}.png")
        changed = (np.asarray(result) != np.asarray(case.scene)).any(-1)
        near = ndimage.binary_dilation(case.mask, np.ones((3, 3)), iterations=RIM)
        assert changed[case.mask].mean() > 0.9 and not changed[~near].any()


def test_paint_by_example_needs_masks_and_says_so_before_it_reads_models():
    squares = parts.squares()
    bare = replace(squares, read=lambda index: replace(squares.read(index), mask=None))
    args = Namespace(paint_by_example=Path("nowhere"), device="cpu", dtype=None)
    with pytest.raises(ValueError, match="disc0 of discs has no mask, .*playroom, pipe"):
        PaintByExample().inserter(args, bare)


def test_started_again_it_goes_on_and_takes_pictures_of_other_methods(run, tmp_path):
    assert run("--method", "unchanged", limit="2")[0] == 0
    first = tmp_path / "out" / "results" / "unchanged"
    stamps = {path: path.stat().st_mtime_ns for path in first.glob("*.png")}
    assert len(stamps) == 2
    assert run("--method", "unchanged")[0] == 0
    code, _, err = run("--method", "unchanged", "--results", f"mine={first}")
    assert code == 0, err
    assert len(list(first.glob("*.png"))) == 3 and all(path.stat().st_mtime_ns == at for path, at in stamps.items())
    facts = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert facts["summary"]["mine"] == facts["summary"]["unchanged"]
    assert all(found is None or found["value"] == 0 for found in facts["differences"]["mine"].values())


def test_batches_give_the_pictures_of_single_runs_also_when_gone_on(run, tmp_path):
    """With a sampler that draws noise in every step."""

    def pictures(folder):
        return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))}

    sampling = ("--method", "visual-insertion", "--steps", "3", "--sampler", "euler_ancestral")
    made = tmp_path / "out" / "results" / "visual-insertion"
    assert run(*sampling)[0] == 0
    alone = pictures(made)
    assert run(*sampling, "--batch", "2")[0] == 1  # not mixed
    shutil.rmtree(tmp_path / "out")
    assert run(*sampling, "--batch", "2")[0] == 0
    together = pictures(made)
    assert together.keys() == alone.keys() and len(alone) == 3
    assert all(np.abs(together[name] - alone[name]).max() <= 1 for name in alone)
    gone = sorted(together)[1]
    (made / gone).unlink()
    assert run(*sampling, "--batch", "2")[0] == 0
    assert np.array_equal(pictures(made)[gone], together[gone])


def test_seeds_are_runs_with_a_spread_and_no_network_counts_twice(run, tmp_path):
    code, _, err = run("--method", "visual-insertion", "unchanged", "--steps", "2", "--seeds", "2", limit="2")
    assert code == 0, err
    results = {path.name for path in (tmp_path / "out" / "results").iterdir()}
    assert results == {"visual-insertion", "visual-insertion_seed1", "unchanged"}
    facts = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert facts["settings"]["runs"]["visual-insertion"] == ["visual-insertion", "visual-insertion_seed1"]
    first, second = (
        np.asarray(Image.open(next((tmp_path / "out" / "results" / name).glob("*.png"))))
        for name in ("visual-insertion", "visual-insertion_seed1")
    )
    assert not np.array_equal(first, second)


def test_pictures_of_other_settings_are_not_mixed(run):
    assert run("--method", "visual-insertion", "--steps", "1", limit="1")[0] == 0
    code, _, err = run("--method", "visual-insertion", "--steps", "2", limit="1")
    assert code == 1 and "other settings" in err


def test_the_report_says_what_made_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["visual-insertion", "evaluate", "--some", "thing"])
    theirs = tmp_path / "theirs"
    assert run("--method", "unchanged", "visual-insertion", "--steps", "1", limit="1")[0] == 0
    shutil.copytree(tmp_path / "out" / "results" / "unchanged", theirs)
    assert run("--method", "visual-insertion", "--steps", "1", "--results", f"theirs={theirs}", limit="1")[0] == 0
    facts = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    settings = facts["settings"]
    assert settings["command"] == "visual-insertion evaluate --some thing"
    assert settings["software"]["diffusers"] and settings["software"]["commit"] and facts["libraries"]["python"]
    known = settings["visual-insertion"]
    own = json.loads((ROOT / "playroom_models" / "playroom.json").read_text("utf-8"))["guidance"]
    assert own.items() <= known["guidance"].items()  # nobody named them
    models = known["files"]["models"]["sha256"]
    assert models["unet/diffusion_pytorch_model.safetensors"] and not any("judge" in name for name in models)
    assert len(settings["results"]["theirs"]["sha256"]) == 64 and len(settings["cases"]) == 12
    picture = Image.open(tmp_path / "out" / "results" / "visual-insertion" / f"{facts['cases'][0]}.png")
    made = json.loads(picture.text["visual-insertion"])
    assert made["guidance"] == known["guidance"] and made["seed"] == 0 and made["method"] == "visual-insertion"


def test_a_function_of_the_user_is_a_method(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def dark(case):\n    return case.scene.point(lambda x: 0)\n\n\ndef none(case):\n    return 1\n")
    code, _, err = run("--function", f"dark={file}:dark", "--method", "unchanged", limit="2")
    assert code == 0, err
    facts = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert facts["summary"]["dark"]["l1"]["value"] > facts["summary"]["unchanged"]["l1"]["value"]
    file.write_text(file.read_text() + "# other\n")
    code, _, err = run("--function", f"dark={file}:dark", limit="2")
    assert code == 1 and "other settings" in err  # the source has changed
    code, _, err = run("--function", f"x={file}:gone", limit="1")
    assert code == 1 and "mine.py has no function gone" in err
    code, _, err = run("--function", f"x={file}:none", limit="1")
    assert code == 1 and "--function x gave a int for case 900001000; a PIL picture is needed" in err


def test_a_moved_folder_of_models_goes_on_with_the_pictures_made_so_far(run, tmp_path):
    ignored = shutil.ignore_patterns("paint_by_example", "judge.safetensors", "samples")
    models = shutil.copytree(ROOT / "playroom_models", tmp_path / "models", ignore=ignored)
    once = "--method", "visual-insertion", "--steps", "1", "--models"
    assert run(*once, str(models), limit="1")[0] == 0
    (made,) = (tmp_path / "out" / "results" / "visual-insertion").glob("*.png")
    stamp = made.stat().st_mtime_ns
    moved = models.rename(tmp_path / "elsewhere")
    assert run(*once, str(moved), limit="1")[0] == 0
    assert made.stat().st_mtime_ns == stamp


def test_pictures_of_other_weights_are_not_mixed_and_another_name_of_the_folder_is_no_other(run, tmp_path, monkeypatch):
    shipped = ROOT / "playroom_models"
    models = tmp_path / "models"
    shutil.copytree(shipped, models, ignore=shutil.ignore_patterns("paint_by_example", "judge.safetensors"))
    once = "--method", "visual-insertion", "--steps", "1", "--models"
    assert run(*once, str(models), limit="1")[0] == 0
    monkeypatch.chdir(tmp_path)
    assert run(*once, "models", limit="1")[0] == 0
    path = models / "embedding_optimizer.safetensors"
    with safe_open(path, "pt") as stored:
        tensors, metadata = {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata()
    tensors["queries"] = tensors["queries"] + 0.1
    save_file(tensors, path, metadata)
    code, _, err = run(*once, str(models), limit="1")
    assert code == 1 and "other settings" in err


def test_what_is_wrong_is_said_before_pictures_are_made(run, tmp_path):
    (tmp_path / "theirs").mkdir()
    wrong = ("--against", "other"), ("--sort-by", "nothing"), ("--results", f"theirs={tmp_path / 'theirs'}")
    for arguments in wrong:
        assert run("--method", "copy_paste", *arguments)[0] != 0
    assert not (tmp_path / "out").exists()


def test_pictures_of_unknown_origin_are_not_taken_for_the_methods_own(run, tmp_path):
    folder = tmp_path / "out" / "results" / "unchanged"
    folder.mkdir(parents=True)
    Image.new("RGB", (128, 128)).save(folder / "900001000.png")
    code, _, err = run("--method", "unchanged", limit="1")
    assert code == 1 and "unknown origin" in err


def test_a_smaller_run_leaves_no_older_strips(run, tmp_path):
    for limit in ("3", "1"):
        assert run("--method", "unchanged", "copy_paste", limit=limit)[0] == 0
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    strips = [path.name for path in (tmp_path / "out" / "pictures").iterdir()]
    assert strips and all(f"pictures/{name}" in page for name in strips)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "Nothing to score"),
        (("--method", "unchanged", "--limit", "0"), 2, "--limit"),
        (("--method", "unchanged", "--batch", "0"), 2, "--batch"),
        (("--method", "paint-by-example"), 2, "--paint-by-example PATH is needed"),
        (("--method", "paint-by-example", "--paint-by-example", "nowhere"), 2, "Needed is a diffusers folder of Paint"),
        (("--method", "visual-insertion", "--steps", "0"), 1, "At least 1 step is needed"),
        (("--method", "visual-insertion", "--sampler", "plms"), 1, "sampler 'plms'"),
        (("--results", "mine=nowhere"), 2, "nowhere is not a folder"),
        (("--results", "mine"), 1, "NAME=FOLDER"),
        (("--method", "unchanged", "unchanged"), 2, "--method has unchanged twice"),
        (("--function", "mine"), 1, "NAME=FILE.py:FUNCTION is needed"),
        (("--function", "mine=gone.py:insert"), 2, "gone.py does not exist"),
        (("--method", "visual-insertion", "--run", "nowhere"), 2, "embedding_optimizer.safetensors is missing"),
        (("--method", "visual-insertion", "--run", "x", "--unet-patch", "y"), 1, "leave out --unet-patch"),
        (("--method", "visual-insertion", "--unet-patch", "nowhere"), 2, "nowhere does not exist"),
        (("--method", "unchanged", "--dino", "nowhere"), 2, "config.json is missing"),
        (("--method", "unchanged", "--vae", "nowhere"), 2, "config.json is missing"),
        (("--method", "unchanged", "--against", "other"), 1, "no method other"),
        (("--method", "unchanged", "--sort-by", "dino"), 1, "no metric dino"),
    ],
)
def test_wrong_use_is_said_in_a_line(run, arguments, code, said):
    found, _, err = run(*arguments, limit="1")
    assert found == code and said in err and "Traceback" not in err


def test_public_benchmarks_need_their_data(run, tmp_path):
    code, _, err = run("--method", "unchanged", benchmark="pipe")
    assert code == 2 and "--data" in err
    code, _, err = run("--method", "unchanged", "--data", str(tmp_path), benchmark="pipe")
    assert code == 2 and "paint-by-inpaint/PIPE" in err


def test_results_must_be_complete(run, tmp_path):
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (128, 128)).save(tmp_path / "mine" / "900001000.png")
    code, _, err = run("--results", f"mine={tmp_path / 'mine'}")
    assert code == 2 and "lacks 2 of 3 results" in err


def test_what_is_spelt_out_in_the_command_is_what_there_is():
    assert evaluate.BACKBONES == BACKBONES
    assert evaluate.PLAYROOMS == tuple(PLAYROOM_READERS)
    assert set(evaluate.BENCHMARKS) == set(READERS) and set(evaluate.TRIVIAL) == set(TRIVIAL_METHODS)
