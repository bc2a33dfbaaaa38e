"""The host's BOUNDING_BOX in all the forms that its own nodes give, and back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visual_insertion_pack.pipelines.pictures.boxes import from_bounding_boxes, to_bounding_boxes
from visual_insertion_pack.pipelines.pictures.masks import chosen_places, mask_inside, painted_mask

law = settings(deadline=None, database=None, derandomize=True, max_examples=60)
NAN, INFINITY = float("nan"), float("inf")


def table(x, y, width, height, **more):
    return dict(x=x, y=y, width=width, height=height, **more)


FORMS = {
    "a table": (table(5, 6, 7, 8), [[(5, 6, 12, 14)]]),
    "a list": ([table(5, 6, 7, 8)], [[(5, 6, 12, 14)]]),
    "a list with several": ([table(5, 6, 7, 8), table(0, 0, 1, 1)], [[(5, 6, 12, 14), (0, 0, 1, 1)]]),
    "a list of each picture": ([[table(5, 6, 7, 8)], [], [table(0, 0, 1, 1)]], [[(5, 6, 12, 14)], [], [(0, 0, 1, 1)]]),
    "a detector's floats": (
        [[table(5.2, 5.999, 7.1, 8.0, label="cat", score=0.9)]],
        [[(5, 5, 13, 14)]],
    ),
    "reaching out": (table(-3.5, -2, 300, 9), [[(0, 0, 40, 7)]]),
    "numpy's small integers": (table(np.uint8(9), 0, np.uint8(255), np.uint8(5)), [[(9, 0, 40, 5)]]),
    "thinner than a pixel": (table(7.25, 3.5, 0.25, 0.1), [[(7, 3, 8, 4)]]),
}


@pytest.mark.parametrize(("value", "boxes"), FORMS.values(), ids=FORMS)
def test_every_form_of_the_host_is_read(value, boxes):
    assert from_bounding_boxes(value, 48, 40) == boxes


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([], "The connected bounding boxes are none: nothing was drawn, or nothing detected"),
        ([[], []], "The connected bounding boxes are none"),
        (table(0, 0, 0, 5), "The bounding box at .0, 0. of 0x5 px is none"),
        (table(0, 0, 5, -1), "is none: its numbers must be finite and below 2.31, its width and height above 0"),
        (table(NAN, 0, 5, 5), "is none"),
        (table(0, INFINITY, 5, 5), "is none"),
        (table(0, 0, INFINITY, 5), "is none"),
        (table(1e308, 0, 1e308, 5), "is none"),
        (table(0, -(10**400), 5, 5), "is none"),
        (table(40, 0, 5, 5), "covers no pixel of the 40x48 px picture"),
        ([[table(0, 0, 5, 5)], [table(0, -9, 5, 5)]], "covers no pixel of the 40x48 px picture"),
        (dict(x=1, y=2), "A bounding box must be a table of x, y, width and height"),
        (table("left", 0, 5, 5), "A bounding box must be a table"),
        ([0, 0, 5, 5], "A bounding box must be a table"),
        ("5 5 10 10", "A bounding box must be a table"),
        (torch.zeros(4), "A bounding box must be a table"),
        (None, "A bounding box must be a table"),
    ],
)
def test_boxes_that_are_none_are_refused(value, error):
    with pytest.raises(ValueError, match=error):
        from_bounding_boxes(value, 48, 40)


@st.composite
def boxes(draw):
    x0, y0 = draw(st.integers(0, 39)), draw(st.integers(0, 47))
    return (x0, y0, draw(st.integers(x0 + 1, 40)), draw(st.integers(y0 + 1, 48)))


@law
@given(st.lists(st.lists(boxes(), max_size=3), min_size=1, max_size=3).filter(any))
def test_boxes_come_back_from_the_host_s_type_as_they_were(own):
    assert from_bounding_boxes(to_bounding_boxes(own), 48, 40) == own


@law
@given(st.floats(-20, 39), st.floats(-20, 47), st.floats(1.1, 60), st.floats(1.1, 60))
def test_floats_are_rounded_outwards_and_cut_off(x, y, width, height):
    if x + width <= 0 or y + height <= 0:
        return
    ((x0, y0, x1, y1),) = from_bounding_boxes(table(x, y, width, height), 48, 40)[0]
    assert x0 == max(x0, 0) and x0 <= max(x, 0) < x0 + 1 and y0 <= max(y, 0) < y0 + 1
    assert x1 - 1 < min(x + width, 40) <= x1 and y1 - 1 < min(y + height, 48) <= y1


def test_a_single_box_is_the_table_that_stock_crop_nodes_take():
    assert to_bounding_boxes([[(5, 6, 12, 14)]]) == table(5, 6, 7, 8)
    assert to_bounding_boxes([[]]) == [[]]


PICTURES = torch.zeros(2, 48, 40, 3)
PAINTED = torch.ones(1, 48, 40)
WIDGETS = (1, 2, 3, 4)


@pytest.mark.parametrize(
    "unpainted",
    [None, torch.zeros(1, 48, 40), torch.zeros(1, 64, 64), torch.zeros(5, 3, 3), -torch.ones(1, 48, 40)],
    ids=["none", "black", "of another size", "several", "below 0"],
)
def test_what_is_connected_replaces_the_widgets_box_and_an_unpainted_mask_is_not_connected(unpainted):
    assert painted_mask(unpainted) is None
    assert chosen_places(PICTURES, unpainted, None, WIDGETS) == (None, [[WIDGETS]])
    assert chosen_places(PICTURES, unpainted, None, None) == (None, [])
    assert chosen_places(PICTURES, unpainted, table(5, 6, 7, 8), WIDGETS) == (None, [[(5, 6, 12, 14)]])
    assert chosen_places(PICTURES, PAINTED, None, WIDGETS) == (PAINTED, [])
    assert chosen_places(PICTURES, PAINTED, table(5, 6, 7, 8), WIDGETS) == (PAINTED, [[(5, 6, 12, 14)]])


def test_boxes_of_three_pictures_do_not_belong_to_two():
    with pytest.raises(ValueError, match="The bounding boxes are those of 3 pictures, but 2 are connected"):
        chosen_places(PICTURES, None, [[table(5, 6, 7, 8)]] * 3, None)


def test_a_mask_inside_boxes_is_what_is_in_any_of_its_picture_s():
    inside = mask_inside(PAINTED * 0.5, [[(0, 0, 4, 4), (2, 2, 6, 6)], [], [(0, 0, 1, 1)]])
    assert inside.shape == (3, 48, 40) and inside.flatten(1).sum(1).tolist() == [14, 0, 0.5]
    with pytest.raises(ValueError, match="do not pair up: 2 masks, 3 pictures with boxes"):
        mask_inside(PAINTED.repeat(2, 1, 1), [[(0, 0, 4, 4)]] * 3)
