"""Layers: recomposed they are the restored picture, and the rim is nearer to the truth than the mask."""

from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from visual_insertion_pack.pipelines.layers.matting import Layers, separate, separate_batch

law = settings(deadline=None, database=None, derandomize=True, max_examples=80)
PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
LEVEL = 1 / 255


def photograph(name, height=240, width=300):
    picture = np.asarray(Image.open(PHOTOGRAPHS / name).convert("RGB"), np.float32)[:height, :width] / 255
    return torch.from_numpy(picture.copy())


def blurred(values, sigma):
    return torch.from_numpy(np.asarray(ndimage.gaussian_filter(values.numpy(), sigma)))


def disc(x, y, radius, height=240, width=300):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (((columns - x) ** 2 + (rows - y) ** 2) < radius**2).float()


def inserted(scene, texture):
    """A photograph's disc with a soft edge and a shadow in a scene: (restored, opacity, shadow, effect)."""
    opacity = blurred(disc(140, 110, 50), 1.0)
    shadow = 1 - 0.5 * blurred(disc(170, 165, 30), 8.0)
    restored = opacity[..., None] * texture + (1 - opacity[..., None]) * scene * shadow[..., None]
    effect = ((opacity > 0.002) | (shadow < 0.998)).float()
    return torch.where(effect[..., None] > 0, restored, scene), opacity, shadow, effect


def rounded(picture):
    return (picture * 255).round() / 255


def apart(one, other):
    return float((one - other).abs().max())


SCENES = st.sampled_from(["random", "black", "white", "black and white", "dark"])


@st.composite
def edits(draw):
    """A scene, a picture that differs from it in the effect only, and masks, all without any sense."""
    height = draw(st.integers(1, 24))
    width = draw(st.integers(1, 24))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    noise = lambda *size: torch.rand(*size, generator=generator)  # noqa: E731
    scene = noise(height, width, 3)
    kinds = {"random": scene, "black": scene * 0, "white": scene * 0 + 1, "dark": scene * 4 / 255}
    scene = kinds.get(draw(SCENES), scene.round())
    effect = (noise(height, width) < draw(st.floats(0, 1))) * noise(height, width)
    restored = torch.where(effect[..., None] > 0, noise(height, width, 3), scene)
    mask = noise(height, width)
    mask = mask if draw(st.booleans()) else (mask < draw(st.floats(0, 1))).float()
    return scene, restored, mask, effect


@law
@given(edits())
def test_recomposed_layers_are_the_restored_picture_in_8_bits(edit):
    layers = separate(*edit)
    assert apart(layers.recompose(), rounded(edit[1])) <= 1e-6


@law
@given(edits())
def test_outside_the_effect_every_layer_is_nothing(edit):
    layers = separate(*edit)
    outside = edit[3] == 0
    assert (layers.object[outside] == 0).all()
    assert (layers.shadow[outside] == 1).all()
    assert (layers.light[outside] == 0).all()
    assert torch.equal(layers.scene, rounded(edit[0]))


@law
@given(edits())
def test_every_layer_is_of_8_bits_and_in_range(edit):
    layers = separate(*edit)
    for layer in (layers.scene, layers.shadow, layers.light, layers.object):
        assert layer.min() >= 0
        assert layer.max() <= 1
        assert apart(layer * 255, (layer * 255).round()) < 1e-4


@pytest.mark.parametrize("scene", ["coffee.png", "chelsea.png", "rocket.jpg"])
def test_the_object_of_a_photograph_is_nearer_to_its_true_opacity_than_the_mask(scene):
    scene = photograph(scene)
    restored, opacity, _, effect = inserted(scene, photograph("astronaut.png"))
    mask = (opacity > 0.5).float()
    layers = separate(scene, restored, mask, effect)
    rim = (opacity > 0.01) & (opacity < 0.99)
    error = (layers.object[..., 3] - opacity)[rim].abs().mean()
    assert error < 0.5 * (mask - opacity)[rim].abs().mean()
    assert apart(layers.recompose(), rounded(restored)) <= 1e-6


