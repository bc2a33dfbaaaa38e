"""What is said of a result without the truth."""

import pytest
import torch
from torch.nn.functional import normalize

from visual_insertion_pack.pipelines.choosing.ranking import ranked
from visual_insertion_pack.pipelines.choosing.terms import (
    LARGE,
    Terms,
    likeness,
    measure,
    what_appeared,
    with_opacity,
)

GROUND = (0.5, 0.5, 0.5)


def colours(pictures):
    """An eye that sees the colours of a coarse grid."""
    small = torch.nn.functional.adaptive_avg_pool2d(pictures.movedim(-1, 1), 8)
    return small.flatten(2).transpose(1, 2) - 0.5


@pytest.fixture
def room():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 8, 8, generator=generator) * 0.3 + 0.35
    return torch.nn.functional.interpolate(coarse, (128, 128), mode="bicubic").movedim(1, -1)


def ball(room, colour, radius=16):
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    inside = (x - 64) ** 2 + (y - 64) ** 2 <= radius**2
    shown = room.clone()
    shade = (0.7 + 0.3 * (y - 48) / 32).clamp(0.5, 1)
    shown[0][inside] = (torch.tensor(colour) * shade[..., None])[inside]
    return shown


def red_ball():
    return ball(torch.full((1, 128, 128, 3), 0.5), (0.9, 0.1, 0.1), 50)


def test_the_asked_for_object_is_best_then_another_one_then_nothing(room):
    results = torch.cat([room, ball(room, (0.1, 0.2, 0.9)), ball(room, (0.9, 0.1, 0.1))])
    terms = measure(room, results, red_ball(), colours, colour=GROUND, align_geometry=False)
    assert ranked(terms).order == [2, 1, 0]
    assert [one.present for one in terms] == [False, True, True]
    assert terms[2].similarity > terms[1].similarity and terms[2].area > terms[0].area == 0


def test_a_scene_in_other_colours_is_worse(room):
    good = ball(room, (0.9, 0.1, 0.1))
    off = ball((room + 0.1).clamp(0, 1), (0.9, 0.1, 0.1))
    terms = measure(room, torch.cat([off, good]), red_ball(), colours, colour=GROUND, align_geometry=False)
    assert terms[0].outside > terms[1].outside
    assert ranked(terms).best == 1


def test_several_scenes_and_no_finite_object_are_refused(room):
    with pytest.raises(ValueError, match="There are 2 scenes"):
        measure(room.repeat(2, 1, 1, 1), room, red_ball(), colours, colour=GROUND)
    with pytest.raises(ValueError, match="not finite"):
        measure(room, room, red_ball() * float("nan"), colours, colour=GROUND)
    with pytest.raises(ValueError, match="no results"):
        ranked([])


def test_likeness_is_a_greedy_match_in_both_directions():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 3, 4, generator=generator), torch.randn(1, 5, 4, generator=generator)
    found = likeness(one, other)
    for number in range(2):
        cosines = normalize(one[number], dim=-1) @ normalize(other[0], dim=-1).T
        expected = (cosines.max(1).values.mean() + cosines.max(0).values.mean()) / 2
        assert float(found[number, 0]) == pytest.approx(float(expected), abs=1e-6)
    assert torch.allclose(likeness(one, one[:, [2, 0, 1]]).diagonal(), torch.ones(2))


def test_a_speck_and_a_whole_picture_are_no_object():
    plane = torch.zeros(96, 96)
    assert what_appeared(plane, plane) is None
    plane[10:13, 10:13] = 1
    assert what_appeared(plane, plane) is None
    plane[10:30, 10:30] = 1
    assert what_appeared(plane, plane * 0).sum() == 400  # no object told from the effect
    assert what_appeared(torch.ones(96, 96), plane) is None


def test_of_two_changes_the_larger_is_what_appeared():
    effect = torch.zeros(96, 96)
    effect[10:30, 10:30] = 1
    effect[60:66, 60:66] = 1
    found = what_appeared(effect, effect)
    assert found[20, 20] == 1 and found[62, 62] == 0


@pytest.mark.parametrize(
    ("worse", "word"),
    [
        (dict(outside=9.0), "outside 9.0 delta E"),
        (dict(area=LARGE + 0.2), "oversized"),
        (dict(copied=0.95), "copy-paste"),
        (dict(present=False), "nothing appeared"),
        (dict(present=False, area=0.95), "nearly everything changed"),
        (dict(similarity=0.3), "similarity 0.300"),
    ],
)
def test_each_term_counts_and_is_told(worse, word):
    good = dict(present=True, similarity=0.8, outside=1.0, area=0.1, copied=0.2)
    assert Terms(**(good | worse)).score < Terms(**good).score
    assert word in Terms(**(good | worse)).text()


def test_a_mask_becomes_the_objects_alpha():
    picture = torch.rand(1, 20, 20, 3)
    mask = torch.zeros(1, 20, 20)
    assert torch.equal(with_opacity(picture, mask), picture)  # unpainted
    mask[:, 5:15, 5:15] = 1
    assert torch.equal(with_opacity(picture, mask)[..., 3], mask)
    assert torch.equal(with_opacity(picture, 1 - mask)[..., 3], mask)  # Load Image's
    cut_out = torch.cat([picture, torch.full((1, 20, 20, 1), 0.5)], -1)
    assert torch.equal(with_opacity(cut_out, mask)[..., 3], mask / 2)
