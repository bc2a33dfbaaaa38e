"""Fit for Edit in the real host: what it gives, the host's own nodes leave at its size; and the way back."""

import pytest
import torch

from visual_insertion_pack.pipelines.fitting.families import FAMILIES

SCENES = [(1, 1), (300, 200), (1000, 1000), (1920, 1080), (1080, 1920), (1500, 1001), (2048, 1000), (640, 1300)]


def picture(width, height, seed=0):
    return torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(seed))


def fit(comfy, image, model, **inputs):
    """(image, mask, fit, width, height)."""
    return comfy("FitForEdit", image=image, model=model, **{"method": "pad"} | inputs)


class Recorder:
    """A VAE and a text encoder that note what they are shown."""

    def __init__(self):
        self.pictures = []

    def encode(self, pixels):
        self.pictures.append(pixels)
        return torch.zeros(1, 16, 8, 8)

    def tokenize(self, text, **more):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        return [[torch.zeros(1, 1, 8), {}]]


@pytest.mark.parametrize("method", ["pad", "crop"])
@pytest.mark.parametrize("size", SCENES)
def test_the_host_s_kontext_node_leaves_a_fitted_picture_at_its_size(comfy, size, method):
    image, _, _, width, height = fit(comfy, picture(*size), "FLUX.1 Kontext", method=method)
    assert image.shape == (1, height, width, 3)
    assert comfy("FluxKontextImageScale", image=image)[0].shape == image.shape


@pytest.mark.parametrize("method", ["pad", "crop"])
@pytest.mark.parametrize("size", SCENES)
@pytest.mark.parametrize(
    ("model", "node", "name"),
    [
        ("Qwen-Image-Edit", "TextEncodeQwenImageEdit", "image"),
        ("Qwen-Image-Edit 2509, 2511", "TextEncodeQwenImageEditPlus", "image1"),
    ],
)
def test_the_host_s_qwen_encoders_leave_a_fitted_picture_as_it_is(comfy, size, method, model, node, name):
    image = fit(comfy, picture(*size), model, method=method)[0]
    if node not in comfy.nodes.NODE_CLASS_MAPPINGS:
        pytest.skip(f"this host has no {node}")
    seen = Recorder()
    comfy(node, clip=seen, vae=seen, prompt="", **{name: image})
    assert len(seen.pictures) == 1 and torch.equal(seen.pictures[0], image)


def test_what_the_stock_qwen_template_does_is_no_fixed_point(comfy):
    """The size of FluxKontextImageScale, which that template puts before the encoder, is resized once more."""
    seen = Recorder()
    image = comfy("FluxKontextImageScale", image=picture(1500, 1000))[0]
    comfy("TextEncodeQwenImageEditPlus", clip=seen, vae=seen, prompt="", image1=image)
    assert image.shape[1:3] == (832, 1248) and seen.pictures[0].shape[1:3] != (832, 1248)


@pytest.mark.parametrize("model", sorted(FAMILIES.keys() - {"Gemini (Nano Banana)", "GPT Image", "Seedream 4"}))
def test_no_vae_of_the_host_crops_a_fitted_picture(comfy, model):
    """A VAE crops what is no multiple of its cell, 8 px and in FLUX.2's case 16, out of the middle."""
    vae = comfy("PlayroomModels")[1]
    for size in SCENES:
        image = fit(comfy, picture(*size), model)[0]
        assert vae.vae_encode_crop_pixels(image).shape == image.shape
        assert model != "FLUX.2 klein" or (image.shape[1] % 16 == 0 and image.shape[2] % 16 == 0)


