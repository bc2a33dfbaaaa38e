"""Runs on a small random FLUX of diffusers: what a run with a hidden source must be equal to."""

from dataclasses import replace

import pytest
import torch
from diffusers import FluxTransformer2DModel

from visual_insertion_pack.pipelines.add_it.costs import cache_bytes, image_tokens, map_bytes, row_forwards
from visual_insertion_pack.pipelines.add_it.flux_attention import PassRows
from visual_insertion_pack.pipelines.add_it.latent_tokens import pack, positions, unpack
from visual_insertion_pack.pipelines.add_it.sampling import (
    AddItRun,
    FluxFlow,
    Prompt,
    Scene,
    Target,
    add,
    inverted_scene,
    joined,
    sdedit,
)
from visual_insertion_pack.pipelines.add_it.windows import REAL, AddItSettings, flux_percent_to_sigma

SIZE = (6, 10)  # latent cells: not square
ALL = AddItSettings(gamma=1.2, double_until=1, single_until=1, start=0.2, blend=None)
PLAIN = flux_percent_to_sigma(0)
LEVELS = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "guidance_embedded"])
def flow(request):
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=24,
        pooled_projection_dim=20,
        guidance_embeds=request.param,
        axes_dims_rope=(4, 6, 6),
    )
    transformer.requires_grad_(False).eval()
    for parameter in transformer.parameters():
        parameter.mul_(3)  # so that attention matters
    return FluxFlow(transformer)


def prompt(rows, length=7, seed=0):
    return Prompt(draw(rows, length, 24, seed=seed), draw(rows, 20, seed=seed + 1))


def target(rows=2, *, guided=False, length=7):
    subject = torch.zeros(rows, 1, length, dtype=torch.bool)
    subject[:, 0, 3] = True
    null = prompt(1, length, seed=30) if guided else None
    return Target(prompt(rows, length, seed=10), draw(rows, 4, *SIZE, seed=3), null, 3.0, subject)


def scene(rows=2, *, length=7):
    return Scene(draw(rows, 4, *SIZE, seed=5), draw(rows, 4, *SIZE, seed=6), prompt(rows, length, seed=20))


def run(flow, target, scene, settings=ALL, **options):
    with torch.no_grad():
        return add(flow, target, scene, sigmas=LEVELS, percent_to_sigma=PLAIN, settings=settings, **options)


def relative(values, expected):
    return float((values - expected).norm() / expected.norm())


@torch.no_grad()
def test_without_rows_the_processors_are_diffusers_own():
    torch.manual_seed(1)
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=4,
        joint_attention_dim=24, pooled_projection_dim=20, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    latents = draw(2, 4, *SIZE)
    prompts = prompt(2)

    def theirs():
        (tokens,) = transformer(
            hidden_states=pack(latents),
            encoder_hidden_states=prompts.context,
            pooled_projections=prompts.pooled,
            timestep=torch.full((2,), 0.7),
            img_ids=positions(*SIZE, latents.device),
            txt_ids=torch.zeros(7, 3),
            return_dict=False,
        )
        return unpack(tokens, *SIZE)

    expected = theirs()
    flow = FluxFlow(transformer)
    assert relative(theirs(), expected) <= 1e-6
    assert relative(flow(latents, 0.7, prompts), expected) <= 1e-6
    assert relative(flow(latents, 0.7, prompts, PassRows(7)), expected) <= 1e-6


@torch.no_grad()
def test_the_source_rows_output_is_a_plain_source_run(flow):
    latents, sources = draw(3, 4, *SIZE), draw(1, 4, *SIZE, seed=9)
    prompts = joined([prompt(3), prompt(1, seed=4)])
    numbers = torch.tensor([3.5, 3.5, 3.5, 1.0])
    rows = PassRows(7, sources=1, gamma=1.1, double=True, single=True)
    together = flow(torch.cat([latents, sources]), 0.8, prompts, rows, numbers)
    alone = flow(sources, 0.8, prompt(1, seed=4), None, numbers[3:])
    assert relative(together[3:], alone) <= 1e-5
    plain = flow(latents, 0.8, prompt(3), None, numbers[:3])
    assert relative(together[:3], plain) > 0.01


@pytest.mark.parametrize("guided", [False, True])
def test_rows_in_one_pass_are_two_passes(flow, guided):
    one = run(flow, target(guided=guided), scene())
    two = run(flow, target(guided=guided), scene(), two_passes=True)
    assert relative(two.latents, one.latents) <= 1e-5
    assert one.row_forwards == two.row_forwards


def test_prompts_of_two_lengths_run_in_two_passes(flow):
    padded = run(flow, target(), scene(length=11))
    assert padded.latents.isfinite().all()
    assert relative(padded.latents, run(flow, target(), scene()).latents) > 1e-3


def test_an_empty_window_is_plain_sampling(flow):
    settings = sdedit(ALL)
    without = run(flow, target(), scene(), settings)
    with torch.no_grad():
        latents = (1 - LEVELS[1]) * scene().latents + LEVELS[1] * target().noise
        for sigma, lower in zip(LEVELS[1:], LEVELS[2:], strict=False):
            latents = latents + (lower - sigma) * flow(latents, sigma, target().prompt, None, torch.full((2,), 3.0))
    assert torch.equal(without.latents, latents)
    assert without.row_forwards == 2 * 4


def test_one_scene_serves_several_targets(flow):
    one = scene(1)
    many = Scene(*(each.expand(3, *each.shape[1:]) for each in (one.latents, one.noise)), one.prompt.expand(3))
    shared = run(flow, target(3), one)
    assert relative(shared.latents, run(flow, target(3), many).latents) <= 1e-5
    assert shared.row_forwards == 4 * (3 + 1)


