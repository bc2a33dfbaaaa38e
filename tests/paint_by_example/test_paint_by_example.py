"""Paint by Example against diffusers' classes and an independent loop; its files; its command."""

import json
import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import paint
from visual_insertion_pack.pipelines.paint_by_example import checkpoints, exemplar_encoder, inpainting, pipeline
from visual_insertion_pack.pipelines.paint_by_example.exemplar_picture import exemplar_pictures
from visual_insertion_pack.pipelines.pictures import masks
from visual_insertion_pack.pipelines.sampling.speed import UNMEASURED
from visual_insertion_pack.tests import paint_by_example_parts as parts

RELATIVE = 1e-4
SCENE = torch.rand(1, 75, 90, 3, generator=torch.Generator().manual_seed(1))
EXEMPLAR = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(2))
MASK = torch.zeros(1, 75, 90)
MASK[:, 20:61, 30:77] = 1


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(folder, its networks) of a small model in diffusers layout."""
    folder = tmp_path_factory.mktemp("paint") / "model"
    folder.mkdir()
    return folder, parts.write_folder(folder)


@pytest.fixture(scope="module")
def door(small):
    return pipeline.PaintByExamplePipeline.from_folder(small[0])


@pytest.fixture(scope="module")
def wide():
    """The full-size exemplar encoder in diffusers' class, behind a vision tower with narrow layers."""
    size = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, projection_dim=768)
    return parts.random_encoder(parts.VISION | size | {"intermediate_size": 8})


def pixels(count=2):
    size = parts.VISION["image_size"]
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(5))


# the exemplar encoder


def test_the_full_size_exemplar_encoder_and_null_are_diffusers(wide):
    state = checkpoints.from_diffusers(wide.state_dict())
    encoder = exemplar_encoder.from_state(exemplar_encoder.ExemplarSettings(), state, "memory")
    assert sum(tensor.numel() for name, tensor in state.items() if name != "null") == 62_981_120 + 2_048 + 787_200
    with torch.no_grad():
        theirs, null = wide(pixels(), return_uncond_vector=True)
        seen = wide.model(pixel_values=pixels()).pooler_output
        ours, our_null = exemplar_encoder.exemplar_context(encoder, seen)
    assert ours.shape == (2, 1, 768)
    assert parts.relative(ours, theirs) <= RELATIVE
    assert torch.equal(our_null, null.expand(2, -1, -1))
    assert parts.relative(ours[:1], ours[1:]) > 0.1, "the encoder must tell pictures apart, or equality is empty"


def test_several_tokens_of_one_object_see_each_other(wide):
    """As in the implicit representation, where the exemplar comes with few-shot pictures."""
    encoder = exemplar_encoder.from_state(
        exemplar_encoder.ExemplarSettings(), checkpoints.from_diffusers(wide.state_dict()), "memory"
    )
    tokens = torch.randn(1, 3, 1024)
    with torch.no_grad():
        theirs = wide.proj_out(wide.final_layer_norm(wide.mapper(tokens)))
        assert parts.relative(encoder(tokens), theirs) <= RELATIVE
        assert parts.relative(encoder(tokens)[:, :1], encoder(tokens[:, 0])) > 1e-3


def test_an_encoder_survives_its_file(tmp_path):
    encoder = exemplar_encoder.ExemplarEncoder(exemplar_encoder.ExemplarSettings(128, 48, blocks=2)).eval()
    exemplar_encoder.save(encoder, tmp_path / "small.safetensors", licence="MIT")
    again = exemplar_encoder.load(tmp_path / "small.safetensors")
    seen = torch.randn(3, 128)
    assert again.settings == encoder.settings
    assert torch.equal(again(seen), encoder(seen)) and torch.equal(again.null, encoder.null)
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