def test_sizes_are_those_of_the_host(comfy, home):
    nodes_flux = __import__("comfy_extras.nodes_flux", fromlist=["nodes_flux"])
    kontext = getattr(nodes_flux, "PREFERRED_KONTEXT_RESOLUTIONS", None) or nodes_flux.PREFERED_KONTEXT_RESOLUTIONS
    assert set(FAMILIES["FLUX.1 Kontext"].sizes) == set(kontext)

    def source(name):
        return (home / "comfy_api_nodes" / name).read_text("utf-8")

    assert [f"{w}x{h}" for w, h in FAMILIES["GPT Image"].sizes if f'"{w}x{h}"' not in source("nodes_openai.py")] == []
    shapes = FAMILIES["Gemini (Nano Banana)"].shapes
    assert [f"{w}:{h}" for w, h in shapes if f'"{w}:{h}"' not in source("nodes_gemini.py")] == []
    bytedance = source("apis/bytedance.py") if (home / "comfy_api_nodes/apis/bytedance.py").exists() else ""
    if "RECOMMENDED_PRESETS_SEEDREAM_4" in bytedance:
        presets = bytedance.split("RECOMMENDED_PRESETS_SEEDREAM_4 = [")[1].split("]")[0]
        assert [size for size in FAMILIES["Seedream 4"].sizes if "{}, {}".format(*size) not in presets] == []


@pytest.mark.parametrize("size", SCENES)
@pytest.mark.parametrize("model", ["Gemini (Nano Banana)", "GPT Image", "Seedream 4"])
def test_what_is_fitted_for_an_api_is_sent_as_it_is(comfy, size, model):
    """The host's uploads are scaled down to 2048^2 px; Seedream 4.5 and 5 make nothing below 3,686,400."""
    sending = pytest.importorskip("comfy_api_nodes.util.conversions")
    image = fit(comfy, picture(*size), model)[0]
    assert torch.equal(sending.downscale_image_tensor(image, total_pixels=2048 * 2048), image)
    assert model != "Seedream 4" or image[0, ..., 0].numel() >= 3_686_400


@pytest.mark.parametrize("model", ["FLUX.2 klein", "Qwen-Image-Edit 2509, 2511", "GPT Image", "custom"])
def test_a_region_of_twelve_megapixels_goes_through_an_editor_and_comes_back(comfy, model):
    """Local Region Crop, Fit, an edit at another size, Undo, Local Region Paste; nothing outside changes a bit."""
    scene = picture(4000, 3000)
    box = dict(x=1810, y=1205, width=611, height=433)
    crop, _, region, _ = comfy(
        "LocalRegionCrop", image=scene, expansion=0.37, working_size=0, regions="together", shape="box", **box
    )
    image, _, fitted, width, height = fit(comfy, crop, model)
    edited = comfy("ImageInvert", image=image)[0]
    (edited,) = comfy(
        "ImageScale", image=edited, upscale_method="area", width=2 * width, height=2 * height, crop="disabled"
    )
    (back,) = comfy("UndoFit", fit=fitted, image=edited)
    assert back.shape == crop.shape
    result, changed = comfy(
        "LocalRegionPaste", local_region=region, image=back, feather=0, colour_match=0.0, area="mask"
    )
    mask = comfy("BoxToMask", image=scene, **box)[0]
    assert torch.equal(changed, mask) and torch.equal(result[changed == 0], scene[changed == 0])
    inside = (slice(None), slice(box["y"], box["y"] + box["height"]), slice(box["x"], box["x"] + box["width"]))
    if fitted.frame.size == fitted.frame[2:4]:  # nothing was resized: doubled by copying and halved by bicubic
        assert (result[inside] - (1 - scene[inside])).abs().mean() < 0.1
    assert (result[inside].mean() + scene[inside].mean() - 1).abs() < 0.01


def test_width_and_height_are_an_empty_latent_s(comfy):
    image, _, _, width, height = fit(comfy, picture(700, 400), "FLUX.2 klein")
    (latent,) = comfy("EmptyLatentImage", width=width, height=height, batch_size=1)
    assert latent["samples"].shape[-2:] == (height // 8, width // 8) and image.shape[1:3] == (height, width)
