"""The playroom's small FLUX: captions and their tokens, the networks' public twins, and a training run in miniature."""

import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer

from visual_insertion_pack.pipelines.add_it import latent_tokens
from visual_insertion_pack.pipelines.playroom.add_it import (
    captions,
    export,
    flow,
    models,
    picture_words,
    recipe,
    scenes,
    tokenizer,
)
from visual_insertion_pack.pipelines.playroom.add_it.compiling import invented_data
from visual_insertion_pack.pipelines.playroom.add_it.detector import Find, matches
from visual_insertion_pack.pipelines.playroom.add_it.limits import Limits
from visual_insertion_pack.pipelines.playroom.add_it.muon import Muon
from visual_insertion_pack.pipelines.playroom.add_it.training import Trainer

SMALL = models.Size(heads=2, double_blocks=1, single_blocks=1)


@pytest.fixture(scope="module")
def words():
    return tokenizer.read_words()


@pytest.fixture(scope="module")
def rendered():
    return scenes.render_arrays(range(40))


def test_the_committed_tokenizer_is_the_one_that_is_written(tmp_path):
    tokenizer.write_tokenizer(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (tokenizer.FOLDER / path.name).read_bytes()


def test_every_word_of_the_playroom_is_one_token_and_any_text_can_be_read(words):
    public = CLIPTokenizer.from_pretrained(tokenizer.FOLDER)
    for word in captions.VOCABULARY:
        assert public(word)["input_ids"] == [words.start, words.number(word), words.end]
    strange = public("A Dragon, 3 years old: für Ålesund!")["input_ids"]
    assert words.end not in strange[:-1]


def test_captions_are_tokenized_as_the_public_class_tokenizes_their_text(words, rendered):
    public = CLIPTokenizer.from_pretrained(tokenizer.FOLDER)
    names = {number: name.removesuffix(tokenizer.WORD_END) for name, number in words.numbers.items()}
    for tokens in rendered["tokens"].reshape(-1, captions.LENGTH)[::7].tolist():
        text = " ".join(names[token] for token in tokens if token not in (words.start, words.end))
        assert public(text, padding="max_length", max_length=captions.LENGTH)["input_ids"] == tokens


def test_a_full_caption_names_every_toy_and_its_slots_hold_these_names(words, rendered):
    for count, name, tokens, slots in zip(
        rendered["count"], rendered["name"], rendered["tokens"][:, 0], rendered["slots"][:, 0], strict=True
    ):
        assert sorted(slots[slots >= 0]) == list(range(captions.PHRASE * count))
        for slot in range(captions.PHRASE * count):
            assert tokens[slots == slot] == [name[slot // captions.PHRASE, slot % captions.PHRASE]]
    assert {0, 1, 2} <= set(rendered["count"])


def test_the_longest_caption_fits():
    rng = np.random.default_rng(0)
    toys = []
    while len(toys) < 3:
        _, _, placed = scenes.make_scene(int(rng.integers(10_000)), least=1)
        toys += placed[:1]
    assert len(captions.full_caption(toys, table=True).words) == 29


def test_scenes_do_not_depend_on_where_they_are_rendered():
    seeds = range(3, 3 + scenes.SHARD + 10)
    with scenes.rendering(seeds, workers=2) as renderer:
        shards = renderer.first(2)
        assert all(np.array_equal(a["picture"], b["picture"]) for a, b in zip(renderer.ready(), shards, strict=True))
    together = scenes.join(shards)
    alone = scenes.render_arrays(seeds[-12:])
    assert len(together["picture"]) == len(seeds)
    assert all(np.array_equal(together[name][-12:], alone[name]) for name in alone if name != "view")
    assert np.array_equal(together["view"][len(together["view"]) - len(alone["view"]) :], alone["view"])


def test_the_text_encoder_is_transformers_own(tmp_path, words):
    torch.manual_seed(0)
    encoder = models.TextEncoder(words.count, words.end)
    export.save_text_encoder(tmp_path, encoder.settings, encoder.state_dict())
    public, found = CLIPTextModel.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"]
    rounded = {name: value.half().float() for name, value in encoder.state_dict().items()}
    encoder.load_state_dict(rounded)
    tokens = torch.from_numpy(scenes.render_arrays(range(6))["tokens"][:, 0]).long()
    context, pooled = encoder(tokens)
    theirs = public(tokens)
    assert (context - theirs.last_hidden_state).abs().max() < 1e-5
    assert (pooled - theirs.pooler_output).abs().max() < 1e-5


def test_a_picture_says_the_words_of_its_slots_and_no_others(words, rendered):
    networks = models.Networks(4, words.count, words.end, SMALL)
    tokens = torch.from_numpy(rendered["tokens"][:4, 0]).long()
    slots = torch.from_numpy(rendered["slots"][:4, 0]).long()
    names = torch.from_numpy(rendered["name"][:4])
    spoken = networks.text_encoder.words(names)
    told = networks.prompt(tokens)
    shown = networks.prompt(tokens, slots, spoken)
    assert torch.allclose(told[0], shown[0], atol=1e-6)
    other = networks.prompt(tokens, slots, spoken.flip(-1))
    first = int((slots[0] >= 0).nonzero()[0])
    assert torch.allclose(told[0][0, :first], other[0][0, :first], atol=1e-6)
    assert not torch.allclose(told[0][0, first], other[0][0, first], atol=1e-2)


def test_latents_are_packed_as_the_public_pipeline_packs_them():
    latents = torch.randn(2, 16, 12, 10)
    packed = latent_tokens.pack(latents)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, 2, 16, 12, 10))
    assert torch.equal(latent_tokens.unpack(packed, 12, 10), latents)
    ids = FluxPipeline._prepare_latent_image_ids(2, 6, 5, "cpu", torch.float32)
    assert torch.equal(latent_tokens.positions(12, 10, torch.device("cpu")), ids)


def test_the_velocity_is_the_transformers_own_answer(words):
    networks = models.Networks(16, words.count, words.end, SMALL)
    transformer = networks.transformer
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        latents = torch.randn(2, 16, 16, 16)
        sigma = torch.tensor([0.3, 0.7])
        context, pooled = networks.prompt(models.null_tokens(2, start=words.start, end=words.end))
        (tokens,) = transformer(
            hidden_states=latent_tokens.pack(latents),
            encoder_hidden_states=context,
            pooled_projections=pooled,
            timestep=sigma,
            img_ids=latent_tokens.positions(16, 16, latents.device),
            txt_ids=torch.zeros(captions.LENGTH, 3),
            return_dict=False,
        )
        ours = flow.velocity(networks, latents, sigma, context, pooled)
    assert ours.std() > 0.05 and torch.allclose(ours, latent_tokens.unpack(tokens, 16, 16), atol=1e-5)


def test_muon_for_many_matrices_is_torchs_own_for_each():
    torch.manual_seed(0)
    shapes = [(8, 24), (24, 8), (8, 24), (8, 8)]
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]
    together = Muon(ours, 0.02)
    alone = torch.optim.Muon(theirs, 0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape)
            b.grad = a.grad.clone()
        together.step()
        alone.step()
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() < 2e-3  # bfloat16's rounding of an update of 0.02


