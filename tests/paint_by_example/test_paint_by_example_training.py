"""Training of Paint by Example: what the UNet is shown, who loses its exemplar, and going on where it stopped."""

import json

import numpy as np
import pytest
import torch

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.paint_by_example import exemplar_encoder
from visual_insertion_pack.pipelines.paint_by_example.training import augmentation
from visual_insertion_pack.pipelines.paint_by_example.training.exemplar_task import (
    EncodedExemplars,
    ExemplarTask,
    preview,
)
from visual_insertion_pack.pipelines.paint_by_example.training.initial_model import inpainting_unet
from visual_insertion_pack.pipelines.pictures.objects import crop_box
from visual_insertion_pack.pipelines.playroom.models import noise_schedule
from visual_insertion_pack.pipelines.playroom.paint_by_example import encoded_exemplars as exemplars
from visual_insertion_pack.pipelines.playroom.paint_by_example import export
from visual_insertion_pack.pipelines.playroom.paint_by_example import recipe as inpainting
from visual_insertion_pack.pipelines.playroom.world import dataset
from visual_insertion_pack.pipelines.training import engine


def small_unet(in_channels=9):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=2,
    )


@pytest.fixture
def make_task():
    schedule = noise_schedule()

    def make(**options):
        torch.manual_seed(1)
        data = EncodedExemplars(
            target=torch.randn(5, 4, 8, 8),
            masked=torch.randn(5, 2, 4, 8, 8),
            hole=torch.rand(5, 2, 1, 8, 8) > 0.6,
            own=torch.randn(5, 3, 10).half(),
            others=torch.randn(5, 2, 10).half() + 50,
        )
        encoder = exemplar_encoder.ExemplarEncoder(exemplar_encoder.ExemplarSettings(10, 12, blocks=1))
        return ExemplarTask(small_unet(), encoder, data, schedule, **{"batch": 6, **options})

    return make


def losses(task, seed):
    return task.loss(task.fetch(task.draw(0, torch.Generator().manual_seed(seed))))


def test_the_unet_sees_noise_then_the_masked_picture_then_the_mask_with_one_for_keep(make_task, monkeypatch):
    task = make_task()
    batch = task.fetch(task.draw(0, torch.Generator().manual_seed(2)))
    seen = {}
    forward = task.unet.forward

    def spy(sample, time, **rest):
        seen.update(sample=sample, **rest)
        return forward(sample, time, **rest)

    monkeypatch.setattr(task.unet, "forward", spy)
    task.loss(batch)
    noisy = task.noise_schedule.add_noise(batch["target"], batch["noise"], batch["time"])
    assert seen["sample"].shape[1] == 9 and seen["encoder_hidden_states"].shape[1:] == (1, 12)
    assert torch.equal(seen["sample"][:, :4], noisy)
    assert torch.equal(seen["sample"][:, 4:8], batch["masked"])
    assert torch.equal(seen["sample"][:, 8:], 1 - batch["hole"].float())


