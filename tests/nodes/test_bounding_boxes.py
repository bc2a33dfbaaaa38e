"""The host's BOUNDING_BOX in a running ComfyUI: its own nodes before and behind ours, with nothing in between."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SCENE = Path(__file__).resolve().parents[2] / "playroom_models" / "samples" / "dollhouse.png"
BOX = dict(x=310, y=330, width=150, height=120)
OTHER = dict(x=40, y=60, width=90, height=70)


@pytest.fixture(scope="module")
def scene(server):
    return server.upload("boxes_scene.png", SCENE.read_bytes())


def pictures(server, graph):
    """The saved pictures of a graph by the number of their node."""
    outputs = server.run(graph)["outputs"]
    saved = {number: node["images"] for number, node in outputs.items() if graph[number]["class_type"] == "SaveImage"}
    return {n: [np.asarray(Image.open(io.BytesIO(server.view(one)))) for one in all_] for n, all_ in saved.items()}


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def save(images):
    return node("SaveImage", images=images, filename_prefix="boxes")


def crop(**inputs):
    return node("LocalRegionCrop", expansion=0.5, working_size=128, regions="together", image=["scene", 0], **inputs)


def filled(*boxes):
    height, width = np.asarray(Image.open(SCENE)).shape[:2]
    mask = np.zeros((height, width), bool)
    for box in boxes:
        mask[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]] = True
    return mask


def test_a_stock_box_goes_in_and_our_box_goes_into_the_stock_crop(server, scene):
    graph = {
        "scene": node("LoadImage", image=scene),
        "box": node("PrimitiveBoundingBox", **BOX),
        "region": crop(bounding_box=["box", 0], x=1, y=2, width=3, height=4),
        "part": node("ImageCropV2", image=["scene", 0], crop_region=["region", 3]),
        "saved": save(["part", 0]),
        "mask": node("BoxToMask", image=["scene", 0], bounding_box=["box", 0]),
        "shown": node("MaskToImage", mask=["mask", 0]),
        "saved_mask": save(["shown", 0]),
        "shape": node("ArbitraryMask", image=["scene", 0], seed=1, jitter=0, extension=0.0, bounding_box=["box", 0]),
        "shown_shape": node("MaskToImage", mask=["shape", 0]),
        "saved_shape": save(["shown_shape", 0]),
    }
    made = pictures(server, graph)
    whole = np.asarray(Image.open(SCENE).convert("RGB"))
    x, y, right, bottom = BOX["x"], BOX["y"], BOX["x"] + BOX["width"], BOX["y"] + BOX["height"]
    assert np.array_equal(made["saved"][0], whole[y:bottom, x:right])
    assert np.array_equal(made["saved_mask"][0][..., 0] > 0, filled(BOX))
    shape = made["saved_shape"][0][..., 0] > 0
    assert not (shape & ~filled(BOX)).any() and shape.sum() > 0.95 * filled(BOX).sum()


def test_the_box_canvas_goes_in_with_all_its_boxes(server, scene):
    if "CreateBoundingBoxes" not in server.object_info():
        pytest.skip("this host has no box canvas")
    height, width = np.asarray(Image.open(SCENE)).shape[:2]
    drawn = [box | {"metadata": {"type": "obj"}} for box in (BOX, OTHER)]
    graph = {
        "scene": node("LoadImage", image=scene),
        "canvas": node(
            "CreateBoundingBoxes",
            background=["scene", 0],
            width=width,
            height=height,
            editor_state={"__value__": drawn},
        ),
        "mask": node("BoxToMask", image=["scene", 0], bounding_box=["canvas", 1]),
        "shown": node("MaskToImage", mask=["mask", 0]),
        "saved": save(["shown", 0]),
        "regions": crop(bounding_box=["canvas", 1]) | {},
        "again": node("BoxToMask", image=["scene", 0], bounding_box=["regions", 3]),
        "shown_again": node("MaskToImage", mask=["again", 0]),
        "saved_again": save(["shown_again", 0]),
        "outlined": node("DrawBBoxes", image=["scene", 0], bboxes=["regions", 3]),
        "saved_outlined": save(["outlined", 0]),
    }
    graph["regions"]["inputs"]["regions"] = "each"
    made = pictures(server, graph)
    assert np.array_equal(made["saved"][0][..., 0] > 0, filled(BOX, OTHER))
    assert np.array_equal(made["saved_again"][0][..., 0] > 0, filled(BOX, OTHER))
    assert (made["saved_outlined"][0][BOX["y"], BOX["x"] + 20] == (255, 0, 0)).all()


def test_a_painted_mask_replaces_the_widgets_box_and_an_unpainted_one_leaves_it(comfy):
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 4), np.uint8)
    for name, hole in (("unpainted.png", None), ("painted.png", (slice(10, 30), slice(50, 80)))):
        pixels[..., 3] = 255
        if hole:
            pixels[(*hole, 3)] = 0  # the mask editor makes what is painted transparent
        Image.fromarray(pixels if hole else pixels[..., :3]).save(comfy.base / "input" / name)
    settings = dict(expansion=0.5, working_size=64, regions="together", x=5, y=6, width=20, height=10)
    boxes = {}
    for name in ("unpainted.png", "painted.png"):
        image, mask = comfy("LoadImage", image=name)
        boxes[name] = comfy("LocalRegionCrop", image=image, mask=mask, **settings)[3]
        comfy("ArbitraryMask", image=image, mask=mask, seed=0, x=5, y=6, width=20, height=10)
    assert boxes == {
        "unpainted.png": dict(x=5, y=6, width=20, height=10),
        "painted.png": dict(x=50, y=10, width=30, height=20),
    }


def test_boxes_of_several_pictures_come_out_as_a_list_for_each(comfy):
    pictures = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    detected = [[dict(x=1.5, y=2.0, width=9.2, height=8.0, score=0.9)], []]  # as RT-DETR and SAM 3 give them
    boxes = comfy(
        "LocalRegionCrop", image=pictures, expansion=0.5, working_size=64, regions="together", bounding_box=detected
    )[3]
    assert boxes == [[dict(x=1, y=2, width=10, height=8)], []]
