"""Where a run starts, is looked at and is blended, of whole schedules and of parts of them."""

import pytest
import torch

from visual_insertion_pack.pipelines.add_it import stages
from visual_insertion_pack.pipelines.add_it.subject_place import subject_place
from visual_insertion_pack.pipelines.add_it.windows import BLEND, REAL_BLEND, REAL_START, START, flux_percent_to_sigma

LEVEL = flux_percent_to_sigma(1.15)


def schedule(steps):
    return [LEVEL(step / steps) for step in range(steps)] + [0.0]


def test_the_published_run_of_thirty_steps_has_its_published_places():
    sigmas = schedule(30)
    assert [stages.start_index(sigmas, share, LEVEL) for share in (START, REAL_START)] == [2, 4]
    assert [stages.blend_index(sigmas, share, LEVEL) for share in (BLEND, REAL_BLEND)] == [16, 19]  # after 15 and 18
    assert stages.map_levels(sigmas, BLEND, LEVEL) == (sigmas[15], sigmas[13])


@pytest.mark.parametrize("steps", (5, 12, 20, 25, 30))
@pytest.mark.parametrize("share", (BLEND, REAL_BLEND, 0.47))
def test_the_places_of_two_parts_are_those_of_the_whole(steps, share):
    sigmas = schedule(steps)
    whole = stages.blend_index(sigmas, share, LEVEL)
    low, high = stages.map_levels(sigmas, share, LEVEL)
    looked_at = [sigma for sigma in sigmas[:-1] if low <= sigma <= high]
    for split in range(1, steps):
        parts = (sigmas[: split + 1], sigmas[split:])
        places = [stages.blend_index(part, share, LEVEL) for part in parts]
        assert [place for place in (places[0], places[1] and places[1] + split) if place] == [whole]
        seen = []
        for part in parts:
            low, high = stages.map_levels(part, share, LEVEL)
            seen += [sigma for sigma in part[:-1] if high and low <= sigma <= high]
        assert seen == looked_at, split


def test_a_schedule_below_the_start_goes_on_as_it_is():
    assert stages.start_index(schedule(30)[5:], REAL_START, LEVEL) is None
    assert stages.start_index(schedule(30), 0.0, LEVEL) is None


def test_the_map_is_read_off_in_the_published_blocks_and_in_like_ones_of_other_depths():
    published = {("double", 13), ("double", 14), ("double", 18), ("single", 23), ("single", 33)}
    assert stages.map_blocks(19, 38) == published
    assert stages.map_blocks(2, 4) == {("double", 1), ("single", 2), ("single", 3)}
    assert {kind for kind, _ in stages.map_blocks(0, 8)} == {"single"}


def test_a_pictures_mask_takes_every_cell_that_it_touches():
    mask = torch.zeros(1, 64, 48)
    mask[0, 9, 9] = 1
    cells = stages.mask_cells(mask, 8, 6)
    assert cells.shape == (1, 1, 8, 6) and cells.sum() == 1 and cells[0, 0, 1, 1] == 1


def test_a_subjects_place_in_px():
    maps = torch.zeros(2, 8, 8)
    maps[0, 2:5, 3:6] = 1
    place = subject_place(maps, 128, 96)
    assert place.mask.shape == place.map.shape == (2, 128, 96)
    (box,) = place.boxes[0]
    x, y = place.points[0]
    assert box[0] <= x < box[2] and box[1] <= y < box[3] and place.mask[0, y, x] == 1
    assert place.boxes[1] == [] and len(place.notes) == 1
