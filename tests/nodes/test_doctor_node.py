"""Visual Insertion Doctor in the real host: its report, on the node and as text, and parity with diffusers."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from visual_insertion_pack.devtools.pack import ROOT

TOYS = ROOT / "playroom_models"
UNET = "unet/diffusion_pytorch_model.safetensors"


def found(report, name):
    """(state, what was found) of the only finding of a name."""
    (line,) = [line for line in report.splitlines() if line[9:].startswith(f"{name}  ")]
    return line.split()[0], line[32:]


@pytest.fixture
def toys(comfy):
    """The toy models as a diffusers folder of the host."""
    folder = comfy.base / "models" / "diffusers" / "doctor_toys"
    for part in ("unet", "scheduler"):
        shutil.copytree(TOYS / part, folder / part)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def without_insertion(monkeypatch, comfy):
    """The doctor without the insertion, which takes the longest."""
    from visual_insertion_pack.nodes import doctor

    check = doctor.Check(doctor.IN_COMFYUI, "ok", "not tried here")
    monkeypatch.setattr(doctor, "tried", lambda *_: (check, torch.zeros(1, 8, 8, 3)))


def test_the_server_runs_it_without_an_input_and_tells_it_on_the_node(server):
    messages = []
    entry = server.run(
        {"doctor": {"class_type": "VisualInsertionDoctor", "inputs": {}}},
        lambda kind, data: messages.append((kind, data)),
    )
    told = entry["outputs"]["doctor"]
    (report,) = told["text"]
    state, insertion = found(report, "insertion in ComfyUI")
    assert state == "ok" and "bit for bit" in insertion
    assert not [row for row in told["checks"] if row["state"] == "problem"]
    assert "What to do next\n1. For photographs" in report
    assert len(told["images"]) == 1
    texts = [data[4:] for kind, data in messages if kind == "preview" and data[:4] == (3).to_bytes(4, "big")]
    assert any(text.endswith(b"ok: insertion in ComfyUI") for text in texts)
    assert texts[-1].endswith(b"no problem"), "what it came to is told last"


def test_it_runs_anew_each_time(comfy):
    node = comfy.nodes.NODE_CLASS_MAPPINGS["VisualInsertionDoctor"]
    assert node.fingerprint_inputs() != node.fingerprint_inputs()


def test_a_connected_model_is_compared_with_diffusers(comfy, toys, without_insertion):
    (model,) = comfy("Pix2PixUNetLoader", name=toys.name, weights="as saved")
    (report,) = comfy("VisualInsertionDoctor", model=model)
    state, parity = found(report, "parity with diffusers")
    assert state == "ok", parity
    assert parity.startswith("one UNet step of doctor_toys in float32 is within ")


def test_a_model_that_computes_something_else_is_a_problem(comfy, toys, without_insertion):
    (model,) = comfy("Pix2PixUNetLoader", name=toys.name, weights="as saved")
    state = load_file(toys / UNET)
    save_file({name: tensor.flip(0) if tensor.ndim == 4 else tensor for name, tensor in state.items()}, toys / UNET)
    (report,) = comfy("VisualInsertionDoctor", model=model)
    state, parity = found(report, "parity with diffusers")
    assert state == "problem" and "differs by" in parity
    assert "1. Report what failed as a bug" in report


def test_without_a_model_or_memory_or_its_file_there_is_no_comparison(comfy, toys, monkeypatch):
    from visual_insertion_pack.nodes.host.loaded_unet import loaded_unet
    from visual_insertion_pack.pipelines.doctor import parity

    (model,) = comfy("Pix2PixUNetLoader", name=toys.name, weights="as saved")
    unet = loaded_unet(model)
    assert next(parity.parity(None)).found == "no model is connected"
    shutil.rmtree(toys / "unet")
    model.cached_patcher_init = None
    assert "which file" in next(parity.parity(loaded_unet(model))).found
    monkeypatch.setattr(parity, "available_memory", lambda: (1000, 2000))
    assert "of memory beside what is loaded, 1 kB are available" in next(parity.parity(unet)).found
    toys.joinpath("unet").mkdir()


def test_a_broken_check_is_told_and_the_rest_goes_on(comfy, monkeypatch):
    from visual_insertion_pack.nodes import doctor

    def broken(*_):
        raise OSError("the disk is gone")

    for name in doctor.EVERYWHERE:
        monkeypatch.setitem(doctor.EVERYWHERE, name, broken)
    monkeypatch.setattr(doctor, "parity", broken)
    monkeypatch.setattr(doctor, "tried", broken)
    (report,) = comfy("VisualInsertionDoctor")
    findings = report.split("\n\n")[0].splitlines()
    assert len(findings) == len(doctor.EVERYWHERE) + 2
    assert {line[:7] for line in findings} == {"problem"}


def test_being_cancelled_ends_it(comfy, monkeypatch, without_insertion):
    import comfy.model_management as management

    monkeypatch.setattr(management, "interrupt_processing", False)
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        comfy("VisualInsertionDoctor")


def test_hashes_are_compared_on_demand(comfy, monkeypatch, without_insertion):
    from visual_insertion_pack.pipelines.doctor import model_files
    from visual_insertion_pack.pipelines.weights.manifest import load_manifest

    vae = load_manifest()["vae-ft-mse"]
    file = comfy.base / "models" / "vae" / vae.file
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as hole:
        hole.truncate(vae.bytes)
    monkeypatch.setattr(model_files, "load_manifest", lambda: {vae.id: vae})
    try:
        assert found(comfy("VisualInsertionDoctor")[0], "weights")[0] == "ok"
        state, told = found(comfy("VisualInsertionDoctor", check_hashes=True)[0], "weights")
    finally:
        shutil.rmtree(file.parent)
    assert state == "problem" and "wrong hash" in told
