"""Colours: what an edit did to all of them is undone, what it did not is left."""

import numpy as np
import pytest
import torch

from visual_insertion_pack.pipelines.restoration.colours import UNTOUCHED, colour_difference, colour_map, recoloured
from visual_insertion_pack.tests.restoration_parts import cases, photograph

LEVEL = 1 / 255
TINTS = {
    "warmer": lambda picture: picture * [1.07, 1.0, 0.93],
    "gamma": lambda picture: picture**0.9,
    "paler": lambda picture: picture * 0.9 + 0.05,
    "as an editor does": lambda picture: cases.recoloured(picture, cases.seeded("tint")),
}


def everywhere(picture):
    return np.ones(picture.shape[:2], bool)


def tinted(picture, tint):
    return np.clip(TINTS[tint](picture), 0, 1).astype(np.float32)


def apart(one, other):
    return float(np.abs(np.asarray(one) - np.asarray(other)).mean())


def mapped(picture, colours):
    return recoloured(torch.from_numpy(np.array(picture)), colours).numpy()


@pytest.mark.parametrize("picture", ["coffee.png", "chelsea.png", "astronaut.png"])
@pytest.mark.parametrize("tint", TINTS)
def test_a_tint_of_the_whole_picture_is_undone(picture, tint):
    scene = photograph(picture)
    edited = tinted(scene, tint)
    restored = mapped(edited, colour_map(edited, scene, everywhere(scene)))
    assert apart(edited, scene) > 3 * LEVEL
    assert apart(restored, scene) < 1.5 * LEVEL


def test_what_was_put_in_does_not_count():
    scene = photograph("coffee.png")
    edited = tinted(scene, "warmer")
    edited[40:140, 60:170] = (0.1, 0.9, 0.2)
    colours = colour_map(edited, scene, everywhere(scene))
    background = everywhere(scene)
    background[40:140, 60:170] = False
    assert apart(mapped(edited, colours)[background], scene[background]) < 1.5 * LEVEL


def test_only_what_is_shown_counts():
    scene = photograph("coffee.png")
    edited = tinted(scene, "warmer")
    edited[:, :200] = 0
    shown = everywhere(scene)
    shown[:, :200] = False
    colours = colour_map(edited, scene, shown)
    assert apart(mapped(edited, colours)[shown], scene[shown]) < 1.5 * LEVEL


def test_colours_that_the_scene_has_not_keep_their_own():
    scene = photograph("camera.png")  # grey
    edited = tinted(scene, "paler")
    colours = colour_map(edited, scene, everywhere(scene))
    for colour in ((0.8, 0.1, 0.1), (0.1, 0.7, 0.2), (0.1, 0.2, 0.8)):
        new = mapped(np.array(colour, np.float32), colours)
        assert np.abs(new - colour).max() < 0.15
        assert int(np.argmax(new)) == int(np.argmax(colour))


def test_equal_pictures_are_left_untouched():
    scene = photograph("coffee.png")
    colours = colour_map(scene, scene, everywhere(scene))
    assert apart(mapped(scene, colours), scene) < 0.01 * LEVEL
    assert torch.equal(recoloured(torch.from_numpy(scene.copy()), UNTOUCHED), torch.from_numpy(scene.copy()))


def test_what_a_vae_does_alone_is_not_undone_and_what_an_edit_does_beside_it_is():
    """A map learnt from a VAE's noise in the colours of a room says nothing true of an object's."""
    scene = photograph("coffee.png")
    trip, edited = (cases.through_vae(scene, cases.seeded(seed)) for seed in ("trip", "edit"))
    assert colour_map(edited, scene, everywhere(scene), trip) is UNTOUCHED
    warmer = tinted(edited, "warmer")
    colours = colour_map(warmer, scene, everywhere(scene), trip)
    assert np.array_equal(colours.matrix, colour_map(warmer, scene, everywhere(scene)).matrix)
    assert apart(mapped(warmer, colours), edited) < 0.5 * apart(warmer, edited)


def test_of_too_few_pixels_nothing_is_learnt():
    scene = photograph("coffee.png")
    few = np.zeros(scene.shape[:2], bool)
    few[:5, :5] = True
    assert colour_map(tinted(scene, "warmer"), scene, few) is UNTOUCHED


def test_the_difference_of_colours_is_the_mean_delta_e():
    from skimage.color import deltaE_cie76, rgb2lab

    scene = photograph("coffee.png")
    edited = tinted(scene, "warmer")
    expected = deltaE_cie76(rgb2lab(scene), rgb2lab(edited)).mean()
    one, other = (torch.from_numpy(np.array(picture).reshape(-1, 3)) for picture in (scene, edited))
    assert colour_difference(one, other) == pytest.approx(expected, rel=0.01)
    assert colour_difference(one, one) == 0 == colour_difference(one[:0], one[:0])