def test_the_shadow_is_measured_beside_the_object_and_goes_on_under_it():
    scene = photograph("coffee.png") * 0.5 + 0.3
    restored, opacity, shadow, effect = inserted(scene, photograph("astronaut.png"))
    layers = separate(scene, restored, (opacity > 0.5).float(), effect)
    beside = (layers.object[..., 3] == 0) & (shadow < 0.97)
    assert (layers.shadow.mean(-1) - shadow)[beside].abs().mean() < 0.01
    hidden = (opacity > 0.99) & (shadow < 0.8)
    assert hidden.any()
    assert (layers.shadow.mean(-1)[hidden] < 0.95).all()


def test_what_is_lighter_than_the_scene_outside_of_the_object_is_light():
    scene = photograph("coffee.png") * 0.6
    glow = disc(60, 60, 30)
    restored = scene + 0.3 * glow[..., None] * (1 - scene)
    layers = separate(scene, restored, torch.zeros(240, 300), glow)
    assert (layers.object == 0).all()
    assert (layers.shadow == 1).all()
    assert (layers.light.mean(-1)[glow > 0] - 0.3).abs().max() < 0.02
    assert apart(layers.recompose(), rounded(restored)) <= 1e-6


def test_where_object_and_scene_are_alike_the_opacity_is_the_masks():
    scene = torch.full((40, 40, 3), 0.5)
    mask = blurred(disc(20, 20, 9, 40, 40), 1.0)
    layers = separate(scene, scene, mask, torch.ones(40, 40))
    assert apart(layers.object[..., 3], mask) <= LEVEL


def test_a_black_scene_has_no_shadow_and_still_its_object():
    scene = torch.zeros(40, 40, 3)
    mask = disc(20, 20, 9, 40, 40)
    restored = mask[..., None] * torch.tensor([0.8, 0.2, 0.0])
    layers = separate(scene, restored, mask, torch.ones(40, 40))
    assert (layers.shadow == 1).all()
    assert apart(layers.recompose(), rounded(restored)) <= 1e-6
    assert layers.object[20, 20].tolist() == pytest.approx([0.8, 0.2, 0.0, 1.0], abs=LEVEL)


def test_nothing_changed_gives_layers_of_nothing():
    scene = photograph("coffee.png")
    layers = separate(scene, scene, torch.zeros(240, 300), torch.zeros(240, 300))
    assert (layers.object == 0).all()
    assert torch.equal(layers.recompose(), layers.scene)


def test_grey_scenes_and_alpha_channels_are_taken():
    scene = torch.full((8, 8, 1), 0.5)
    restored = torch.cat([torch.full((8, 8, 3), 0.25), torch.ones(8, 8, 1)], -1)
    layers = separate(scene, restored, torch.zeros(8, 8), torch.ones(8, 8))
    assert isinstance(layers, Layers)
    assert layers.shadow.mean() == pytest.approx(0.5, abs=0.01)


BAD = {
    "The restored picture is 5x4 px, the scene 4x4 px.": dict(restored=torch.zeros(4, 5, 3)),
    "The scene holds values that are not finite": dict(scene=torch.full((4, 4, 3), float("nan"))),
    "The effect mask holds values that are not finite": dict(effect=torch.full((4, 4), float("inf"))),
    r"The object mask must be \[H,W\] of the scene's 4x4 px; got \(1, 4, 4\)": dict(mask=torch.zeros(1, 4, 4)),
    r"The scene must be a picture \[H,W,C\]": dict(scene=torch.zeros(1, 4, 4, 3)),
    "The restored picture is not the scene outside the effect mask: 16 px differ": dict(restored=torch.ones(4, 4, 3)),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_taken_apart_is_said(message):
    good = dict(scene=torch.zeros(4, 4, 3), restored=torch.zeros(4, 4, 3))
    masks = dict(mask=torch.zeros(4, 4), effect=torch.zeros(4, 4))
    parts = good | masks | BAD[message]
    with pytest.raises(ValueError, match=message):
        separate(parts["scene"], parts["restored"], parts["mask"], parts["effect"])


KINDS = ["scenes", "restored pictures", "object masks", "effect masks"]


@pytest.mark.parametrize(("empty", "kind"), list(enumerate(KINDS)))
def test_an_empty_batch_is_refused(empty, kind):
    parts = [torch.zeros(1, 4, 4, 3), torch.zeros(1, 4, 4, 3), torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)]
    parts[empty] = parts[empty][:0]
    with pytest.raises(ValueError, match=f"There are no {kind}: their batch is empty"):
        separate_batch(*parts)