def test_strength_goes_from_the_null_to_the_exemplar():
    encoder = exemplar_encoder.ExemplarEncoder(exemplar_encoder.ExemplarSettings(16, 8, blocks=1))
    seen = torch.randn(2, 16)
    full, null = exemplar_encoder.exemplar_context(encoder, seen)
    assert torch.allclose(exemplar_encoder.exemplar_context(encoder, seen, 0.0)[0], null, atol=1e-6)
    half = exemplar_encoder.exemplar_context(encoder, seen, 0.5)[0]
    assert torch.allclose(half, (full + null) / 2, atol=1e-6)


# names and layouts


def test_the_name_maps_are_inverses():
    ours = checkpoints.from_diffusers(parts.random_encoder().state_dict())
    for there, back in (
        (checkpoints.to_ldm, checkpoints.from_ldm),
        (checkpoints.to_diffusers, checkpoints.from_diffusers),
    ):
        again = back(there(ours))
        assert again.keys() == ours.keys() and all(torch.equal(again[name], ours[name]) for name in ours)
    assert set(checkpoints.to_ldm(ours)) == set(checkpoints.ldm_names(2).values())
    assert {"learnable_vector", "proj_out.weight", "cond_stage_model.final_ln.bias"} <= checkpoints.to_ldm(ours).keys()


def test_both_layouts_give_the_same_conditioning(small, tmp_path):
    folder, networks = small
    state = parts.ldm_state(networks["image_encoder"], networks["unet"])
    save_file(state, tmp_path / "model.safetensors")
    score = {"best_model_score": np.float64(1.5), "seen": np.int64(3)}  # as lightning leaves them there
    torch.save({"state_dict": state, "global_step": 7, "callbacks": score}, tmp_path / "model.ckpt")
    opened = [checkpoints.open_paint_by_example(path) for path in (folder, *sorted(tmp_path.iterdir()))]
    assert [files.layout for files in opened] == ["diffusers", "LDM", "LDM"]
    seen = torch.randn(2, 64)
    contexts = [exemplar_encoder.exemplar_context(files.exemplar_encoder(), seen) for files in opened]
    assert all(torch.equal(a, b) for other in contexts[1:] for a, b in zip(other, contexts[0], strict=True))
    towers, unets = [files.vision() for files in opened], [dict(files.unet().read()) for files in opened]
    for found in (towers, unets):
        assert all(other.keys() == found[0].keys() for other in found[1:])
        assert all(torch.equal(other[name], found[0][name]) for other in found[1:] for name in other)
    assert not any(name.endswith("position_ids") for name in towers[0])