def test_a_batch_is_its_rows_one_by_one(flow):
    together = run(flow, target(2, guided=True), scene(2))
    for row in range(2):
        whole, hidden = target(2, guided=True), scene(2)
        part = slice(row, row + 1)
        own = replace(
            whole,
            prompt=Prompt(whole.prompt.context[part], whole.prompt.pooled[part]),
            noise=whole.noise[part],
            subject=whole.subject[part],
        )
        source = Scene(
            hidden.latents[part], hidden.noise[part], Prompt(hidden.prompt.context[part], hidden.prompt.pooled[part])
        )
        assert relative(run(flow, own, source).latents, together.latents[part]) <= 1e-5


@torch.no_grad()
def test_split_and_resume_are_one_run(flow):
    settings = replace(ALL, blend=0.6)
    options = dict(sigmas=LEVELS, percent_to_sigma=PLAIN, settings=settings)
    whole = run(flow, target(), scene(), settings)
    first = AddItRun(flow, target(), scene(), **options)
    first.advance(4)
    second = AddItRun(flow, target(), scene(), **options)
    second.resume(first.latents, first.step)
    second.advance()
    assert torch.equal(second.latents, whole.latents)
    assert whole.mask is not None


@pytest.mark.parametrize(("everywhere", "note"), [(False, "nowhere"), (True, "whole picture")])
def test_a_mask_of_nothing_or_everything_is_no_blend_and_said(flow, everywhere, note):
    settings = replace(ALL, blend=0.6)

    def mask(maps, estimate):
        return torch.full(maps.shape, everywhere)

    blended = run(flow, target(), scene(), settings, make_mask=mask)
    assert torch.equal(blended.latents, run(flow, target(), scene()).latents)
    assert len(blended.notes) == 2
    assert note in blended.notes[0]


def test_outside_of_the_mask_the_last_step_blends_to_the_scene(flow):
    settings = replace(ALL, blend=0.8)

    def mask(maps, estimate):
        left = torch.zeros(maps.shape, dtype=torch.bool)
        left[..., :2] = True
        return left

    addition = run(flow, target(), scene(), settings, make_mask=mask)
    outside = addition.mask.expand_as(addition.latents) == 0
    assert torch.equal(addition.latents[outside], scene().latents[outside])
    assert not torch.equal(addition.latents, scene().latents)


def test_an_inverted_scene_is_the_source_of_every_step_and_of_the_blend(flow):
    hidden = inverted_scene(flow, scene(), LEVELS, iterations=3)
    assert torch.equal(hidden.path[-1], scene().latents)
    assert torch.equal(hidden.path[0], hidden.noise)
    shared = run(flow, target(), hidden)
    assert relative(shared.latents, run(flow, target(), scene()).latents) > 1e-3

    def nothing_but_a_cell(maps, estimate):
        mask = torch.zeros(maps.shape, dtype=torch.bool)
        mask[..., 0, 0] = True
        return mask

    blended = run(flow, target(), hidden, replace(ALL, blend=0.8), make_mask=nothing_but_a_cell)
    outside = blended.mask.expand_as(blended.latents) == 0
    assert torch.equal(blended.latents[outside], scene().latents[outside])
    with pytest.raises(ValueError, match="inverted to 6 levels, the run has 3"):
        add(flow, target(), hidden, sigmas=[1.0, 0.5, 0.0], percent_to_sigma=PLAIN, settings=ALL)


def test_gamma_is_balanced_picture_by_picture(flow):
    addition = run(flow, target(2, guided=True), scene(2), replace(ALL, gamma=None))
    assert addition.gamma.shape == (2,)
    assert ((addition.gamma >= 1) & (addition.gamma <= 1.2)).all()


def test_prompt_to_prompt_with_the_same_prompt_and_noise_is_the_scenes_own_run(flow):
    """With everything equal the source's queries and keys are the target's own."""
    hidden = scene(2)
    equal = replace(target(2), prompt=hidden.prompt, noise=hidden.noise, guidance=1.0)
    settings = replace(ALL, start=0)
    one = [1.0, 0.5]
    options = dict(sigmas=one, percent_to_sigma=PLAIN)
    shared = add(flow, equal, hidden, settings=settings, sharing="prompt_to_prompt", **options)
    plain = add(flow, equal, hidden, settings=sdedit(settings), **options)
    assert relative(shared.latents, plain.latents) <= 1e-5


def test_sizes_and_numbers_that_do_not_fit_are_refused(flow):
    small = replace(scene(), latents=draw(2, 4, 6, 8), noise=draw(2, 4, 6, 8))
    with pytest.raises(ValueError, match="must have one size"):
        run(flow, target(), small)
    with pytest.raises(ValueError, match="3 target rows cannot share 2"):
        run(flow, target(3), scene(2))
    with pytest.raises(ValueError, match="Blending needs the subject"):
        run(flow, replace(target(), subject=None), scene(), replace(ALL, blend=0.6))


def test_the_published_run_costs_43_rows_and_the_rest_is_arithmetic(flow):
    assert row_forwards(REAL, 30) == 43
    tokens = image_tokens(1024, 1024)
    assert tokens == 4096
    assert cache_bytes(tokens) == 2 * 57 * 4096 * 3072 * 2
    assert map_bytes(tokens) == 3072 * 2 * (512 + 3 * 4096) + 4 * 4096
    sigmas = [1 - step / 30 for step in range(31)]
    with torch.no_grad():
        counted = add(
            flow, target(1), scene(1), sigmas=sigmas, percent_to_sigma=PLAIN, settings=replace(REAL, gamma=1.1)
        )
    assert counted.row_forwards == 43
