"""The copy-paste guard on photographs that its threshold was not chosen on."""

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.benchmarks import copy_paste_cases as photographs
from visual_insertion_pack.pipelines.pictures.copies import FLAGGED, copy_paste_score

NUMBERS = (1, 2)


def score(kind, number):
    made = photographs.paste_case("held out", number, kind)
    return copy_paste_score(made.result, made.box, made.object_picture, made.object_mask)


@pytest.mark.parametrize("kind", photographs.PASTES)
def test_pasted_photographs_are_told_whatever_was_done_to_them(kind):
    assert min(score(kind, number) for number in NUMBERS) > FLAGGED


@pytest.mark.parametrize("kind", photographs.ALTERNATIVES)
def test_what_only_looks_alike_is_not(kind):
    assert max(score(kind, number) for number in NUMBERS) < FLAGGED


def test_no_photograph_that_the_threshold_was_chosen_on_is_held_out():
    assert not set(photographs.CHOSEN_ON) & set(photographs.HELD_OUT)


def test_plain_things_are_no_copies_of_each_other():
    plain = Image.new("RGB", (64, 64), (180, 40, 40))
    assert copy_paste_score(Image.new("RGB", (128, 128), (180, 40, 40)), (20, 20, 90, 80), plain) < FLAGGED


def test_an_object_larger_than_its_surroundings_fits_nowhere_or_is_no_copy():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 8, 3), np.uint8))
    other = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))
    assert copy_paste_score(other, (10, 10, 50, 14), noise) < FLAGGED
