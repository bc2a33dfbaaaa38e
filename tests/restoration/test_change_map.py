"""The change map: an object and its shadow are found, what a VAE does to every pixel is not."""

import numpy as np
import pytest
from scipy import ndimage

from visual_insertion_pack.pipelines.restoration import morphology
from visual_insertion_pack.pipelines.restoration.change_map import change_map, gaussian
from visual_insertion_pack.tests.restoration_parts import cases, edit, photograph

FAINT = 0.1  # of the light, a shadow that is hard to tell from a VAE's noise


def everywhere(picture):
    return np.ones(picture.shape[:2], bool)


def found(case, **settings):
    """The change map of an edit in which nothing moved."""
    scene = case.scene[0].numpy()
    return change_map(case.edited[0].numpy(), scene, everywhere(scene), **settings)


def shaded(strength, name="chelsea.png", seed=0):
    """(scene, the same through a VAE and with a round shadow, where the shadow is)."""
    scene = photograph(name)
    height, width = scene.shape[:2]
    y, x = np.mgrid[:height, :width]
    shadow = np.exp(-(((x - 120) / 40) ** 2) - ((y - 90) / 25) ** 2)
    edited = cases.through_vae(scene * (1 - strength * shadow[..., None]), cases.seeded("shaded", seed))
    return scene, cases.eight_bit(edited), shadow > 0.5


@pytest.mark.parametrize("picture", ["chelsea.png", "astronaut.png", "coffee.png", "page.png"])
def test_an_object_and_its_shadow_are_found_and_noise_is_not(picture):
    case = edit(name=picture, kind="blob", side=384)
    changes = found(case)
    solid = case.object >= 0.5
    overlap = (changes.objects & solid).sum() / (changes.objects | solid).sum()
    assert overlap > 0.75
    assert changes.reach[ndimage.binary_erosion(case.effect, iterations=3)].mean() > 0.85
    background = ~ndimage.binary_dilation(case.touched, iterations=6)
    assert changes.reach[background].mean() < 0.01


@pytest.mark.parametrize("drift", ["VAE alone", "JPEG 80, colour"])
@pytest.mark.parametrize("picture", ["chelsea.png", "gravel.png", "camera.png", "hubble_deep_field.jpg"])
def test_where_nothing_was_put_in_nothing_is_found(picture, drift):
    quality = cases.Drift(jpeg=cases.DRIFTS[drift].jpeg)
    changes = found(edit(quality, picture, kind=None))
    assert changes.reach.mean() < 0.002 and changes.objects.mean() < 0.002


def test_equal_pictures_have_no_change():
    scene = photograph()
    changes = change_map(scene, scene, everywhere(scene))
    assert not changes.reach.any() and not changes.objects.any() and not changes.visibility.any()


def test_a_shadow_belongs_to_the_effect_and_is_no_object():
    scene, edited, shadow = shaded(0.4)
    changes = change_map(edited, scene, everywhere(scene))
    assert changes.reach[shadow].mean() > 0.95
    assert changes.objects.mean() < 0.005
    assert np.median(changes.visibility[shadow]) > 1


def test_an_object_is_no_shadow_even_where_it_is_darker_than_the_scene():
    scene = photograph("coffee.png")
    edited = np.array(scene)
    edited[60:120, 80:150] = 0.3 * photograph("gravel.png")[60:120, 80:150]
    edited = cases.eight_bit(cases.through_vae(edited, cases.seeded("dark")))
    changes = change_map(edited, scene, everywhere(scene))
    assert changes.objects[64:116, 84:146].mean() > 0.9


def test_more_sensitive_finds_fainter_changes():
    scene, edited, shadow = shaded(FAINT)
    shares = [
        change_map(edited, scene, everywhere(scene), sensitivity=sensitivity).reach[shadow].mean()
        for sensitivity in (0.3, 1.0, 3.0)
    ]
    assert shares == sorted(shares) and shares[0] < 0.1 < 0.9 < shares[2]


def test_a_vae_that_is_known_hides_less():
    """Its version of the scene is what the edit is compared with."""
    scene, edited, shadow = shaded(FAINT, "gravel.png", seed=1)
    vae = cases.eight_bit(cases.through_vae(scene, cases.seeded("shaded", 1)))  # the same noise
    alone = change_map(edited, scene, everywhere(scene)).reach
    known = change_map(edited, scene, everywhere(scene), references=[vae]).reach
    assert known[shadow].mean() > 0.9 and known[shadow].mean() >= alone[shadow].mean()


def test_a_reference_that_fits_worse_than_the_scene_is_not_used():
    case = edit(side=320)
    black = np.zeros_like(case.scene[0].numpy())
    assert np.array_equal(found(case, references=[black]).reach, found(case).reach)


def test_what_the_model_did_not_look_at_has_to_be_clearer():
    scene, edited, shadow = shaded(0.06)
    looked, elsewhere = (
        change_map(edited, scene, everywhere(scene), relevance=np.full(shadow.shape, value, np.float32)).reach
        for value in (1.0, 0.0)
    )
    assert looked[shadow].mean() > 0.2 and not elsewhere[shadow].any()


def test_what_the_edit_does_not_show_is_no_change():
    case = edit(side=320)
    shown = everywhere(case.scene[0])
    shown[:, : shown.shape[1] // 2] = False
    changes = change_map(case.edited[0].numpy(), case.scene[0].numpy(), shown)
    assert not changes.objects[:, : shown.shape[1] // 2 - 12].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 8), (40, 3)])
def test_pictures_of_a_few_pixels_have_a_map(size):
    scene = photograph()[: size[0], : size[1]]
    changes = change_map(1 - scene, scene, everywhere(scene))
    assert changes.reach.shape == changes.objects.shape == changes.visibility.shape == size
    assert np.isfinite(changes.visibility).all()


@pytest.mark.parametrize("sigma", [0.5, 3.0])
@pytest.mark.parametrize("shape", [(37, 64), (64, 37, 3), (5, 4, 3)])
def test_smoothing_is_scipys_to_the_bit_however_a_picture_lies_in_memory(shape, sigma):
    picture = np.random.default_rng(0).random(shape, np.float32)[::-1, ::-1]
    sigmas = (sigma, sigma, 0)[: picture.ndim]
    assert np.array_equal(gaussian(picture, sigma), ndimage.gaussian_filter(picture, sigmas, truncate=3.0))


@pytest.mark.parametrize("radius", [1, 2.6, 5])
def test_a_mask_is_changed_in_its_part_alone_as_in_the_whole_picture(radius):
    mask = ndimage.gaussian_filter(np.random.default_rng(1).random((60, 80)), 3) > 0.51
    mask[:, :30] = False
    for part in (mask, np.roll(mask, -30, 1), np.zeros_like(mask), np.ones_like(mask)):
        element = morphology.disc(radius)
        whole = np.pad(part, 10)
        assert np.array_equal(morphology.dilated(part, radius), ndimage.binary_dilation(part, element))
        assert np.array_equal(morphology.opened(part, radius), ndimage.binary_opening(part, element))
        assert np.array_equal(morphology.closed(part, radius), ndimage.binary_closing(whole, element)[10:-10, 10:-10])