def test_the_loss_is_a_function_of_the_step_and_reaches_every_weight(make_task):
    task = make_task()
    first, again, other = (losses(task, seed)["loss"] for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    (first + other).backward()
    without = [name for name, p in task.unet.named_parameters() if p.grad is None]
    assert not without and task.exemplar_encoder.null.grad.abs().sum() > 0
    assert all(p.grad is not None for p in task.exemplar_encoder.parameters())


def test_its_share_of_the_samples_sees_the_null(make_task):
    task = make_task(batch=20_000)
    drawn = task.draw(0, torch.Generator().manual_seed(0))
    assert drawn["no_exemplar"].float().mean() == pytest.approx(0.2, abs=0.01)
    always, never = (make_task(null_share=share) for share in (1.0, 0.0))
    with torch.no_grad():
        for p in always.exemplar_encoder.blocks.parameters():
            p.fill_(1e3)  # what the exemplar says cannot matter
    always.exemplar_encoder.null.data, never.exemplar_encoder.null.data = (torch.ones(1, 1, 12) for _ in range(2))
    before = losses(always, 3)["loss"]
    always.data.own.add_(7)
    assert torch.equal(before, losses(always, 3)["loss"])
    before = losses(never, 3)["loss"]
    never.data.own.add_(torch.randn_like(never.data.own))
    assert not torch.equal(before, losses(never, 3)["loss"])


def test_other_pictures_take_their_share_of_exemplars(make_task):
    task = make_task(batch=4000, other_share=0.5)
    pooled = task.fetch(task.draw(0, torch.Generator().manual_seed(0)))["pooled"]
    assert (pooled.mean(1) > 25).float().mean() == pytest.approx(0.5, abs=0.03)
    task = make_task()
    assert task.fetch(task.draw(0, torch.Generator().manual_seed(0)))["pooled"].mean() < 5


def test_there_must_be_pictures_and_other_pictures_where_they_are_asked_for(make_task):
    task = make_task()
    task.data.others = None
    with pytest.raises(ValueError, match="other_share"):
        ExemplarTask(task.unet, task.exemplar_encoder, task.data, task.noise_schedule, batch=2, other_share=0.5)
    empty = EncodedExemplars(*(torch.zeros(0, 1, 1, 1, 1) for _ in range(4)))
    with pytest.raises(ValueError, match="no picture"):
        ExemplarTask(task.unet, task.exemplar_encoder, empty, task.noise_schedule, batch=2)


@pytest.mark.parametrize("channels", [4, 8])
def test_a_widened_unet_says_what_it_said_before(channels):
    narrow = small_unet(channels).eval()
    wide = inpainting_unet(narrow).eval()
    x, context = torch.randn(2, 9, 8, 8), torch.randn(2, 1, 12)
    with torch.no_grad():
        a, b = (net(x[:, : net.config.in_channels], 7, encoder_hidden_states=context).sample for net in (narrow, wide))
    assert wide.config.in_channels == 9 and wide.conv_in.weight[:, channels:].abs().sum() == 0
    assert torch.allclose(a, b, atol=1e-6)


def test_a_preview_without_guidance_does_not_hear_the_null(make_task):
    task = make_task()
    task.unet.eval()
    masked, hole, context = torch.randn(2, 4, 8, 8), torch.zeros(2, 1, 8, 8), torch.randn(2, 1, 12)

    def show(null, scale):
        given = (masked, hole, task.noise_schedule)
        return preview(task.unet, context, torch.full((1, 1, 12), null), *given, scale=scale, steps=2)

    assert torch.allclose(show(0.0, 1.0), show(3.0, 1.0), atol=1e-4)
    assert not torch.allclose(show(0.0, 2.0), show(3.0, 2.0))


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(make_task, tmp_path):
    plan = engine.Settings(8, 1e-3, warmup=2, precision="fp32", log_every=4, save_every=10_000)
    whole = engine.fit(make_task(), plan, tmp_path / "whole", lambda _: None)
    broken = make_task()
    draw = broken.draw

    def stop(step, generator):
        if step == 5:
            raise KeyboardInterrupt
        return draw(step, generator)

    broken.draw = stop
    with pytest.raises(KeyboardInterrupt):
        engine.fit(broken, plan, tmp_path / "parts", lambda _: None)
    resumed = engine.fit(make_task(), plan, tmp_path / "parts", lambda _: None)
    for name, network in whole.modules.items():
        pairs = zip(network.parameters(), resumed.modules[name].parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


class TestAugmentation:
    def test_it_is_a_function_of_its_generator_and_keeps_the_size(self):
        pictures = torch.rand(6, 3, 32, 32)
        settings = augmentation.Augmentation(light=0.1)
        one, two, three = (
            augmentation.augment_exemplars(pictures, settings, torch.Generator().manual_seed(seed))
            for seed in (1, 1, 2)
        )
        assert one.shape == pictures.shape and torch.equal(one, two) and not torch.equal(one, three)

    def test_without_chance_the_picture_stays(self):
        pictures = torch.rand(3, 3, 32, 32)
        still = augmentation.Augmentation(flip=0, rotate=0, blur=0, elastic=0)
        same = augmentation.augment_exemplars(pictures, still, torch.Generator())
        assert torch.allclose(same, pictures, atol=1e-4)
        flipped = augmentation.Augmentation(flip=1, rotate=0, blur=0, elastic=0)
        mirrored = augmentation.augment_exemplars(pictures, flipped, torch.Generator())
        assert torch.allclose(mirrored, pictures.flip(-1), atol=1e-4)

    def test_a_crop_holds_the_box_and_its_margin_squashed(self):
        picture = torch.zeros(3, 100, 80)
        picture[:, 40:60, 30:40] = 1
        tight = crop_box(picture, (30, 40, 40, 60), 16, margin=0)
        assert tight.shape == (3, 16, 16) and (tight > 0.99).all()
        loose = crop_box(picture, (30, 40, 40, 60), 16, margin=10)
        assert 0.1 < loose.mean() < 0.3
        assert crop_box(picture, (0, 0, 10, 20), 16, margin=10).shape == (3, 16, 16)  # at the border


class TestPlayroom:
    def test_the_vae_sees_mid_grey_in_the_hole_and_the_mask_is_one_there(self, monkeypatch):
        seen = []
        monkeypatch.setattr(exemplars, "encode_signed", lambda vae, pictures: seen.append(pictures) or pictures)
        pictures, hole = np.full((1, 64, 64, 3), 200, np.uint8), torch.zeros(1, 64, 64, dtype=torch.bool)
        hole[:, 16:32, 24:48] = True
        _, cells = exemplars.masked_latents(None, pictures, hole)
        assert (seen[0][0, :, 16:32, 24:48] == 0).all() and (seen[0] == 0).sum() == 3 * 16 * 24
        assert seen[0][0, 0, 0, 0] == pytest.approx(200 / 127.5 - 1)
        assert (cells[0, 0, 2:4, 3:6] == 1).all() and cells.sum() == 6

    def test_a_hole_covers_the_toy_and_half_of_them_its_shadow(self):
        truth = dataset.render_arrays(range(900_000_500, 900_000_512), views=1)
        generator, shadows = torch.Generator().manual_seed(0), []
        for box, toy, effect in zip(truth["box"], truth["object_mask"], truth["effect_mask"], strict=True):
            for _ in range(4):
                hole = exemplars.draw_hole(box, effect, generator).numpy()
                assert hole[toy].mean() > 0.95 and hole.mean() < 0.7
                shadows.append(hole[effect].mean() > 0.97)
        assert 0.35 < np.mean(shadows) < 0.95

    def test_the_recipe_runs_small_is_read_back_and_its_files_load(self, tmp_path, monkeypatch):
        monkeypatch.setattr(dataset, "SHARD", 10)
        monkeypatch.setattr(inpainting, "SHEET_CASES", 3)
        small = inpainting.Recipe(triplets=10, views=2, steps=2)
        models = ROOT / "playroom_models"
        folder, output = tmp_path / "work", tmp_path / "models"
        inpainting.build(small, models, folder, output, lambda _: None)
        _, first = export.load_models(output)
        inpainting.build(small, models, folder, output, lambda _: None)
        assert (folder / "inpainting" / "sheet.png").exists()
        unet, encoder = export.load_models(output)
        assert unet.config.in_channels == 9 and encoder.null.shape == (1, 1, 128)
        assert all(torch.equal(*pair) for pair in zip(first.parameters(), encoder.parameters(), strict=True))
        assert json.loads((output / "facts.json").read_text())["recipe"]["steps"] == 2
