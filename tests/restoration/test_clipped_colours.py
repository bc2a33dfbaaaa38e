"""What an edit made too bright or too dark for eight bits is no change."""

import pytest
import torch

from visual_insertion_pack.benchmarks.restoration_cases import photograph
from visual_insertion_pack.pipelines.restoration.colours import unclipped
from visual_insertion_pack.pipelines.restoration.restore import restore


@pytest.mark.parametrize(("gain", "shift"), [(1.2, 0.0), (1.0, 0.12), (1.0, -0.12)], ids=["gain", "lift", "lower"])
@pytest.mark.parametrize("picture", ["astronaut.png", "coffee.png", "page.png"])
def test_highlights_and_shadows_that_were_clipped_are_the_scene_s(picture, gain, shift):
    scene = torch.tensor(photograph(picture, 256))[None]
    edited = ((scene * gain + shift).clamp(0, 1) * 255).round() / 255
    assert ((edited == 1) | (edited == 0)).any()
    restoration = restore(scene, edited)
    assert torch.equal(restoration.images, scene) and not restoration.effect.any()


def test_a_clipped_pixel_takes_the_scene_s_value_only_beyond_its_own():
    recoloured = torch.tensor([[0.9, 0.9, 0.1, 0.1, 0.5]]).T.expand(-1, 3)
    edited = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.5]]).T.expand(-1, 3)
    scene = torch.tensor([[0.95, 0.3, 0.02, 0.6, 0.8]]).T.expand(-1, 3)
    assert unclipped(recoloured, edited, scene)[:, 0].tolist() == pytest.approx([0.95, 0.9, 0.02, 0.1, 0.5])
