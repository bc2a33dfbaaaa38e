"""Add-it's mathematics where its tensors lie on a GPU: nothing is left behind on the CPU."""

import torch
import torch.nn.functional as F

from visual_insertion_pack.pipelines.add_it.blending import latent_mask, noised, refined_mask
from visual_insertion_pack.pipelines.add_it.extended_attention import extended_attention
from visual_insertion_pack.pipelines.add_it.gamma_balance import GammaBalance
from visual_insertion_pack.pipelines.add_it.subject_map import (
    attention_masses,
    mask_note,
    peaks,
    rough_mask,
    subject_box,
    token_columns,
)
from visual_insertion_pack.tests.other_device import gpu

TEXT = 5


def attend(query, key, value, mask=None):
    return (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1) @ value


def everything(query, key, value, device):
    """One layer's work and all that is made of its map."""
    output = extended_attention(query, key, value, sources=1, text_length=TEXT, gamma=1.1, attend=attend)
    columns = token_columns([[2], [3]], key.shape[2], device)
    masses = attention_masses(query[:2, :, TEXT:], key[:2], columns, attend)
    balance = GammaBalance()
    balance.add(query[:2, :, :TEXT], key[:2], key[2:, :, TEXT:].expand(2, -1, -1, -1), text_length=TEXT)
    maps = masses[:, 0].reshape(2, 6, 6)
    masks = rough_mask(maps)
    cells = latent_mask(masks, 12, 12)
    points = peaks(maps[0], masks[0], height=96, width=96)
    large = F.interpolate(masks[:1].float()[:, None], (96, 96))[0, 0] > 0
    scene = noised(torch.full((96, 96, 3), 0.5, device=device), torch.full((96, 96, 3), 0.9, device=device), 0.1)
    refined = refined_mask(large, scene, scene)
    numbers = [points, subject_box(masks[0], height=96, width=96), mask_note(masks[0])]
    return [output, masses, balance.gamma(), cells, refined.float()], numbers


def test_a_layer_on_a_gpu_is_the_cpus():
    tensors = [torch.randn(3, 2, TEXT + 36, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    expected, numbers = everything(*tensors, torch.device("cpu"))
    with gpu() as device:
        results, others = everything(*(tensor.to(device) for tensor in tensors), device)
        assert all(result.device.type == device.type for result in results)
        plain = [result.cpu() for result in results]
    assert others == numbers
    for result, own in zip(plain, expected, strict=True):
        torch.testing.assert_close(result, own)
