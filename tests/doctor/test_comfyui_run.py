"""The doctor starts the real ComfyUI, has its node run there, and stops it again; or says why it could not."""

import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.doctor import comfyui_run
from visual_insertion_pack.pipelines.doctor.check import OK, PROBLEM, SKIPPED, Check, examined
from visual_insertion_pack.pipelines.doctor.installation import DIFFUSERS, Installation
from visual_insertion_pack.pipelines.weights.manifest import model_folders

TOYS = ROOT / "playroom_models"


@pytest.fixture
def installation(home, tmp_path):
    folders = {**model_folders(tmp_path), DIFFUSERS: [tmp_path / DIFFUSERS]}
    return Installation(home, folders, device="cpu")


@pytest.fixture
def broken_host(tmp_path):
    """broken_host(program): a ComfyUI whose main.py is this program."""

    def make(program):
        for name in ("comfy", "custom_nodes"):
            (tmp_path / "host" / name).mkdir(parents=True)
        (tmp_path / "host" / "main.py").write_text(program)
        return tmp_path / "host"

    return make


def told(installation):
    return list(examined({"it": lambda one: comfyui_run.in_comfyui("insertion in ComfyUI", one)}, installation))


def test_comfyui_inserts_and_its_unet_is_that_of_diffusers(installation, tmp_path):
    for part in ("unet", "scheduler"):
        shutil.copytree(TOYS / part, tmp_path / DIFFUSERS / "toys" / part)
    before = set(psutil.Process().children())
    starts, insertion, parity = told(installation)
    assert starts.state == OK and starts.found.startswith("ComfyUI starts in ")
    assert insertion.state == OK and "bit for bit" in insertion.found
    assert parity.state == OK and "one UNet step of toys in float32" in parity.found
    assert set(psutil.Process().children()) <= before, "the server lives on"


def test_a_quick_look_or_no_comfyui_starts_nothing(installation, monkeypatch):
    monkeypatch.setattr(comfyui_run, "started", None)
    assert [one.state for one in told(replace(installation, quick=True))] == [SKIPPED]
    (without,) = told(replace(installation, comfyui=None))
    assert without.state == SKIPPED and "node Visual Insertion Doctor" in without.advice


def test_another_python_than_comfyuis_is_told_so(installation, monkeypatch):
    monkeypatch.setitem(sys.modules, comfyui_run.HOSTS_OWN, None)
    (one,) = told(installation)
    assert one.state == SKIPPED and "with the Python that starts ComfyUI" in one.advice


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise ImportError('no torch here')", "ComfyUI ended with code 1. It said: ImportError: no torch here"),
        ("print('Starting'); raise SystemExit(3)", "ComfyUI ended with code 3. It said: Starting"),
        ("import time; time.sleep(60)", "ComfyUI did not answer within 1 s. It said: nothing"),
    ],
)
def test_a_comfyui_that_does_not_start_is_a_problem_with_its_last_words(
    installation, broken_host, monkeypatch, program, said
):
    monkeypatch.setattr(comfyui_run, "LONGEST_START", 1 if "sleep" in program else 60)
    (one,) = told(replace(installation, comfyui=broken_host(program)))
    assert (one.state, one.found) == (PROBLEM, said)


def test_a_model_that_cannot_be_loaded_is_told_beside_the_insertion(installation, monkeypatch, tmp_path):
    """A server that inserts, and fails once a model is to be loaded."""

    class Server:
        def wait_until_ready(self):
            return 1.0

        def run(self, graph):
            if "loader" in graph:
                raise comfyui_run.RunError("Pix2PixUNetLoader failed: it is damaged.")
            return [vars(Check("insertion in ComfyUI", OK, "fine"))]

    shutil.copytree(TOYS / "unet", tmp_path / DIFFUSERS / "toys" / "unet")
    monkeypatch.setattr(comfyui_run, "started", lambda *_: nullcontext(Server()))
    assert [one.state for one in told(installation)] == [OK, OK, PROBLEM]
    assert told(installation)[-1].found == "toys: Pix2PixUNetLoader failed: it is damaged."


def test_comfyuis_own_python_is_taken_where_it_lies_beside_it(broken_host):
    host = broken_host("")
    assert comfyui_run.python_of(host) == Path(sys.executable)
    own = host / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()
    assert comfyui_run.python_of(host) == own
    portable = host.parent / "python_embeded" / "python.exe"
    portable.parent.mkdir()
    portable.touch()
    assert comfyui_run.python_of(host).samefile(portable)
