"""One rule says what changed: restoring, pasting, the evaluation and the playroom's oracle go by the same function."""

import numpy as np
import pytest
import torch
from PIL import Image

from visual_insertion_pack.benchmarks.restoration_playroom import own_pixels
from visual_insertion_pack.pipelines.evaluation.placement import inserted_box
from visual_insertion_pack.pipelines.local_region.cutting import cut
from visual_insertion_pack.pipelines.local_region.pasting import paste
from visual_insertion_pack.pipelines.playroom.judging import oracle
from visual_insertion_pack.pipelines.playroom.world.triplets import make_triplet
from visual_insertion_pack.pipelines.restoration import change_map
from visual_insertion_pack.pipelines.restoration.restore import restore


@pytest.fixture(scope="module")
def toy():
    return make_triplet(900_000_300)


def tensor(picture):
    return torch.from_numpy(picture)[None].float() / 255


def is_restored(toy):
    return bool(restore(tensor(toy.scene), tensor(toy.target)).effect.any())


def is_pasted(toy):
    region, _ = cut(tensor(toy.scene), torch.ones(1, 128, 128), working_size=0)
    return bool(paste(region, tensor(toy.target), area="changes")[1].any())


def is_placed(toy):
    return inserted_box(Image.fromarray(toy.target), Image.fromarray(toy.scene)) is not None


def is_inserted(toy):
    return oracle.find(toy.target, toy.scene) is not None


@pytest.mark.parametrize("is_changed", [is_restored, is_pasted, is_placed, is_inserted])
def test_what_the_change_map_does_not_see_is_seen_by_nobody(toy, is_changed, monkeypatch):
    assert is_changed(toy)
    monkeypatch.setattr(change_map, "CLEAR", np.inf)
    assert not is_changed(toy)


def test_the_benchmark_of_restoring_does_not_judge_it_by_itself(toy, monkeypatch):
    before = own_pixels(toy.target, toy.scene)
    monkeypatch.setattr(change_map, "CLEAR", np.inf)
    after = own_pixels(toy.target, toy.scene)
    assert all(np.array_equal(mask, other) for mask, other in zip(before, after, strict=True))
    assert before[0].sum() > 150
