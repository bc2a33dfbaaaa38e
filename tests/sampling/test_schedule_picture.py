"""The picture of a guidance schedule."""

import numpy as np
import pytest

from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.sampling.schedule_picture import COLOURS, SIZE, draw_schedule, ticks


@pytest.mark.parametrize(
    ("top", "numbers"),
    [(1.0, [0, 0.5, 1]), (7.5, [0, 2, 4, 6]), (30, [0, 10, 20, 30]), (1000, [0, 200, 400, 600, 800, 1000])],
)
def test_the_axis_has_round_numbers(top, numbers):
    assert ticks(top) == numbers


def rows_of(image, name):
    """The height of a scale's line in each column right of the numbers, in px from above; below its label."""
    pixels = np.asarray(image, np.int16)[40:]
    lines = (np.abs(pixels - COLOURS[name]).max(-1) < 8).argmax(0)
    return lines[70:-40]


def test_a_scale_falls_to_one_where_its_interval_ends():
    whole = rows_of(draw_schedule(Guidance()), "object")
    half = rows_of(draw_schedule(Guidance(object_end=0.5)), "object")
    columns = len(whole) // 3
    assert draw_schedule(Guidance()).size == SIZE
    assert np.ptp(whole) == 0
    assert (half[:columns] == whole[0]).all()
    assert (half[-columns:] > whole[0] + 100).all()
