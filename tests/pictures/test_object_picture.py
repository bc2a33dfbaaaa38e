"""The object's picture before the encoder: alpha, background, framing, and what is refused."""

import pytest
import torch

from visual_insertion_pack.pipelines.pictures.objects import prepare_object

MEAN = (0.48, 0.46, 0.41)


def picture(height=20, width=30, channels=3, count=1):
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2


def box_mask(height=20, width=30):
    mask = torch.zeros(1, height, width)
    mask[:, 5:15, 8:20] = 1
    return mask


def test_by_default_a_picture_stays_as_it_is():
    image = picture()
    assert torch.equal(prepare_object(image), image)
    assert torch.equal(prepare_object(image, box_mask()), image)


def test_padding_adds_margins_around_the_centre():
    image = picture()
    out = prepare_object(image, framing="pad", mean_colour=MEAN)
    assert out.shape == (1, 30, 30, 3)
    assert torch.equal(out[:, 5:25], image)
    assert torch.equal(out[0, 0, 0], torch.tensor(MEAN))
    assert torch.equal(out[0, 29, 29], torch.tensor(MEAN))


def test_padding_takes_the_colour_of_the_background():
    out = prepare_object(picture(30, 20), framing="pad", background="white")
    assert (out[:, :, :5] == 1).all() and (out[:, :, 25:] == 1).all()


def test_cropping_takes_the_centre():
    image = picture()
    assert torch.equal(prepare_object(image, framing="crop"), image[:, :, 5:25])


@pytest.mark.parametrize(
    ("background", "colour"), [("mean", MEAN), ("white", (1.0, 1.0, 1.0)), ("grey", (0.5, 0.5, 0.5))]
)
def test_a_background_replaces_what_is_outside_the_mask(background, colour):
    image, mask = picture(), box_mask()
    out = prepare_object(image, mask, background=background, mean_colour=MEAN)
    inside = mask[0].bool()
    assert torch.equal(out[0][inside], image[0][inside])
    assert torch.equal(out[0][~inside], torch.tensor(colour).expand(int((~inside).sum()), 3))


def test_a_soft_mask_blends():
    out = prepare_object(picture(), torch.full((1, 20, 30), 0.5), background="white")
    torch.testing.assert_close(out, (picture() + 1) / 2)


def test_one_mask_serves_several_views():
    views = picture(count=3)
    out = prepare_object(views, box_mask(), background="grey")
    assert torch.equal(out[2:], prepare_object(views[2:], box_mask()[0], background="grey"))


def test_greyscale_is_repeated():
    out = prepare_object(picture(channels=1))
    assert out.shape == (1, 20, 30, 3)
    assert torch.equal(out[..., 0], out[..., 2])


def test_alpha_is_the_mask_when_there_is_none():
    image = torch.cat([picture(), box_mask()[..., None]], dim=-1)
    assert torch.equal(
        prepare_object(image, background="white"), prepare_object(image[..., :3], image[..., 3], background="white")
    )


def test_transparent_pixels_have_no_colour_to_keep():
    image = torch.cat([picture(), box_mask()[..., None]], dim=-1)
    out = prepare_object(image, background="keep", mean_colour=MEAN)
    assert torch.equal(out[0, 0, 0], torch.tensor(MEAN))
    assert torch.equal(out[0, 10, 10], image[0, 10, 10, :3])


def test_mask_and_alpha_both_hide():
    alpha = torch.ones(1, 20, 30, 1)
    alpha[:, :, :10] = 0
    out = prepare_object(torch.cat([picture(), alpha], -1), box_mask(), background="white")
    shown = (out != 1).any(-1)[0]
    assert shown[5:15, 10:20].all() and shown.sum() == 100


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [(20, 30), (64, 64), (7, 9)])
def test_an_unpainted_mask_of_any_size_is_no_mask(size, count):
    image = picture()
    assert torch.equal(prepare_object(image, torch.zeros(count, *size)), image)
    with pytest.raises(ValueError, match="neither a mask nor"):
        prepare_object(image, torch.zeros(count, *size), background="white")


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (picture(), torch.ones(1, 21, 30), "30x21 px.*30x20 px"),
        (picture(), torch.ones(1, 64, 64), "64x64 px.*30x20 px"),
        (picture(count=3), torch.ones(2, 20, 30), "2 masks.*3 pictures"),
        (picture(), torch.full((1, 20, 30), float("nan")), "not finite"),
        (picture() * float("nan"), None, "not finite"),
        (picture() / 0, None, "not finite"),
        (picture(1, 1), None, "too small.*1x1 px"),
        (picture(0, 30), None, "too small"),
        (picture(count=0), None, "too small"),
        (picture(channels=2), None, "1, 3 or 4 channels"),
        (picture()[0], None, r"\[B,H,W,C\]"),
        (torch.cat([picture(), torch.zeros(1, 20, 30, 1)], -1), None, "alpha channel.*covers 0 pixels"),
    ],
)
def test_what_cannot_be_seen_is_refused(image, mask, message):
    with pytest.raises(ValueError, match=message):
        prepare_object(image, mask)


def test_a_mask_of_one_pixel_is_refused_and_its_picture_named():
    mask = torch.ones(2, 20, 30)
    mask[1] = 0
    mask[1, 3, 3] = 1
    with pytest.raises(ValueError, match="picture 1 covers 1 pixels"):
        prepare_object(picture(count=2), mask)


def test_a_background_cannot_be_hidden_without_knowing_where_it_is():
    with pytest.raises(ValueError, match="neither a mask nor an alpha channel"):
        prepare_object(picture(), background="white")


@pytest.mark.parametrize("setting", [{"framing": "stretch"}, {"background": "black"}])
def test_unknown_settings_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting.values()))):
        prepare_object(picture(), **setting)
