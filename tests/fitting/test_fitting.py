"""The size contract: fitted to what a model works at without stretching, and undone to the pixel."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from visual_insertion_pack.pipelines.fitting.families import FAMILIES, MODELS, family_of
from visual_insertion_pack.pipelines.fitting.fit import fit_for_edit, undo_fit
from visual_insertion_pack.pipelines.fitting.frames import METHODS, frame_of

law = settings(deadline=None, database=None, derandomize=True, max_examples=80)
NAN = float("nan")


def picture(width, height, count=1, channels=3, seed=0):
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(seed))


def ramps(width, height):
    """A picture [1,H,W,3] whose red and green say where in it a pixel lies, 0 to 1."""
    x = (torch.arange(width) + 0.5) / width
    y = (torch.arange(height) + 0.5) / height
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width), torch.zeros(height, width)], -1)[None]


sides = st.integers(1, 6000)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", METHODS)
@law
@given(width=sides, height=sides)
def test_a_frame_has_a_size_of_its_family_and_is_not_stretched(model, method, width, height):
    family = family_of(model)
    try:
        frame = frame_of(width, height, family, method)
    except ValueError:
        assert family.sizes or family.shapes
        assert max(width / height, height / width) > 4, "only scenes far from all shapes are refused"
        return
    across, down = frame.size
    if family.sizes:
        assert frame.size in family.sizes
    elif family.shapes:
        assert any(across * b == down * a for a, b in family.shapes)
    else:
        assert across % family.multiple == 0 and down % family.multiple == 0
        assert min(frame.size) >= family.shortest
    if max(width, height) <= 8 * min(width, height):
        assert across * down <= family.most or min(frame.size) == max(family.multiple, family.shortest)
    # One factor for both sides, but for the rounding of the frame to whole pixels of the scene.
    factor = frame.width / across
    assert abs(down * factor - frame.height) <= 0.5 + 0.5 * down / across + 1e-6 or 1 in (frame.width, frame.height)
    # In the middle, and with nothing of the scene lost, or nothing added.
    assert abs(2 * frame.left + frame.width - width) <= 1 and abs(2 * frame.top + frame.height - height) <= 1
    if method == "pad":
        assert frame.width >= width and frame.height >= height
    elif family.sizes:
        assert frame.width <= width and frame.height <= height


@pytest.mark.parametrize("model", MODELS)
@law
@given(width=sides, height=sides)
def test_what_was_fitted_is_fitted_already(model, width, height):
    assume(max(width, height) <= 4 * min(width, height) and min(width, height) >= 64)
    family = family_of(model)
    size = frame_of(width, height, family, "pad").size
    for method in METHODS:
        assert frame_of(*size, family, method) == (0, 0, *size, size)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("method", METHODS)
@law
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    multiple=st.sampled_from([1, 8, 16, 64]),
    count=st.integers(1, 2),
)
def test_where_nothing_was_resized_undoing_gives_the_scene_bit_for_bit(
    channels, method, width, height, multiple, count
):
    scene = picture(width, height, count, channels)
    before = scene.clone()
    fitted, masks, fit = fit_for_edit(scene, model="custom", method=method, multiple=multiple)
    assert fitted.shape == (count, *fit.frame.size[::-1], 3) and masks.shape[1:] == fitted.shape[1:3]
    back = undo_fit(fitted, fit)
    assert torch.equal(back, scene.expand(-1, -1, -1, max(3, channels)))
    assert torch.equal(scene, before) and back.data_ptr() != scene.data_ptr()


@pytest.mark.parametrize("larger", [1, 2, 0.5])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["SD 1.5", "SDXL", "FLUX.1 Kontext", "FLUX.2 klein", "Qwen-Image-Edit", "GPT Image"])
def test_each_place_comes_back_to_where_it_was_at_any_size_the_model_returns(model, method, larger):
    scene = ramps(1500, 1001)
    fitted, _, fit = fit_for_edit(scene, model=model, method=method)
    width, height = (round(side * larger) for side in fit.frame.size)
    edited = torch.nn.functional.interpolate(
        fitted.movedim(-1, 1), (height, width), mode="bicubic", antialias=True
    ).movedim(1, -1)
    back = undo_fit(edited, fit)
    assert back.shape == scene.shape
    x0, y0, x1, y1 = fit.common
    inner = (slice(None), slice(y0 + 20, y1 - 20), slice(x0 + 20, x1 - 20))  # a resize bends what is near its borders
    error = (back - scene)[inner].abs()[..., :2] * torch.tensor([1500.0, 1001.0])
    assert error.mean() < 0.1 and (error > 0.5).float().mean() < 0.001  # px


def test_padding_is_mirrored_and_the_mask_says_where_the_scene_is():
    scene = picture(20, 16)
    fitted, masks, fit = fit_for_edit(scene, model="custom", multiple=16)
    assert fit.frame == (-6, 0, 32, 16, (32, 16))
    assert torch.equal(fitted[:, :, 6:26], scene)
    assert torch.equal(fitted[:, :, :6], scene[:, :, :6].flip(2)) and torch.equal(
        fitted[:, :, 26:], scene[:, :, -6:].flip(2)
    )
    assert masks[0, 0].tolist() == [0] * 6 + [1] * 20 + [0] * 6


def test_a_mask_is_fitted_alongside_and_an_unpainted_one_counts_as_none():
    scene = picture(1000, 600)
    mask = torch.zeros(1, 600, 1000)
    mask[:, 200:260, 500:700] = 1
    _, fitted, fit = fit_for_edit(scene, mask, model="SD 1.5")
    assert fitted.shape[1:] == fit.frame.size[::-1]
    rows, columns = fitted[0].nonzero().amin(0).tolist(), fitted[0].nonzero().amax(0).tolist()
    scale = fit.frame.size[0] / fit.frame.width
    assert abs(rows[1] - (500 - fit.frame.left) * scale) <= 1 and abs(columns[1] - (700 - fit.frame.left) * scale) <= 1
    unpainted = fit_for_edit(scene, torch.zeros(1, 64, 64), model="SD 1.5")[1]
    assert torch.equal(unpainted, fit_for_edit(scene, model="SD 1.5")[1])


def test_what_a_crop_cuts_off_stays_the_scene_s():
    scene = picture(1000, 600, channels=4)
    fitted, _, fit = fit_for_edit(scene, model="GPT Image", method="crop")
    assert fitted.shape == (1, 1024, 1536, 3) and fit.frame[:4] == (50, 0, 900, 600)
    back = undo_fit(torch.zeros_like(fitted), fit)
    assert (back[:, :, 50:950, :3] == 0).all() and torch.equal(back[..., 3], scene[..., 3])
    assert torch.equal(back[:, :, :50], scene[:, :, :50]) and torch.equal(back[:, :, 950:], scene[:, :, 950:])


def test_batches_pair_up():
    scene = picture(70, 50)
    fitted, _, fit = fit_for_edit(scene, model="custom")
    assert undo_fit(torch.cat([fitted, 1 - fitted]), fit).shape == (2, 50, 70, 3)
    scenes = picture(70, 50, count=2)
    fitted, masks, fit = fit_for_edit(scenes, torch.ones(2, 50, 70), model="custom")
    assert len(fitted) == len(masks) == 2
    assert torch.equal(undo_fit(fitted, fit), scenes)
    assert undo_fit(fitted[:1], fit).shape == scenes.shape
    with pytest.raises(ValueError, match="The batches do not pair up: 2 scenes, 3 edited pictures"):
        undo_fit(fitted[:1].repeat(3, 1, 1, 1), fit)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (16384, 8), (8, 16384), (16383, 17)])
@pytest.mark.parametrize("model", ["custom", "FLUX.2 klein"])
def test_pictures_of_a_pixel_and_of_sixteen_thousand_come_back(model, width, height):
    scene = picture(width, height)
    fitted, _, fit = fit_for_edit(scene, model=model)
    assert undo_fit(fitted, fit).shape == scene.shape


GOOD = dict(scene=picture(40, 30), model="custom")
BAD = [
    (dict(scene=picture(40, 30) * NAN), "The scene holds values that are not finite"),
    (dict(scene=picture(40, 30, channels=2)), "The scene must be pictures"),
    (dict(scene=picture(40, 30)[:0]), "The scene is empty"),
    (dict(scene=picture(16384, 16), model="SDXL"), "The scene of 16384x16 px is too far from all shapes of this model"),
    (dict(scene=picture(16384, 16), model="GPT Image", method="crop"), "only 0% of the scene is kept"),
    (dict(scene=picture(16384, 16), model="Gemini (Nano Banana)"), "Cut out a part with Local Region Crop"),
    (dict(model="FLUX.9"), "Unknown model family 'FLUX.9'; use SD 1.5, "),
    (dict(method="stretch"), "Unknown method 'stretch'; use pad, crop."),
    (dict(multiple=0), "multiple must be from 1 to 1024 px"),
    (dict(megapixels=-1.0), "megapixels from 0 to 1024"),
    (dict(megapixels=NAN), "megapixels from 0 to 1024"),
    (dict(mask=torch.ones(1, 9, 9)), "The mask is 9x9 px, the scene 40x30 px"),
    (dict(mask=torch.full((1, 30, 40), NAN)), "The mask holds values that are not finite"),
    (dict(mask=torch.ones(3, 30, 40), scene=picture(40, 30, 2)), "The batches do not pair up: 2 scenes, 3 masks"),
    (
        dict(mask=torch.eye(30, 40)[None] * (torch.arange(40) < 3), method="crop", multiple=30),
        "Nothing of the mask lies in the part that is kept",
    ),
]


@pytest.mark.parametrize(("changes", "error"), BAD)
def test_what_cannot_be_fitted_is_refused(changes, error):
    with pytest.raises(ValueError, match=error):
        fit_for_edit(**{**GOOD, **changes})


@pytest.mark.parametrize(
    ("edited", "error"),
    [
        (picture(48, 32)[:, :, :, :2], "The edited picture must be pictures"),
        (picture(48, 32)[:0], "The edited picture is empty"),
        (picture(48, 32) * NAN, "The edited picture holds values that are not finite"),
        (picture(48, 48), "The edited picture is 48x48 px, but what was fitted 48x32 px: it is of another shape"),
    ],
)
def test_an_edit_that_cannot_be_placed_is_refused(edited, error):
    _, _, fit = fit_for_edit(picture(40, 30), model="custom")
    with pytest.raises(ValueError, match=error):
        undo_fit(edited, fit)


def edit_cli(width, height, resolution=512):
    """The size that InstructPix2Pix's edit_cli.py makes of a picture's."""
    factor = resolution / max(width, height)
    factor = math.ceil(min(width, height) * factor / 64) * 64 / min(width, height)
    return int(width * factor // 64) * 64, int(height * factor // 64) * 64


def test_instruct_pix2pix_s_own_script_leaves_the_sizes_of_sd15_alone():
    sizes = [(512, side) for side in range(128, 513, 64)]
    assert set(FAMILIES["SD 1.5"].sizes) == {*sizes, *((height, width) for width, height in sizes)}
    assert all(edit_cli(*size) == size for size in FAMILIES["SD 1.5"].sizes)
    assert edit_cli(768, 512) == (576, 384)  # ours is 512x384: no scene is sampled above what the model was trained at


def test_every_family_says_where_its_numbers_are_from():
    assert all(len(family.source) > 20 for family in FAMILIES.values())
    assert all(width * 4 >= height and height * 4 >= width for f in FAMILIES.values() for width, height in f.sizes)
