"""Polishing the playroom's decoder: what is trained, what is measured, and how it gets into the shipped VAE."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.playroom.judging import sharpness
from visual_insertion_pack.pipelines.playroom.models import ShippedNetworks
from visual_insertion_pack.pipelines.playroom.pictures import to_signed
from visual_insertion_pack.pipelines.playroom.visual_insertion import decoder_file, polish
from visual_insertion_pack.pipelines.playroom.visual_insertion.decoder_examples import (
    DecoderExamples,
    decode_exactly,
    encode_exactly,
)
from visual_insertion_pack.pipelines.playroom.visual_insertion.decoder_task import DecoderLosses, DecoderTask
from visual_insertion_pack.pipelines.playroom.world import dataset
from visual_insertion_pack.pipelines.training.engine import Settings
from visual_insertion_pack.pipelines.training.trainer import Trainer
from visual_insertion_pack.pipelines.weights.pretrained import load_model
from visual_insertion_pack.pipelines.weights.reading import read_weights

MODELS = ROOT / "playroom_models"
SEED = dataset.HELD_OUT_SEED + 5000
FACTS = {"steps": "1200", "seconds": "101", "triplets": "30", "drawn": "8", "device": "CPU"}


@pytest.fixture(scope="module")
def pictures():
    return dataset.render_arrays(range(SEED, SEED + 6), views=1)["target"]


def blurred(signed):
    return torch.nn.functional.avg_pool2d(signed, 5, stride=1, padding=2, count_include_pad=False)


def test_a_picture_is_as_sharp_as_itself_and_less_when_it_is_blurred(pictures):
    true = to_signed(pictures)
    assert sharpness.sharpness(true, true) == pytest.approx(1)
    assert 0.2 < sharpness.sharpness(blurred(true), true) < 0.7
    assert sharpness.strongest_gradient(blurred(true)) < 0.7 * sharpness.strongest_gradient(true)


def test_an_edge_elsewhere_does_not_count_as_sharp(pictures):
    true = to_signed(pictures)
    assert sharpness.sharpness(true.roll(6, -1), true) < 0.6


def test_flat_pixels_are_far_from_edges_and_a_blur_spares_them(pictures):
    true = to_signed(pictures)
    where = sharpness.flat(true)
    assert where.shape == (6, 1, 128, 128) and 0.2 < where.float().mean() < 0.95
    assert not (where[..., :-1, :-1] & sharpness.edges(true)).any()
    assert sharpness.flat_psnr(blurred(true), true) > sharpness.psnr(blurred(true), true) + 6


@pytest.fixture
def task(pictures):
    networks = ShippedNetworks.load(MODELS)
    latents = encode_exactly(networks.vae, pictures)
    drawn = latents.roll(1, 0)  # as good as any that a UNet draws
    both = np.concatenate([pictures, decode_exactly(networks.vae, drawn)])
    examples = DecoderExamples(torch.cat([latents, drawn]), both, true=6)
    held_out = DecoderExamples(latents[:2], pictures[:2], true=2)
    torch.manual_seed(0)
    weights = DecoderLosses(ramp_from=0, ramp=1)
    return DecoderTask(networks.vae, networks.encoder, examples, held_out, batch=4, weights=weights)


def test_the_decoder_learns_and_latents_stay_what_they_were(task, pictures):
    networks = task.modules()
    before = {name: {n: p.clone() for n, p in network.named_parameters()} for name, network in networks.items()}
    latents = encode_exactly(task.vae, pictures)
    trainer = Trainer(task, Settings(steps=2, learning_rate=1e-3, warmup=0, precision="fp32"))
    losses = [trainer.step() for _ in range(2)]
    trainer.close()
    assert all(value.isfinite() for row in losses for value in row.values())
    assert torch.allclose(encode_exactly(task.vae, pictures), latents, atol=1e-5)
    changed = {
        name: {n for n, p in network.named_parameters() if not torch.equal(p, before[name][n])}
        for name, network in networks.items()
    }
    assert changed["vae"] and all(name.startswith(decoder_file.TRAINED) for name in changed["vae"])
    assert changed["discriminator"] and not changed["vision_encoder"]


def test_what_the_decoder_is_told_does_not_move_the_discriminator(task):
    batch = task.fetch(task.draw(5, torch.Generator().manual_seed(0)))
    losses = task.loss(batch)
    parameters = list(task.discriminator.parameters())
    told = losses["features"] + losses["adversarial"]
    assert all(
        gradient is None for gradient in torch.autograd.grad(told, parameters, retain_graph=True, allow_unused=True)
    )
    own = torch.autograd.grad(losses["discriminator"], parameters, retain_graph=True)
    assert any(gradient.abs().sum() > 0 for gradient in own)
    decoder = list(task.vae.decoder.parameters())
    assert all(g is None for g in torch.autograd.grad(losses["discriminator"], decoder, allow_unused=True))


def test_a_batch_has_its_share_of_drawn_latents_and_the_same_for_the_same_seed(task):
    batch = task.draw(9, torch.Generator().manual_seed(3))
    again = task.draw(9, torch.Generator().manual_seed(3))
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert task.fetch(batch)["true"].sum() == 3  # of 4


@pytest.fixture
def models(tmp_path):
    """The shipped folder's VAE and what is said of it."""
    folder = tmp_path / "models"
    shutil.copytree(MODELS / "vae", folder / "vae")
    for name in ("README.md", "playroom.json"):
        shutil.copy(MODELS / name, folder / name)
    return folder


