"""Which scales a sweep has, and which of its cells goes on."""

import pytest
import torch

from visual_insertion_pack.pipelines.choosing.sheet import GAP, labelled_sheet, shown_size
from visual_insertion_pack.pipelines.choosing.sweep import (
    cells_of,
    check_runs,
    picked_cell,
    scales_in,
    seeds_from,
)
from visual_insertion_pack.pipelines.choosing.table import Table
from visual_insertion_pack.pipelines.choosing.terms import Terms
from visual_insertion_pack.pipelines.pictures.files import pil_pictures
from visual_insertion_pack.pipelines.sampling.guidance import Guidance


def terms(similarity, present=True):
    return Terms(present=present, similarity=similarity, outside=0.0, area=0.1)


@pytest.mark.parametrize(
    ("text", "scales"),
    [
        ("5, 7.5, 10", [5, 7.5, 10]),
        ("10 5;7.5", [5, 7.5, 10]),
        ("2.5", [2.5]),
        ("3, 3, 3", [3]),
        ("5..10 x 3", [5, 7.5, 10]),
        ("5 to 10 in 2", [5, 10]),
        ("4..4 x 1", [4]),
    ],
)
def test_scales_are_read(text, scales):
    assert scales_in(text, "object_scales") == scales


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "object_scales is empty"),
        (" , ", "object_scales is empty"),
        ("5, seven", "object_scales: 'seven' is no number"),
        ("nan", "'nan' is no number"),
        ("5..x x 3", "'x' is no number"),
        ("5..10 x 0", "asks for 0 scales"),
        ("5..10 x 99", "asks for 99 scales"),
        (", ".join(map(str, range(13))), "has 13 scales"),
    ],
)
def test_other_scales_are_refused(text, error):
    with pytest.raises(ValueError, match=error):
        scales_in(text, "object_scales")


def test_cells_lie_row_after_row_and_keep_the_rest_of_the_guidance():
    cells = cells_of(Guidance(object_end=0.5), [2, 3], [1, 1.5])
    assert [(one.row, one.column) for one in cells] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [(one.guidance.object_scale, one.guidance.scene_scale) for one in cells][1:3] == [(3, 1), (2, 1.5)]
    assert all(one.guidance.object_end == 0.5 for one in cells)
    with pytest.raises(ValueError, match="scene_scale must be a number from 0"):
        cells_of(Guidance(), [2], [-1])


def test_a_cell_is_picked_by_row_and_column():
    cells = cells_of(Guidance(), [2, 3, 4], [1, 1.5])
    assert picked_cell("best", cells) is None and picked_cell(" ", cells) is None
    assert picked_cell("2, 3", cells) == 5 and picked_cell("1 1", cells) == 0
    for wrong in ("3, 1", "0, 1", "1", "a, b", "-1, 1"):
        with pytest.raises(ValueError, match="2 rows and 3 columns"):
            picked_cell(wrong, cells)


def test_a_sweep_has_its_limits():
    check_runs(36, 4)
    with pytest.raises(ValueError, match="37 cells with 4 seeds are 148 runs"):
        check_runs(37, 4)
    with pytest.raises(ValueError, match="At least 1 seed is needed; got 0"):
        check_runs(1, 0)


def test_seeds_follow_each_other_and_begin_anew_after_the_last():
    assert seeds_from(7, 3) == [7, 8, 9]
    assert seeds_from(2**64 - 1, 2) == [2**64 - 1, 0]


def test_the_cell_with_the_best_mean_is_chosen_and_in_it_the_best_seed():
    cells = cells_of(Guidance(), [2, 3], [1])
    scored = [terms(0.9), terms(0.5), terms(0.7), terms(0.8)]
    table = Table(cells, 2, scored)
    assert table.chosen == 1 and table.run == 3
    assert table.text().splitlines()[0].endswith("<- chosen")
    picked = Table(cells, 2, scored, picked=0)
    assert picked.chosen == 0 and picked.run == 0
    assert picked.text().splitlines()[1].endswith("<- chosen")


def test_a_cell_where_nothing_appeared_loses_and_says_so():
    cells = cells_of(Guidance(), [2, 3], [1])
    table = Table(cells, 1, [terms(0.0, present=False), terms(0.1)])
    assert table.chosen == 1
    assert "nothing appeared in 1 of 1" in table.text()


def test_a_sheet_has_all_pictures_and_frames_the_chosen_ones():
    cells = cells_of(Guidance(), [2, 3], [1, 1.5, 2])
    pictures = torch.rand(12, 40, 60, 3, generator=torch.Generator().manual_seed(0))
    sheet = Table(cells, 2, [terms(0.5)] * 12, picked=2).sheet(pictures)
    width, height = shown_size((60, 40), 4, 3)
    assert sheet.width > 4 * width and sheet.height > 3 * height
    assert sheet.width < 4 * (width + GAP) + 200


def test_labels_are_not_cut_off():
    """No letter touches the sheet's edge, and the space beside the rows is as wide as the widest label."""
    pictures = pil_pictures(torch.ones(4, 20, 20, 3))
    bare = labelled_sheet(pictures, ["0.5"] * 4, columns=2)
    wide = labelled_sheet(
        pictures, ["0.5"] * 4, columns=2, headings=["object 2", "object 3"], sides=["scene 1.75", "1"]
    )
    assert wide.width > bare.width and wide.height > bare.height
    paper = wide.getpixel((0, 0))
    edge = [wide.getpixel((x, y)) for y in range(wide.height) for x in (0, wide.width - 1)]
    edge += [wide.getpixel((x, y)) for x in range(wide.width) for y in (0, wide.height - 1)]
    assert set(edge) == {paper}
    with pytest.raises(ValueError, match="3 captions do not pair up with 4 pictures"):
        labelled_sheet(pictures, ["0.5"] * 3, columns=2)
    with pytest.raises(ValueError, match="3 headings do not share 4 columns"):
        labelled_sheet(pictures, ["0.5"] * 4, columns=4, headings=["a", "b", "c"])