def test_an_image_encoder_named_as_by_newer_transformers_is_the_same(small, tmp_path):
    folder, networks = small
    shutil.copytree(folder, tmp_path / "model")
    save_file(networks["image_encoder"].state_dict(), tmp_path / "model/image_encoder/model.safetensors")
    a, b = (checkpoints.open_paint_by_example(path).vision() for path in (folder, tmp_path / "model"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def with_optimizer_state(small, tmp_path_factory):
    """A checkpoint of 12.6 GB of which nearly all is the optimizer's state: a hole in the file, which takes no disk."""
    from torch._subclasses import FakeTensorMode

    path = tmp_path_factory.mktemp("large") / "model.ckpt"
    _, networks = small
    state = parts.ldm_state(networks["image_encoder"], networks["unet"])
    with FakeTensorMode():
        hollow = {name: torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in state.items()}
        moments = {"state": {0: {"exp_avg": torch.empty(7_400_000_000 // 4)}}}
        content = {"state_dict": hollow, "optimizer_states": [moments], "global_step": 7}
        content["padding"] = torch.empty(5_200_000_000 // 4)
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(content, path)
    import mmap

    torch.serialization.set_default_mmap_options(mmap.MAP_SHARED)
    try:
        written = torch.load(path, mmap=True, weights_only=True)["state_dict"]
        for name, tensor in state.items():
            written[name].copy_(tensor)
    finally:
        torch.serialization.set_default_mmap_options(mmap.MAP_PRIVATE)
    return path


def test_of_a_file_with_optimizer_state_only_what_is_needed_is_read(small, with_optimizer_state):
    assert with_optimizer_state.stat().st_size > 12_500_000_000
    before = psutil.Process().memory_info().rss
    files = checkpoints.open_paint_by_example(with_optimizer_state)
    encoder, unet = files.exemplar_encoder(), dict(files.unet().read())
    assert psutil.Process().memory_info().rss - before < 200_000_000
    plain = checkpoints.open_paint_by_example(small[0])
    seen = torch.randn(1, 64)
    assert torch.equal(encoder(seen), plain.exemplar_encoder()(seen))
    assert all(torch.equal(unet[name], tensor) for name, tensor in plain.unet().read())


# the nine channels


@pytest.fixture(scope="module")
def theirs(small):
    """diffusers' own pipeline of the same networks; its VAE without the posterior's noise, as in the host."""
    from diffusers import PNDMScheduler
    from transformers import CLIPImageProcessor

    module = parts.theirs("pipeline_paint_by_example")
    networks = small[1]
    extractor = CLIPImageProcessor(**parts.PIXELS)
    scheduler = PNDMScheduler.from_config({k: v for k, v in parts.SCHEDULER.items() if k != "_class_name"})
    pipe = module.PaintByExamplePipeline(
        networks["vae"], networks["image_encoder"], networks["unet"], scheduler, None, extractor
    )
    pipe.set_progress_bar_config(disable=True)
    sampled = module.retrieve_latents
    module.retrieve_latents = lambda output, generator=None, sample_mode="argmax": output.latent_dist.mode()
    yield pipe, module
    module.retrieve_latents = sampled


@pytest.mark.parametrize("soft", [False, True], ids=["binary", "soft"])
def test_the_nine_channels_are_diffusers(theirs, soft):
    pipe, module = theirs
    generator = torch.Generator().manual_seed(3)
    scene, mask = torch.rand(1, 64, 80, 3, generator=generator), torch.zeros(1, 64, 80)
    mask[:, 10:50, 17:60] = torch.rand(40, 43, generator=generator) if soft else 1.0
    mask[:, 30:40, 30:50], mask[:, 12, 20] = 1.0, 0.5
    noisy = torch.randn(1, 4, 8, 10, generator=generator)
    keep, masked = module.prepare_mask_and_masked_image(2 * scene.movedim(-1, 1) - 1, mask.clone())
    with torch.no_grad():
        keep, shown = pipe.prepare_mask_latents(keep, masked, 1, 64, 80, torch.float32, "cpu", None, False)
        expected = torch.cat([noisy, shown, keep], dim=1)
        painted = inpainting.binary_mask(mask, scene)
        ours = inpainting.masked_scene(scene, painted)
        latents = pipe.vae.encode(2 * ours.movedim(-1, 1) - 1).latent_dist.mode() * 0.18215
    cells = inpainting.latent_mask(painted, "nearest")
    found = inpainting.nine_channels(noisy, latents, cells)
    assert found.shape == (1, 9, 8, 10)
    assert parts.relative(found, expected) <= 1e-6
    swapped = torch.cat([noisy, cells, latents], dim=1)
    assert parts.relative(swapped, expected) > 0.1, "order and polarity must matter, or equality is empty"


def test_latent_masks_at_an_edge():
    """Quarter steps are the original's; everything else decides."""
    mask = torch.zeros(1, 32, 32)
    mask[:, 12:28, 4:28] = 1  # the second row of cells half inside, the first column half
    rows = {rule: inpainting.latent_mask(mask, rule)[0, 0] for rule in inpainting.LATENT_MASKS}
    assert rows["soft"][1].tolist() == [0.25, 0.5, 0.5, 0.25]
    assert rows["rounded"][2].tolist() == [0.0, 1.0, 1.0, 0.0]
    assert rows["touched"].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert rows["nearest"].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1]]


def test_the_mask_cuts_the_exemplar_to_the_object():
    mask = torch.zeros(1, 40, 60)
    mask[:, 20:30, 35:60] = 1
    (cut,) = exemplar_pictures(EXEMPLAR, mask, margin=5)
    assert torch.equal(cut, EXEMPLAR[:, 15:35, 30:60])
    whole = exemplar_pictures(EXEMPLAR.repeat(2, 1, 1, 1), None)
    assert len(whole) == 2 and torch.equal(whole[0], EXEMPLAR)


# whole runs


@pytest.mark.parametrize("sampler", ["plms", "ddim"])
def test_a_run_is_diffusers_run(door, theirs, sampler):
    """The same noise, and the exemplar of the encoder's own size: resizing is PIL's there and torch's here."""
    from diffusers import DDIMScheduler

    pipe, _ = theirs
    generator = torch.Generator().manual_seed(4)
    scene, exemplar = torch.rand(1, 64, 64, 3, generator=generator), torch.rand(1, 32, 32, 3, generator=generator)
    exemplar = (exemplar * 255).round() / 255
    mask, noise = torch.zeros(1, 64, 64), torch.randn(1, 4, 8, 8, generator=generator)
    mask[:, 16:48, 24:56] = 1
    made = door(scene, mask, exemplar, steps=6, sampler=sampler, latents=noise, mask_resize="nearest")
    scheduler, config = pipe.scheduler, pipe.scheduler.config
    pipe.scheduler = DDIMScheduler.from_config(config, clip_sample=False) if sampler == "ddim" else scheduler
    picture = Image.fromarray((exemplar[0] * 255).round().byte().numpy())
    images = pipe(
        picture,
        2 * scene.movedim(-1, 1) - 1,
        mask.clone(),
        num_inference_steps=6,
        latents=noise.clone(),
        output_type="np",
    ).images
    pipe.scheduler = scheduler
    assert parts.relative(made.images, torch.from_numpy(images)) <= 1e-3


def test_twelve_ddim_steps_are_the_reference_loop(door, small):
    folder, networks = small
    made = door(SCENE, MASK, EXEMPLAR, steps=12, sampler="ddim", similarity=5.0, seed=3)
    noise = torch.randn(1, 4, 10, 12, generator=torch.Generator().manual_seed(3))
    padded = torch.nn.functional.pad(SCENE.movedim(-1, 1), (0, 6, 0, 5), mode="replicate")
    painted = torch.nn.functional.pad(MASK[:, None], (0, 6, 0, 5), mode="replicate")
    with torch.no_grad():
        hole = (2 * padded - 1) * (1 - painted)
        shown = networks["vae"].encode(hole).latent_dist.mode() * 0.18215
        keep = 1 - torch.nn.functional.interpolate(painted, (10, 12), mode="bilinear").round()
        exemplar, null = door.contexts(EXEMPLAR)

        def predict(x, step, context):
            return networks["unet"](x, step, encoder_hidden_states=context).sample

        timesteps = parts.ddim_timesteps(12)[:12]  # diffusers leaves out the thirteenth
        x = parts.reference_loop(predict, noise, shown, keep, exemplar, null, 5.0, timesteps)
    assert made.images.shape == SCENE.shape
    assert parts.relative(made.latents * 0.18215, x) <= 1e-3


def test_guidance_one_is_the_exemplar_alone(door):
    null, exemplar = torch.randn(2, 3, 4)
    assert torch.allclose(inpainting.guided(null, exemplar, 1.0), exemplar, atol=1e-6)
    calls = []
    handle = door.unet.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    for similarity in (1.0, 5.0):
        door(SCENE, MASK, EXEMPLAR, steps=1, sampler="ddim", similarity=similarity)
    handle.remove()
    assert calls == [1, 2]


def test_batches_pair_up(door):
    made = door(SCENE, MASK, torch.cat([EXEMPLAR, EXEMPLAR.flip(2)]), steps=1, sampler="euler")
    assert made.images.shape == (2, *SCENE.shape[1:])
    made = door(SCENE, torch.cat([MASK, MASK.flip(2)]), EXEMPLAR, steps=1, sampler="euler")
    assert made.images.shape == (2, *SCENE.shape[1:])
    with pytest.raises(ValueError, match="The batches do not pair up: 2 scenes, 3 exemplars"):
        door(SCENE.repeat(2, 1, 1, 1), MASK, EXEMPLAR.repeat(3, 1, 1, 1), steps=1)


@pytest.mark.parametrize("sampler", ["plms", "ddim", "euler", "euler_ancestral"])
def test_every_sampler_runs_and_repeats(door, sampler):
    a, b, c = (door(SCENE, MASK, EXEMPLAR, steps=3, sampler=sampler, seed=seed).images for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.isfinite(a).all()


# bad input


NAN = float("nan")
BAD = {
    "an empty mask": (dict(mask=MASK * 0), "The mask is empty"),
    "a faint mask": (dict(mask=MASK * 0.4), "The mask is too faint: its largest value is 0.4, and only"),
    "a mask of ones": (dict(mask=MASK * 0 + 1), "The mask covers the whole scene"),
    "NaN in the mask": (dict(mask=MASK * NAN), "The mask holds values that are not finite"),
    "a mask of another size": (dict(mask=MASK[:, :64, :64]), "The mask is 64x64 px, the scene 90x75 px"),
    "NaN in the scene": (dict(scene=SCENE * NAN), "The scene holds values that are not finite"),
    "NaN in the exemplar": (dict(exemplar=EXEMPLAR * NAN), "The object's picture holds values that are not finite"),
    "an exemplar of one pixel": (dict(exemplar=EXEMPLAR[:, :1, :1]), "The object's picture is too small"),
    "an unknown sampler": (dict(sampler="karras"), "Unknown sampler 'karras'; use plms"),
    "an unknown resize": (dict(mask_resize="bicubic"), "Unknown rule 'bicubic' for the mask"),
    "no steps": (dict(steps=0), "At least 1 step is needed; got 0."),
}  # fmt: skip


@pytest.mark.parametrize(("change", "error"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(door, change, error):
    with pytest.raises(ValueError) as caught:
        door(**(dict(scene=SCENE, mask=MASK, exemplar=EXEMPLAR, steps=1) | change))
    assert str(caught.value).startswith(error)


def test_a_mask_of_one_pixel_needs_the_cells_it_touches(door):
    dot = MASK * 0
    dot[:, 41, 41] = 1
    with pytest.raises(ValueError, match="The mask is too thin"):
        door(SCENE, dot, EXEMPLAR, steps=1)
    assert door(SCENE, dot, EXEMPLAR, steps=1, mask_resize="touched").images.shape == SCENE.shape


def ldm_without(small, *names, **changes):
    state = parts.ldm_state(small[1]["image_encoder"], small[1]["unet"])
    for name in names:
        del state[name]
    return state | changes


FIRST = "model.diffusion_model.input_blocks.0.0.weight"
WRONG = {
    "a text-to-image model": (dict(change={FIRST: torch.zeros(32, 4, 3, 3)}),
                              "is a text-to-image model: its UNet takes 4 channels"),
    "an InstructPix2Pix model": (dict(change={FIRST: torch.zeros(32, 8, 3, 3)}), "is an InstructPix2Pix model"),
    "SDXL": (dict(change={"model.diffusion_model.label_emb.0.0.weight": torch.zeros(2)}), "is of SDXL's family"),
    "another inpainting model": (dict(drop=["learnable_vector"]), "is another inpainting model"),
    "no UNet": (dict(drop=[FIRST]), "is no LDM checkpoint: it has no UNet"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "error"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_another_base_model_is_refused(small, tmp_path, spoil, error, kind):
    state = ldm_without(small, *spoil.get("drop", ())) | spoil.get("change", {})
    path = tmp_path / f"model.{kind}"
    save_file(state, path) if kind == "safetensors" else torch.save({"state_dict": state}, path)
    with pytest.raises(ValueError) as caught:
        checkpoints.open_paint_by_example(path)
    assert str(caught.value).startswith(f"{path} {error}")
    assert "Use Paint by Example's own weights" in str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_damaged_encoders_are_refused(small, tmp_path, kind):
    path = tmp_path / f"model.{kind}"

    def load(state):
        save_file(state, path) if kind == "safetensors" else torch.save({"state_dict": state}, path)
        return checkpoints.open_paint_by_example(path).exemplar_encoder()

    name = "cond_stage_model.mapper.resblocks.1.mlp.c_fc.bias"
    with pytest.raises(ValueError, match=r"is not whole: it lacks 1 tensors of the exemplar encoder \(such as " + name):
        load(ldm_without(small, name))
    with pytest.raises(ValueError, match=f"holds values that are not finite: {name}"):
        load(ldm_without(small, **{name: torch.full((256,), NAN)}))
    with pytest.raises(ValueError, match="does not hold the tensors an exemplar encoder needs"):
        load(ldm_without(small, **{name: torch.zeros(3)}))
    load(ldm_without(small))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="cut off"):
        checkpoints.open_paint_by_example(path)
    path.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(ValueError, match="cut off"):
        checkpoints.open_paint_by_example(path)


class Program:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_a_program_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"state_dict": {}, "callbacks": Program(tmp_path / "canary")}, tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="nothing else is run from a weight file"):
        checkpoints.open_paint_by_example(tmp_path / "model.ckpt")
    assert not (tmp_path / "canary").exists()


def test_a_folder_without_the_exemplar_encoder_is_refused(small, tmp_path):
    shutil.copytree(small[0], tmp_path / "model")
    file = tmp_path / "model/image_encoder/model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if name.startswith("model.")}, file)
    with pytest.raises(ValueError, match="is a plain vision encoder"):
        pipeline.PaintByExamplePipeline.from_folder(tmp_path / "model")
    config = tmp_path / "model/unet/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 4}))
    with pytest.raises(ValueError, match="is a text-to-image model: its UNet takes 4 channels"):
        pipeline.PaintByExamplePipeline.from_folder(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        pipeline.PaintByExamplePipeline.from_folder(tmp_path / "gone")


def test_an_encoder_of_another_size_is_refused(small):
    networks = small[1]
    for settings, error in (((64, 24), "context of width 24"), ((32, 48), "pooled vectors of width 32")):
        with pytest.raises(ValueError, match=error):
            pipeline.PaintByExamplePipeline(
                networks["unet"],
                networks["vae"],
                {},
                networks["image_encoder"].model,
                exemplar_encoder.ExemplarEncoder(exemplar_encoder.ExemplarSettings(*settings, blocks=1)),
                [0.5] * 3,
                [0.5] * 3,
            )
    with pytest.raises(ValueError, match="reads pooled vectors of width 32, but the vision encoder gives width 64"):
        exemplar_encoder.exemplar_context(
            exemplar_encoder.ExemplarEncoder(exemplar_encoder.ExemplarSettings(32, 8)), torch.ones(1, 64)
        )


# the command


@pytest.fixture
def command(small, tmp_path):
    for name, picture in (("scene", SCENE), ("exemplar", EXEMPLAR)):
        Image.fromarray((picture[0] * 255).byte().numpy()).save(tmp_path / f"{name}.png")
    Image.fromarray((MASK[0] * 255).byte().numpy()).save(tmp_path / "mask.png")

    def call(*more):
        given = {"scene": "scene.png", "mask": "mask.png", "exemplar": "exemplar.png", "output": "out.png"}
        words = [word for name, file in given.items() for word in (f"--{name}", str(tmp_path / file))]
        return main(["paint", *words, "--models", call.models, "--device", "cpu", *more])

    call.models = str(small[0])
    return call


def test_the_command_paints_the_whole_scene(command, door, tmp_path):
    assert command("--whole", "--no-restore", "--steps", "2", "--seed", "4", "--similarity", "3") == 0
    made = Image.open(tmp_path / "out.png")
    pictures = [Image.open(tmp_path / f"{name}.png") for name in ("scene", "mask", "exemplar")]
    same = door(*pictures, steps=2, seed=4, similarity=3.0).pictures()[0]
    assert made.size == (90, 75) and made.tobytes() == same.tobytes()


def test_a_speed_paints_by_the_models_presets(command, door, tmp_path):
    """Models that bring none have a guess; one context of two is no branch to save."""
    assert command("--whole", "--no-restore", "--speed", "fast", "--steps", "50", "--similarity", "3") == 0
    pictures = [Image.open(tmp_path / f"{name}.png") for name in ("scene", "mask", "exemplar")]
    steps = []
    same = door(*pictures, speed="fast", similarity=3.0, callback=lambda done, total, _: steps.append((done, total)))
    assert Image.open(tmp_path / "out.png").tobytes() == same.pictures()[0].tobytes()
    assert door.presets == UNMEASURED and steps[-1] == (8, 8)


def test_the_playrooms_presets_paint_into_the_hole():
    """In 12 and 8 evaluations of the UNet, for the 102 of the published settings."""
    root = Path(__file__).resolve().parents[2] / "playroom_models"
    toys = pipeline.PaintByExamplePipeline.from_folder(root / "paint_by_example")
    scene = Image.open(root / "samples" / "scene.png").convert("RGB")
    before = torch.from_numpy(np.asarray(scene)).float() / 255
    mask = torch.zeros(1, 128, 128)
    mask[:, 60:110, 40:90] = 1
    for speed, steps in (("balanced", 6), ("fast", 4)):
        assert toys.presets[speed].steps == steps and toys.presets[speed].sampler == "euler"
        made = toys(scene, mask, Image.open(root / "samples" / "object.png"), similarity=3.0, speed=speed).images[0]
        change = (made - before).abs().amax(-1)
        assert change[mask[0] > 0].mean() > 3 * change[mask[0] == 0].mean()


@pytest.mark.parametrize("whole", [(), ("--whole",)])
def test_the_command_changes_no_pixel_outside_the_mask(tmp_path, whole):
    """With the toys that ship: what random networks do to noise is no change."""
    samples = Path(__file__).resolve().parents[2] / "playroom_models" / "samples"
    pictures = [
        "--scene",
        samples / "scene.png",
        "--exemplar",
        samples / "object.png",
        "--output",
        tmp_path / "out.png",
    ]
    words = [*pictures, "--box", 40, 30, 50, 50, "--steps", 4, "--device", "cpu", *whole]
    assert main(["paint", *map(str, words)]) == 0
    before, after = (
        np.asarray(Image.open(path).convert("RGB")) for path in (samples / "scene.png", tmp_path / "out.png")
    )
    changed = (before != after).any(2)
    assert changed[30:80, 40:90].any()
    changed[30:80, 40:90] = False
    assert not changed.any()


def test_the_command_leaves_all_but_the_mask_alone_where_nothing_is_restored(command, tmp_path):
    assert command("--no-restore", "--steps", "2", "--working-size", "64") == 0
    before, after, mask = (Image.open(tmp_path / f"{name}.png") for name in ("scene", "out", "mask"))
    moved = (np.asarray(before).astype(int) != np.asarray(after)).any(2)
    painted = np.asarray(mask) > 0
    assert moved[painted].mean() > 0.9 and not moved[~painted].any() and not painted.all()


def test_the_command_takes_a_box_for_a_mask(command, tmp_path):
    x0, y0, x1, y1 = masks.mask_box(MASK[0])
    Image.fromarray((masks.box_mask((x0, y0, x1, y1), *MASK.shape[1:]).numpy() * 255).astype("u1")).save(
        tmp_path / "mask.png"
    )
    assert command("--steps", "1", "--no-metadata") == 0
    first = (tmp_path / "out.png").read_bytes()
    with pytest.raises(SystemExit):  # one of the two
        command("--steps", "1", "--box", "1", "1", "9", "9")
    scene, exemplar, output = (str(tmp_path / name) for name in ("scene.png", "exemplar.png", "boxed.png"))
    words = ["--scene", scene, "--exemplar", exemplar, "--output", output, "--steps", "1", "--device", "cpu"]
    words += ["--models", command.models, "--box", *map(str, (x0, y0, x1 - x0, y1 - y0))]
    assert main(["paint", *words, "--no-metadata"]) == 0
    assert (tmp_path / "boxed.png").read_bytes() == first
    assert main(["paint", *words]) == 0  # the same picture, and what made it
    boxed = Image.open(tmp_path / "boxed.png")
    assert boxed.tobytes() == Image.open(tmp_path / "out.png").tobytes()
    record = json.loads(boxed.text["visual-insertion"])
    assert record["settings"]["box"] == [x0, y0, x1 - x0, y1 - y0] and record["settings"]["similarity"] == 5
    assert any(name.endswith("safetensors") for name in record["sha256"]["models"])


@pytest.mark.parametrize("whole", [(), ("--whole",)])
def test_the_command_keeps_a_scene_s_transparency(command, tmp_path, whole):
    pixels = np.asarray(Image.open(tmp_path / "scene.png").convert("RGBA")).copy()
    pixels[:20, :20] = (255, 0, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    assert command("--steps", "1", *whole) == 0
    after = np.asarray(Image.open(tmp_path / "out.png"))
    assert np.array_equal(after[..., 3], pixels[..., 3])
    assert whole or np.array_equal(after[:, :14], pixels[:, :14])  # the mask begins at 30, its soft rim at 14


@pytest.mark.parametrize("whole", [(), ("--whole",)])
def test_a_result_that_is_not_finite_is_said_and_no_picture_written(command, tmp_path, monkeypatch, capsys, whole):
    load = pipeline.PaintByExamplePipeline.from_folder

    def overflowing(*args, **kwargs):
        """As in half precision."""
        made = load(*args, **kwargs)
        made.unet.conv_out.bias.data.fill_(float("inf"))
        return made

    monkeypatch.setattr(pipeline.PaintByExamplePipeline, "from_folder", overflowing)
    assert command("--steps", "1", *whole) == 1
    assert "What was sampled holds values that are not finite" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--similarity", "nan", "similarity must be a number from -1000 to 1000; got nan."),
        ("--similarity", "1e30", "similarity must be a number from -1000 to 1000; got 1e+30."),
        ("--steps", "1000000000", "At most 1000 steps can be made; got 1000000000."),
        ("--expansion", "inf", "expansion at most 1000; got inf"),
        ("--working-size", "-8", "The working size must be from 0 to 8192 px; got -8."),
        ("--output", "r.psd", "r.psd names no picture format that can be written"),
    ],
)
def test_the_command_refuses_numbers_out_of_range(command, capsys, option, value, message):
    assert command(option, value) == 1
    assert message in capsys.readouterr().err


def test_the_command_says_what_is_wrong(command, tmp_path, capsys):
    assert command("--mask", str(tmp_path / "gone.png")) == 2
    assert command("--output", str(tmp_path / "out.txt")) == 1
    assert command("--models", str(tmp_path)) == 2
    Image.new("L", (90, 75)).save(tmp_path / "mask.png")
    assert command() == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) >= 4 and "The mask is empty" in said[-1]


def test_the_command_offers_what_the_pipeline_has():
    assert paint.SAMPLERS == pipeline.SAMPLERS
    assert paint.LATENT_MASKS == inpainting.LATENT_MASKS