@pytest.fixture
def decoder(models, tmp_path):
    vae = load_model(AutoencoderKL, models / "vae")
    with torch.no_grad():
        vae.decoder.conv_out.bias += 0.25
    path = tmp_path / "decoder.safetensors"
    decoder_file.save_decoder(vae, path, FACTS)
    return path


def test_a_decoder_is_merged_into_the_vae_and_named_on_the_card_once(models, decoder):
    before, _ = read_weights(models / "vae" / decoder_file.WEIGHTS)
    for _ in range(2):
        decoder_file.merge(decoder, models)
    after, _ = read_weights(models / "vae" / decoder_file.WEIGHTS)
    differing = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and differing == {"decoder.conv_out.bias"}
    assert all(after[name].dtype == before[name].dtype for name in before)
    card = (models / "README.md").read_text()
    assert card.count("| decoder, polished | 1,200 | 30, 8 drawn | 101, on one CPU |") == 1
    assert card.count(decoder_file.CARD_STEP) == card.count(decoder_file.CARD_ROW) == 1
    shipped = (MODELS / "README.md").read_text().splitlines()
    ours = (decoder_file.CARD_ROW, decoder_file.CARD_STEP)
    assert {line for line in shipped if not line.startswith(ours)} <= set(card.splitlines())
    assert json.loads((models / "playroom.json").read_text())["polish"]["steps"] == "1200"


def test_a_decoder_of_other_latents_is_refused_and_nothing_is_changed(models, decoder):
    vae = load_model(AutoencoderKL, models / "vae")
    with torch.no_grad():
        vae.quant_conv.bias += 0.1
    vae.half().save_pretrained(models / "vae")
    before = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="another encoder"):
        decoder_file.merge(decoder, models)
    with pytest.raises(ValueError, match="no decoder of the playroom's VAE"):
        decoder_file.merge(MODELS / "judge.safetensors", models)
    assert {path: path.read_bytes() for path in models.rglob("*") if path.is_file()} == before


def test_a_polish_that_has_no_time_left_writes_what_there_is_and_can_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(polish, "HELD_OUT", 2)
    monkeypatch.setattr(polish, "HELD_OUT_DRAWN", 1)
    settings = Settings(steps=1000, learning_rate=1e-4, log_every=1, **polish.POLISH_SETTINGS)
    size = {"triplets": 3, "drawn": 2, "batch": 2, "device": "cpu", "workers": 1, "settings": settings}
    output = tmp_path / "decoder.safetensors"
    steps = []
    for _ in range(2):
        figures = polish.build(MODELS, tmp_path / "run", output, deadline=time.monotonic(), report=str, **size)
        steps.append(int(read_weights(output)[1]["steps"]))
    assert 1 <= steps[0] < steps[1] < 1000
    assert figures["validation_sharpness"] > 0.3
    vae = load_model(AutoencoderKL, MODELS / "vae")
    assert decoder_file.load_decoder(output, vae)["triplets"] == "3"
