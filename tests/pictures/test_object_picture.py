"""The object's picture before the encoder: alpha, background, framing, and what is refused."""

import pytest
import torch

from visual_insertion_pack.pipelines.pictures.objects import (
    MARGIN,
    idle_mask_remark,
    mask_remark,
    prepare_object,
    upside_down,
)

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


# background = auto, and masks that are upside down


def disc(height=60, width=80, centre=(30, 40), radius=20):
    """A round object's mask [1,H,W]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (((y - centre[0]) ** 2 + (x - centre[1]) ** 2) < radius**2)[None].float()


@pytest.mark.parametrize("name", ["middle", "corner", "trimmed", "thin", "batch"])
def test_a_mask_around_an_object_is_told_from_one_of_it(name):
    mask = {
        "middle": disc(),
        "corner": disc(centre=(14, 14), radius=10),
        "trimmed": disc(60, 60, (30, 30), 30),  # it touches all four borders
        "thin": torch.nn.functional.pad(torch.ones(1, 50, 2), (30, 48, 5, 5)),
        "batch": torch.cat([disc(), disc(radius=15)]),
    }[name]
    assert not upside_down(mask).any()
    assert upside_down(1 - mask).all()


@pytest.mark.parametrize("mask", [torch.ones(1, 60, 80), 1 - disc(radius=2), disc(radius=44), torch.zeros(1, 60, 80)])
def test_an_object_that_fills_its_picture_is_not_upside_down(mask):
    assert not upside_down(mask).any()


def test_auto_is_keep_where_nothing_says_where_the_object_is():
    image = picture()
    assert torch.equal(prepare_object(image, background="auto"), image)
    assert torch.equal(prepare_object(image, torch.zeros(1, 64, 64), background="auto"), image)


def test_auto_shows_the_object_alone_in_a_square():
    image, mask = picture(60, 80), disc(centre=(20, 15), radius=15)
    out = prepare_object(image, mask, background="auto", mean_colour=MEAN)
    (y0, x0), (y1, x1) = mask[0].nonzero().min(0).values, mask[0].nonzero().max(0).values + 1
    side = round(float(max(y1 - y0, x1 - x0)) * (1 + 2 * MARGIN))
    assert out.shape == (1, side, side, 3)
    rim = torch.cat([out[0, 0], out[0, -1], out[0, :, 0], out[0, :, -1]])
    assert torch.allclose(rim, torch.tensor(MEAN).expand_as(rim))
    middle = out[0, side // 2, side // 2]
    assert torch.equal(middle, image[0, (y0 + y1 - side) // 2 + side // 2, (x0 + x1 - side) // 2 + side // 2])


def test_auto_turns_a_cut_outs_mask_round_and_no_other_choice_does():
    image, mask = picture(60, 80), disc()
    turned = prepare_object(image, 1 - mask, background="auto")
    assert torch.equal(turned, prepare_object(image, mask, background="auto"))
    for background in ("mean", "white", "grey"):
        literal = prepare_object(image, 1 - mask, background=background)
        assert torch.equal(literal[0, 0, 0], image[0, 0, 0])


def test_an_alpha_channel_serves_auto_as_a_mask_does():
    image, mask = picture(60, 80), disc()
    transparent = torch.cat([image, mask[..., None]], -1)
    assert torch.equal(prepare_object(transparent, background="auto"), prepare_object(image, mask, background="auto"))


def test_views_of_a_batch_are_cut_at_one_scale():
    masks = torch.cat([disc(radius=20), disc(radius=10)])
    out = prepare_object(picture(60, 80, count=2), masks, background="auto")
    assert out.shape[1] == prepare_object(picture(60, 80), masks[:1], background="auto").shape[1]


def test_remarks_name_the_remedy():
    assert "was turned round" in mask_remark(1 - disc(), "auto")
    assert "auto, or put Invert Mask" in mask_remark(1 - disc(), "mean")
    assert mask_remark(1 - disc()).endswith("put Invert Mask between.")
    assert mask_remark(disc(), "mean") == mask_remark(None, "mean") == mask_remark(torch.zeros(1, 64, 64)) == ""
    assert "choose background = auto" in idle_mask_remark(disc(), "keep")
    assert idle_mask_remark(disc(), "auto") == idle_mask_remark(None, "keep") == ""
