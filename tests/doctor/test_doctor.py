"""The doctor: what it finds in good and in broken installations, in how few words, and that it never breaks itself."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pytest
import torch

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.doctor import check, checks, hardware, installation, model_files, software
from visual_insertion_pack.pipelines.doctor.check import OK, PROBLEM, SKIPPED, WARNING, Check, examined
from visual_insertion_pack.pipelines.doctor.installation import find_installation
from visual_insertion_pack.pipelines.weights.manifest import load_manifest

TOYS = ROOT / "playroom_models"
HOME = "/".join(["", "home", "anna"])  # in pieces: no tracked file names such a path
CONTENT = b"weights " * 1000
SECRET = "hf_thisIsNobodysBusiness"


@pytest.fixture
def comfyui(tmp_path, monkeypatch):
    """A folder that looks like a ComfyUI with this pack, in the home folder of a user who is called anna."""
    home = tmp_path / "home" / "anna"
    folder = home / "ComfyUI"
    for name in ("comfy", "custom_nodes", "models/vae", "models/diffusers", "output"):
        (folder / name).mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (folder / name).touch()
    (folder / "comfyui_version.py").write_text('__version__ = "0.30.0"\n')
    (folder / "custom_nodes" / "visual-insertion").symlink_to(ROOT, target_is_directory=True)
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr(check.getpass, "getuser", lambda: "anna")
    monkeypatch.setenv("COMFYUI_PATH", str(folder))
    monkeypatch.delenv("COMFYUI_MODELS", raising=False)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return folder


@pytest.fixture
def only(monkeypatch):
    """only(*names): the command looks at these alone."""

    def choose(*names):
        chosen = {name: checks.OF_THE_COMMAND[name] for name in names}
        monkeypatch.setattr(checks, "OF_THE_COMMAND", chosen)

    return choose


def put(folder, content=b""):
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_bytes(content)
    return folder


def found(examination, **changes):
    """What an examination finds in the installation around us."""
    return list(examined({"it": examination}, replace(find_installation(), **changes)))


def one(examination, **changes):
    (only_one,) = found(examination, **changes)
    return only_one


# The command


def test_a_sound_installation_is_told_in_lines_and_ends_with_what_to_do_next(comfyui, capsys):
    assert main(["doctor", "--quick", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    states = {line.split()[0] for line in said.split("\nWhat to do next\n")[0].splitlines() if line and line[0] != " "}
    assert states <= {OK, SKIPPED}
    assert "ok       insertion by commands" in said
    assert said.split("\nWhat to do next\n")[1].startswith("1. For photographs, fetch weights")


def test_a_problem_is_exit_code_1_and_comes_first(comfyui, only, capsys):
    only("weights", "ComfyUI")
    (comfyui / "comfyui_version.py").write_text('__version__ = "0.3.0"\n')
    assert main(["doctor", "--quick"]) == 1
    assert "1. Update ComfyUI to 0.18.2 or newer." in capsys.readouterr().out


def test_json_says_the_same(comfyui, only, capsys):
    only("Python", "weights")
    assert main(["doctor", "--quick", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in findings["checks"]] == ["Python", "weights"]
    assert set(findings["checks"][0]) == {"name", "state", "found", "advice"}
    assert findings["next_steps"] == [findings["checks"][1]["advice"]]


def test_nothing_private_is_told(comfyui, capsys):
    """The output is pasted into bug reports."""
    put(comfyui / "models" / "vae" / "vae-ft-mse-840000-ema-pruned.safetensors", b"cut off")
    put(comfyui / "models" / "embedding_optimizers" / "mine.safetensors", b"cut off")
    assert main(["doctor", "--quick", "--device", "cpu"]) == 1
    assert main(["doctor", "--quick", "--device", "cpu", "--json"]) == 1
    said = capsys.readouterr().out
    assert "~/ComfyUI" in said.replace("\\", "/")
    secrets = ("anna", str(comfyui.parent), SECRET, os.uname().nodename if hasattr(os, "uname") else "anna")
    assert [secret for secret in secrets if secret and secret in said] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{HOME}/ComfyUI", "~/ComfyUI"),
        (HOME, "~"),
        (f"{HOME}bel/ComfyUI", f"{HOME}bel/ComfyUI"),
        ("/media/anna/models and D:\\anna\\models", "/media/USER/models and D:\\USER\\models"),
        ("'/media/anna' and '/media/anna.old'", "'/media/USER' and '/media/anna.old'"),
        (repr("D:\\anna\\models"), repr("D:\\USER\\models")),
        ("two\nlines", "two lines"),
    ],
)
def test_home_and_user_are_left_out_of_a_text(text, told, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path(HOME))
    monkeypatch.setattr(check.getpass, "getuser", lambda: "anna")
    assert check.public(text) == told


def test_a_home_on_windows_is_left_out_however_it_is_written(monkeypatch):
    home = "\\".join(["C:", "Users", "Anna Bär"])
    monkeypatch.setattr(Path, "home", lambda: PureWindowsPath(home))
    monkeypatch.setattr(check.getpass, "getuser", lambda: "Anna Bär")
    for written in (home, home.lower(), home.replace("\\", "/"), repr(home), f'"{home}"'):
        told = check.public(f"{written}\\ComfyUI")
        assert "anna" not in told.lower() and "~" in told, told


def test_a_machine_without_home_and_user_is_told_of_too(monkeypatch):
    def nobody():
        raise KeyError("no such user")

    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.setattr(check.getpass, "getuser", nobody)
    assert check.public("/data/models") == "/data/models"


def test_a_terminal_without_the_letters_of_a_name_is_told_all_the_same(comfyui, only, monkeypatch):
    only("models folders", "disk")
    folder = comfyui.parent / "B\u00e4r \u718a"
    comfyui.rename(folder)
    monkeypatch.setenv("COMFYUI_PATH", str(folder))
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["doctor", "--quick"]) == 0
    assert main(["doctor", "--quick", "--json"]) == 0
    terminal.flush()
    assert b"B\xe4r \\u718a" in terminal.buffer.getvalue()


@pytest.mark.parametrize("failure", [OSError("the disk is gone"), MemoryError(), SystemExit(3), RuntimeError("boom")])
@pytest.mark.parametrize("name", checks.OF_THE_COMMAND)
def test_a_check_that_fails_is_a_problem_and_the_others_go_on(name, failure, comfyui, monkeypatch, capsys):
    def broken(_):
        raise failure

    fine = {other: lambda _, other=other: [Check(other, OK, "fine")] for other in checks.OF_THE_COMMAND}
    monkeypatch.setattr(checks, "OF_THE_COMMAND", fine | {name: broken})
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert f"problem  {name:<21}  failed: {type(failure).__name__}" in said
    assert said.count("ok ") == len(fine) - 1
    assert "1. Report what failed as a bug" in said


def test_a_check_that_fails_later_has_told_what_it_found_before(comfyui):
    def breaks_later(_):
        yield Check("it", OK, "one")
        raise ValueError("two is gone.")

    assert [one.found for one in found(breaks_later)] == ["one", "failed: two is gone."]


def test_being_stopped_is_no_finding(comfyui):
    def stopped(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(stopped)


def test_a_python_without_any_package_is_told_what_is_missing():
    """-S: no installed package can be imported, as with the system's Python in place of ComfyUI's."""
    command = [sys.executable, "-S", "pipelines", "doctor", "--quick"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert "torch, which the nodes need: not installed" in run.stdout
    assert "1. Run the command with the Python that starts ComfyUI" in run.stdout


def test_what_to_do_next_is_at_most_three_lines_the_most_urgent_first():
    several = [
        Check("a", SKIPPED, "", "fetch"),
        Check("b", WARNING, "", "update"),
        Check("c", PROBLEM, "", "mend"),
        Check("d", PROBLEM, "", "mend"),
        Check("e", WARNING, "", "free"),
        Check("f", OK, ""),
    ]
    assert check.next_steps(several) == ["mend", "update", "free"]
    assert check.next_steps([Check("f", OK, "")]) == [check.ALL_WELL]


def test_the_verdict_counts_problems_and_warnings():
    problem, warning, fine = Check("a", PROBLEM, ""), Check("b", WARNING, ""), Check("c", OK, "")
    assert check.verdict([fine, warning, problem, warning]) == "1 problem, 2 warnings"
    assert check.verdict([fine, Check("d", SKIPPED, "")]) == "no problem"


# What it finds


def test_a_comfyui_that_is_too_old_is_a_problem(comfyui):
    assert one(software.comfyui).state == OK
    (comfyui / "comfyui_version.py").write_text('__version__ = "0.18.1"\n')
    assert one(software.comfyui).state == PROBLEM
    (comfyui / "comfyui_version.py").write_text('__version__ = "0.18.10"\n')
    assert one(software.comfyui).state == OK


def test_a_pack_beside_comfyui_in_place_of_in_it_is_said(comfyui):
    (comfyui / "custom_nodes" / "visual-insertion").unlink()
    version, place = found(software.comfyui)
    assert (version.state, place.state) == (OK, WARNING)
    assert place.advice.startswith(f"Put {ROOT.name} into the folder custom_nodes")


def test_a_pack_that_is_installed_twice_is_a_problem(comfyui):
    put(comfyui / "custom_nodes" / "copy" / "pyproject.toml", (ROOT / "pyproject.toml").read_bytes())
    put(comfyui / "custom_nodes" / "old.disabled" / "pyproject.toml", (ROOT / "pyproject.toml").read_bytes())
    put(comfyui / "custom_nodes" / "another" / "pyproject.toml", b'[project]\nname = "another"\n')
    _, twice = found(software.pack)
    assert twice.state == PROBLEM and twice.found == "installed 2 times, as copy, visual-insertion"


def test_without_comfyui_that_is_skipped(comfyui, monkeypatch, tmp_path):
    monkeypatch.delenv("COMFYUI_PATH")
    monkeypatch.chdir(tmp_path)
    assert one(software.comfyui).state == SKIPPED
    monkeypatch.chdir(comfyui.parent)
    assert one(software.comfyui).state == OK


def test_packages_are_told_by_who_needs_them(comfyui, monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia", None)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    told = found(software.packages)
    assert [(one.name, one.state) for one in told] == [
        ("packages", PROBLEM),
        ("packages", OK),
        ("packages of commands", SKIPPED),
        ("packages of commands", OK),
    ]
    assert told[0].found.startswith("kornia, which the nodes need") and "torch 2" in told[1].found


def test_a_device_that_is_not_there_is_a_problem(comfyui):
    assert found(hardware.devices, device="cuda:63")[-1].state == PROBLEM
    assert found(hardware.devices, device="no device")[-1].state == PROBLEM
    assert "float32" in found(hardware.devices, device="cpu")[-1].found


def test_a_precision_that_gives_nan_or_nonsense_does_not_work(monkeypatch):
    convolution = torch.nn.functional.conv2d
    cpu = torch.device("cpu")
    assert hardware.error_in(cpu, torch.float32) < 1e-5
    for spoilt in (float("nan"), float("inf"), 7.0):

        def broken(pixels, kernel, spoilt=spoilt):
            made = convolution(pixels, kernel)
            return made * spoilt if pixels.dtype == torch.float16 else made

        monkeypatch.setattr(torch.nn.functional, "conv2d", broken)
        assert hardware.error_in(cpu, torch.float16) > 1
        assert hardware.error_in(cpu, torch.float32) < 1e-5


@pytest.mark.parametrize(("free", "state"), [(9e9, OK), (1e9, WARNING), (1e7, PROBLEM)])
def test_a_full_disk_is_said(free, state, comfyui, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, int(free)))
    assert {one.state for one in found(hardware.disk)} == {state}


def test_models_folders_are_told_with_what_a_list_adds(comfyui, tmp_path):
    put(tmp_path / "more" / "clips" / "clip.safetensors")
    (comfyui / "extra_model_paths.yaml").write_text(f"mine:\n  base_path: {tmp_path / 'more'}\n  clip_vision: clips\n")
    told = one(model_files.folders)
    assert told.state == OK and "clip_vision 1" in told.found and "extra_model_paths.yaml" in told.found
    (comfyui / "extra_model_paths.yaml").write_text("mine: [")
    assert [one.state for one in found(model_files.folders)] == [OK, PROBLEM]


def test_a_models_folder_that_is_not_there_is_said(comfyui):
    shutil.rmtree(comfyui / "models")
    assert one(model_files.folders).state == WARNING


@pytest.fixture
def known(monkeypatch):
    """The list of weights with a small file in place of the VAE."""
    vae = load_manifest()["vae-ft-mse"]
    vae = replace(vae, bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(model_files, "load_manifest", lambda: {vae.id: vae})
    return vae


def test_weights_are_told_with_hash_and_licence(comfyui, known):
    put(comfyui / "models" / "vae" / known.file, CONTENT)
    told = one(model_files.weights)
    assert told == Check("weights", OK, "vae-ft-mse: size and sha256 are right; licence: MIT")
    assert one(model_files.weights, quick=True).found.startswith("vae-ft-mse: size agrees, hash not checked")


@pytest.mark.parametrize(("content", "said"), [(b"short", "wrong size"), (CONTENT[::-1], "wrong hash")])
def test_weights_that_are_not_whole_are_a_problem_with_the_command_that_mends_them(comfyui, known, content, said):
    put(comfyui / "models" / "vae" / known.file, content)
    told = one(model_files.weights)
    assert told.state == PROBLEM and f"vae-ft-mse: {said}" in told.found
    assert told.advice == "Fetch it again: python pipelines weights fetch vae-ft-mse --force"


def test_hashing_shows_how_far_it_is(comfyui, known):
    put(comfyui / "models" / "vae" / known.file, CONTENT)
    steps = []
    one(model_files.weights, progress=lambda name: lambda done, total: steps.append((name, done, total)))
    assert steps == [(known.file, len(CONTENT), len(CONTENT))]


def test_the_command_is_repeated_as_it_was_typed(monkeypatch):
    for typed, program in (
        (["python3", "pipelines", "doctor", "--quick"], "python3 pipelines"),
        (["python.exe", "-s", "a b\\pipelines", "doctor"], 'python.exe -s "a b\\pipelines"'),
        (["/usr/bin/python3", "/usr/bin/visual-insertion", "doctor"], "visual-insertion"),
    ):
        monkeypatch.setattr(sys, "orig_argv", typed)
        monkeypatch.setattr(sys, "argv", typed[typed.index("doctor") - 1 :])
        if os.name == "nt" or "\\" not in program:
            assert installation.program_as_typed() == program
