"""Restore Scene in the real host: with and without a VAE, and chained to the host's own nodes and ours."""

import io
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from visual_insertion_pack.tests.restoration_parts import bit_equal_outside, cases, edit, iou

DRIFT = cases.Drift(zoom=1.03, shift=(0.01, -0.01), colour=True)
OUTPUTS = ("image", "effect", "object", "layer", "bounding_box", "report")


@pytest.fixture(scope="module")
def case():
    return edit(DRIFT, side=320)


@pytest.fixture(scope="module")
def vae(comfy):
    return comfy("PlayroomModels")[1]


def restore(comfy, case, **inputs):
    """The node's outputs by name; of a case where no other pictures are given."""
    outputs = comfy("RestoreScene", **(dict(scene=case.scene, edited=case.edited) | inputs))
    return dict(zip(OUTPUTS, outputs, strict=True))


@pytest.mark.parametrize("with_vae", [False, True])
def test_it_gives_what_its_outputs_say(comfy, case, vae, with_vae):
    made = restore(comfy, case, **(dict(vae=vae) if with_vae else {}))
    _, height, width, _ = case.scene.shape
    assert made["image"].shape == (1, height, width, 3) and made["layer"].shape == (1, height, width, 4)
    assert made["effect"].shape == made["object"].shape == (1, height, width)
    for name in ("image", "effect", "object", "layer"):
        assert made[name].dtype == torch.float32 and 0 <= float(made[name].min()) <= float(made[name].max()) <= 1
    assert bit_equal_outside(made["image"], case.scene, made["effect"])
    assert iou(made["object"][0], case.object) > 0.7
    assert not made["layer"][made["effect"] == 0].any()
    assert set(made["bounding_box"]) == {"x", "y", "width", "height"}
    assert "zoom +3.0" in made["report"] or "zoom +2.9" in made["report"]


def test_a_vae_that_is_connected_is_compared_with(comfy, case, vae):
    """The scene through that very VAE is nothing inserted; the toys' VAE blurs a photograph beyond recognition."""
    padded = case.scene[:, :192, :256]
    latent = comfy("VAEEncode", pixels=padded, vae=vae)[0]
    edited = comfy("VAEDecode", samples=latent, vae=vae)[0]
    known = restore(comfy, case, scene=padded, edited=edited, vae=vae, align_geometry=False)
    assert torch.equal(known["image"], padded) and "nothing inserted" in known["report"]


def test_an_edit_of_another_size_and_a_batch_of_edits(comfy, case):
    (smaller,) = comfy("ImageScale", image=case.edited, upscale_method="area", width=256, height=170, crop="disabled")
    made = restore(comfy, case, edited=smaller)
    assert made["image"].shape == case.scene.shape and iou(made["object"][0], case.object) > 0.7
    batch = restore(comfy, case, edited=torch.cat([case.edited, case.scene]))
    assert len(batch["image"]) == len(batch["layer"]) == len(batch["object"]) == 2
    assert torch.equal(batch["image"][1:], case.scene)
    assert [len(boxes) for boxes in batch["bounding_box"]] == [1, 0]
    assert batch["report"].count("of the pixels are the scene's own") == 2
    assert batch["report"].endswith("nothing inserted: the edit is the scene again")


def test_a_cancelled_run_ends_with_the_picture_it_is_at(comfy, case, monkeypatch):
    """As the host cancels: what shows the progress raises."""
    cancelled = import_module("comfy.model_management").InterruptProcessingException
    progress = []

    def hook(value, total, *_, **__):
        progress.append((value, total))
        raise cancelled

    monkeypatch.setattr(import_module("comfy.utils"), "PROGRESS_BAR_HOOK", hook)
    with pytest.raises(cancelled):
        restore(comfy, case, edited=case.edited.repeat(3, 1, 1, 1))
    assert progress == [(1, 3)]


def test_load_images_unpainted_mask_is_no_mask(comfy, case):
    Image.fromarray((case.scene[0].numpy() * 255).round().astype(np.uint8)).save(comfy.base / "input" / "restore.png")
    mask = comfy("LoadImage", image="restore.png")[1]
    assert mask.shape == (1, 64, 64)
    masked, free = restore(comfy, case, mask=mask, relevance=mask), restore(comfy, case)
    assert torch.equal(masked["image"], free["image"]) and torch.equal(masked["effect"], free["effect"])


