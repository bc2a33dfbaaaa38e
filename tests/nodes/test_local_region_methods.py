"""Local Region Crop, any way of editing, Local Region Paste in the real host: our samplers and the stock ones."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from visual_insertion_pack.devtools.demo import saved_image
from visual_insertion_pack.tests.nodes.parts import run_guider

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "playroom_models" / "samples"
SETTINGS = dict(seed=1, steps=6)
EULER = dict(sampler_name="euler", scheduler="normal")
BOX = dict(x=352, y=320, width=80, height=96)  # in the middle room
OTHER = dict(x=340, y=580, width=80, height=80)  # in the room below


def sample_picture(name):
    """[1,H,W,3] of a sample that ships."""
    pixels = np.asarray(Image.open(SAMPLES / f"{name}.png").convert("RGB"), np.float32)
    return torch.from_numpy(pixels / 255)[None]


@pytest.fixture(scope="module")
def kit(comfy):
    """Both kinds of playroom models, and one object as each understands it."""
    thing = sample_picture("object")
    kit = SimpleNamespace(comfy=comfy, scene=sample_picture("dollhouse"))
    kit.model, kit.vae, vision, optimizer = comfy("PlayroomModels")
    (seen,) = comfy("ObjectImageEncode", clip_vision=vision, image=thing)
    kit.tokens = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)
    (kit.guidance,) = comfy("GuidanceControl", object_scale=2.5, scene_scale=1.2)
    kit.painter, _, vision, encoder = comfy("PaintByExamplePlayroomModels")
    kit.exemplar = comfy("PaintByExampleEncode", clip_vision=vision, exemplar_encoder=encoder, image=thing)
    return kit


def of_tokens(pair):
    return dict(zip(("positive", "negative"), pair, strict=True))


def flagship(kit, crop, mask):
    given = dict(model=kit.model, vae=kit.vae, scene=crop, guidance=kit.guidance, **of_tokens(kit.tokens))
    latent, _ = kit.comfy("ImageConditionedPix2PixSampler", **given, **SETTINGS, **EULER, denoise=1.0)
    return kit.comfy("SceneDecode", latent=latent, vae=kit.vae, scene=crop)[0]


def guider(kit, crop, mask):
    given = dict(model=kit.model, vae=kit.vae, scene=crop, guidance=kit.guidance, **of_tokens(kit.tokens))
    guider, latent = kit.comfy("ImageConditionedPix2PixGuider", **given)
    steps = SETTINGS["steps"]
    (sigmas,) = kit.comfy("BasicScheduler", model=kit.model, scheduler="normal", steps=steps, denoise=1.0)
    sampled = run_guider(kit.comfy, guider, latent, sigmas, seed=SETTINGS["seed"])
    return kit.comfy("SceneDecode", latent=sampled, vae=kit.vae, scene=crop)[0]


def paint_by_example(kit, crop, mask):
    given = dict(vae=kit.vae, image=crop, mask=mask, **of_tokens(kit.exemplar))
    positive, negative, latent = kit.comfy("PaintByExampleConditioning", **given)
    shown = dict(model=kit.painter, positive=positive, negative=negative, latent_image=latent)
    (latent,) = kit.comfy("KSampler", **shown, **SETTINGS, **EULER, cfg=3.0, denoise=1.0)
    return kit.comfy("SceneDecode", latent=latent, vae=kit.vae, scene=crop)[0]


def stock_image_to_image(kit, crop, mask):
    """The host's own nodes alone: the crop's latent, noised in part and sampled where it is masked."""
    positive, negative, _ = kit.comfy("InstructPixToPixConditioning", vae=kit.vae, pixels=crop, **of_tokens(kit.tokens))
    (latent,) = kit.comfy("VAEEncode", pixels=crop, vae=kit.vae)
    (latent,) = kit.comfy("SetLatentNoiseMask", samples=latent, mask=mask)
    shown = dict(model=kit.model, positive=positive, negative=negative, latent_image=latent)
    (latent,) = kit.comfy("KSampler", **shown, **SETTINGS, **EULER, cfg=3.0, denoise=0.8)
    return kit.comfy("VAEDecode", samples=latent, vae=kit.vae)[0]


METHODS = [flagship, guider, paint_by_example, stock_image_to_image]


@pytest.fixture(scope="module", params=["together", "each"])
def cut(kit, request):
    """(crops, masks, local region, which pixels [H,W] are in a window) of one box, or of two of them as a batch."""
    boxes = [BOX] if request.param == "together" else [BOX, OTHER]
    mask = torch.cat([kit.comfy("BoxToMask", image=kit.scene, **box)[0] for box in boxes]).amax(0, keepdim=True)
    settings = dict(expansion=0.6, working_size=128, regions=request.param)
    crops, masks, region, _ = kit.comfy("LocalRegionCrop", image=kit.scene, mask=mask, **settings)
    assert crops.shape == (len(boxes), 128, 128, 3) and masks.shape == (len(boxes), 128, 128)
    inside = torch.zeros(kit.scene.shape[1:3], dtype=torch.bool)
    for _, window in region.places:
        inside[window.area] = True
    return crops, masks, region, inside


@pytest.fixture(scope="module")
def through_the_vae(kit, cut):
    """The crops as they come back when nothing is done to them."""
    (latent,) = kit.comfy("VAEEncode", pixels=cut[0], vae=kit.vae)
    return kit.comfy("VAEDecode", samples=latent, vae=kit.vae)[0]


@pytest.mark.parametrize("area", ["changes", "window", "mask"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_an_edit_comes_back_into_its_window(kit, cut, through_the_vae, method, area):
    crops, masks, region, inside = cut
    before = kit.scene.clone()
    edited = method(kit, crops, masks)
    result, changed = kit.comfy(
        "LocalRegionPaste", local_region=region, image=edited, feather=8, colour_match=0.0, area=area
    )
    assert result.shape == kit.scene.shape and result.dtype == kit.scene.dtype and torch.isfinite(result).all()
    assert torch.equal(result[0, ~inside], kit.scene[0, ~inside])
    assert torch.equal(result[changed == 0], kit.scene[changed == 0])
    assert torch.equal(kit.scene, before)
    for number, (_, window) in enumerate(region.places):
        new = (result - kit.scene)[0][window.area].abs()
        assert new.amax(-1).gt(0.2).sum() > 200, "an object is more than a few pixels, and no shade of what was there"
        assert (edited - through_the_vae)[number].abs().amax(-1).gt(0.2).any(), "the sampler did it, not the VAE"


def test_a_whole_graph_paints_several_regions_at_once(server):
    """The template on the server with a second box: two windows, one batch through the stock sampler, one picture."""
    path = ROOT / "example_workflows" / "api" / "paint_by_example_local_region.json"
    graph = json.loads(path.read_text("utf-8"))
    by_kind = {node["class_type"]: (number, node["inputs"]) for number, node in graph.items()}
    (first, box), (_, crop) = by_kind["BoxToMask"], by_kind["LocalRegionCrop"]
    box.update(BOX)
    graph["other"] = dict(class_type="BoxToMask", inputs=box | OTHER)
    joined = dict(destination=[first, 0], source=["other", 0], x=0, y=0, operation="add")
    graph["both"] = dict(class_type="MaskComposite", inputs=joined)
    crop.update(mask=["both", 0], regions="each")
    entry = server.run(graph)
    saved = server.view(saved_image(graph, entry))
    result = np.asarray(Image.open(io.BytesIO(saved)).convert("RGB")).astype(int)
    change = np.abs(result - np.asarray(Image.open(SAMPLES / "dollhouse.png").convert("RGB")).astype(int)).max(-1)
    for place in (BOX, OTHER):
        rows, columns = (slice(place[a], place[a] + place[b]) for a, b in (("y", "height"), ("x", "width")))
        assert (change[rows, columns] > 50).sum() > 200
        around = (slice(rows.start - 40, rows.stop + 40), slice(columns.start - 40, columns.stop + 40))
        change[around] = 0
    assert not change.any()