def test_every_find_serves_one_toy_and_the_hue_comes_first():
    finds = [Find(0.9, 1, 0, 3, (0, 0, 9, 9)), Find(0.8, 2, 0, 4, (20, 0, 29, 9))]
    assert matches(finds, [(1, 0, 4), (1, 0, 3)]) == [(1, 1, 0, 1), (1, 1, 1, 1)]
    assert matches(finds, [(5, 1, 5)] * 3) == [(1, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0)]


def _trainer(words, **options):
    torch.manual_seed(0)
    networks = models.Networks(4, words.count, words.end, SMALL)
    return Trainer(networks, invented_data(4, torch.device("cpu")), batch=4, **options)


def test_training_learns_and_its_average_follows(words):
    lines = []
    trainer = _trainer(words, rate=5e-3)
    before = trainer.average.transformer.proj_out.weight.clone()
    trainer.run(Limits(1e9, 100), lines.append, cool=0.5)
    first, last = (float(line.split("flow ")[1].split()[0]) for line in (lines[0], lines[-1]))
    assert last < 0.9 * first
    assert not torch.equal(before, trainer.average.transformer.proj_out.weight)
    assert (trainer.step, trainer.samples) == (100, 400)


def test_numbers_that_run_away_bring_back_the_last_good_ones(words):
    lines = []
    trainer = _trainer(words)
    good = {name: value.clone() for name, value in trainer.networks.state_dict().items()}
    with torch.no_grad():
        trainer.networks.transformer.proj_out.bias.fill_(float("nan"))
    trainer.run(Limits(1e9, 2), lines.append)
    assert any("ran away" in line for line in lines)
    assert trainer.rate == 1e-3
    assert all(torch.isfinite(value).all() for value in trainer.networks.state_dict().values())
    assert set(good) == set(trainer.networks.state_dict())


def test_a_run_in_miniature_leaves_public_folders_that_compute_the_same(tmp_path):
    run = tmp_path / "run"
    recipe.build(recipe.Recipe(seconds=1e4).miniature(), run, "cpu")
    names = {path.name for path in run.iterdir()}
    assert names == {*export.PARTS, export.NETWORKS, export.REPORT, "log.txt", "sheet.png"}
    report = json.loads((run / export.REPORT).read_text())
    assert set(report["trial"]) == {"vae4", "vae16"} and report["training"]["steps"] == 4
    assert {"present", "hue", "shape"} <= set(report["text_to_picture"]) & set(report["truth"])
    assert {"psnr", "sharpness"} <= set(report["vae16"]) & set(report["vae4"])

    folder = tmp_path / "playroom_flux"
    export.assemble(run, folder)
    transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    assert transformer.config["in_channels"] == 4 * vae.config["latent_channels"]
    tokens = torch.from_numpy(scenes.render_arrays(range(2))["tokens"][:, 0]).long()
    hidden = text_encoder(tokens)
    (velocity,) = transformer(
        hidden_states=torch.randn(2, 64, transformer.config["in_channels"]),
        encoder_hidden_states=hidden.last_hidden_state,
        pooled_projections=hidden.pooler_output,
        timestep=torch.tensor([0.5, 0.5]),
        img_ids=latent_tokens.positions(16, 16, torch.device("cpu")),
        txt_ids=torch.zeros(captions.LENGTH, 3),
        return_dict=False,
    )
    assert torch.isfinite(velocity).all()
    said = picture_words.load_picture_words(folder / "picture_words.safetensors")(torch.zeros(1, 65, 128))
    assert said.shape == (1, 3, models.TEXT_WIDTH)
    detector = export.load_detector(folder / "detector.safetensors")
    assert len(detector.find(torch.zeros(2, 3, 128, 128))) == 2