def test_widgets_reach_the_method(comfy, case):
    free = restore(comfy, case)
    assert torch.equal(restore(comfy, case, feather=-1, sensitivity=1.0)["image"], free["image"])
    assert (restore(comfy, case, feather=30)["effect"] > 0).sum() > (free["effect"] > 0).sum()
    assert "zoom +0.00%" in restore(comfy, case, align_geometry=False)["report"]
    assert not torch.equal(restore(comfy, case, match_colour=False)["image"], free["image"])
    mask = torch.zeros(case.scene.shape[:3])
    mask[:, :9, :9] = 1
    assert torch.equal(restore(comfy, case, mask=mask)["image"], case.scene)
    assert (restore(comfy, case, mask=mask, mask_use="force")["effect"][:, :9, :9] == 1).all()
    fainter, clearer = (restore(comfy, case, sensitivity=value)["effect"] for value in (4.0, 0.25))
    assert (fainter > 0).sum() > (clearer > 0).sum()


def test_a_pasted_object_is_told(comfy, case):
    pasted = case.scene.clone()
    part = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(0)).repeat_interleave(8, 1)
    part = part.repeat_interleave(8, 2)
    pasted[:, 60:124, 100:164] = part
    assert "copy-paste" in restore(comfy, case, edited=pasted, object_image=part)["report"]
    assert "copy-paste" not in restore(comfy, case, object_image=part)["report"]


def test_layers_of_a_restored_scene_make_it_again(comfy, case):
    made = restore(comfy, case)
    layer, shadow, light = comfy(
        "SplitLayers",
        scene=case.scene,
        image=made["image"],
        object_mask=made["object"],
        effect_mask=made["effect"],
    )
    assert torch.equal(layer, made["layer"])
    shaded = 1 - (1 - case.scene * shadow) * (1 - light)
    again = layer[..., 3:] * layer[..., :3] + (1 - layer[..., 3:]) * shaded
    assert float((again - made["image"]).abs().max()) <= 1.5 / 255


def test_the_hosts_nodes_take_box_layer_and_report(server, case):
    """ImageCropV2 behind the bounding box, Save Image behind the RGBA layer, the report on the node."""

    def uploaded(name, picture):
        file = io.BytesIO()
        Image.fromarray((picture[0].numpy() * 255).round().astype(np.uint8)).save(file, "PNG")
        return {"class_type": "LoadImage", "inputs": {"image": server.upload(name, file.getvalue())}}

    def node(kind, **inputs):
        return {"class_type": kind, "inputs": inputs}

    graph = {
        "scene": uploaded("restore_scene.png", case.scene),
        "edited": uploaded("restore_edited.png", case.edited),
        "restored": node("RestoreScene", scene=["scene", 0], edited=["edited", 0]),
        "part": node("ImageCropV2", image=["restored", 0], crop_region=["restored", 4]),
        "saved_part": node("SaveImage", images=["part", 0], filename_prefix="restored_part"),
        "saved": node("SaveImage", images=["restored", 0], filename_prefix="restored"),
        "layer": node("SaveImage", images=["restored", 3], filename_prefix="restored_layer"),
    }
    outputs = server.run(graph)["outputs"]

    def saved(number):
        return Image.open(io.BytesIO(server.view(outputs[number]["images"][0])))

    rows, columns = np.nonzero(case.object > 0.5)
    part, picture, layer = saved("saved_part"), saved("saved"), saved("layer")
    assert abs(part.width - np.ptp(columns)) < 25 and abs(part.height - np.ptp(rows)) < 25
    assert layer.mode == "RGBA" and layer.size == picture.size == case.scene.shape[2:0:-1]
    assert iou(np.asarray(layer.getchannel("A")) / 255, case.object) > 0.6
    scene = (case.scene[0].numpy() * 255).round().astype(np.uint8)
    assert (np.asarray(picture) == scene).all(-1).mean() > 0.7
    assert outputs["restored"]["text"][0].startswith(tuple("0123456789"))


def test_the_hosts_boxes_limit_the_effect_as_a_mask_does(comfy, case):
    x0, y0, x1, y1 = 0, 0, case.scene.shape[2] // 2, case.scene.shape[1]
    box = {"x": x0, "y": y0, "width": x1, "height": y1}
    mask = torch.zeros(1, *case.scene.shape[1:3])
    mask[:, y0:y1, x0:x1] = 1
    boxed = restore(comfy, case, bounding_box=box)
    masked = restore(comfy, case, mask=mask)
    assert torch.equal(boxed["image"], masked["image"]) and torch.equal(boxed["effect"], masked["effect"])
    assert not boxed["effect"][..., x1:].any() and restore(comfy, case)["effect"][..., x1:].any()
    both = restore(comfy, case, mask=torch.ones_like(mask), bounding_box=[box])
    assert torch.equal(both["effect"], masked["effect"])
    with pytest.raises(ValueError, match="covers no pixel"):
        restore(comfy, case, bounding_box={"x": 9999, "y": 0, "width": 10, "height": 10})
