"""The stand-alone door: against an independent sampler, against diffusers' own guidance, and at its edges."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from safetensors.torch import save_file

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import _scenes
from visual_insertion_pack.pipelines.commands.insert import SAMPLERS
from visual_insertion_pack.pipelines.pictures import objects as object_picture
from visual_insertion_pack.pipelines.pictures.files import picture_tensor
from visual_insertion_pack.pipelines.pictures.scene import pad_to_multiple
from visual_insertion_pack.pipelines.provenance import PNG_TEXT
from visual_insertion_pack.pipelines.sampling import schedulers as samplers
from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.visual_insertion import optimizer_files as embedding_optimizer
from visual_insertion_pack.pipelines.visual_insertion.pipeline import VisualInsertionPipeline

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MODELS = Path(__file__).resolve().parents[2] / "playroom_models"


@pytest.fixture(scope="module")
def toys():
    """The pipeline on the models that ship."""
    return VisualInsertionPipeline.from_folder(MODELS)


@pytest.fixture(scope="module")
def sd_folder(tmp_path_factory):
    """A folder laid out like Paint by Inpaint's, small: context 77x768, noise prediction, scaling 0.18215."""
    from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = tmp_path_factory.mktemp("sd")
    torch.manual_seed(0)
    UNet2DConditionModel(
        in_channels=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=768,
        attention_head_dim=4,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
        scaling_factor=0.18215,
    ).save_pretrained(folder / "vae")
    EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
    ).save_pretrained(folder / "scheduler")
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
    )
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "image_encoder")
    statistics = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    (folder / "image_encoder" / "preprocessor_config.json").write_text(json.dumps(statistics), "utf-8")
    optimizer = embedding_optimizer.build(embedding_optimizer.OptimizerSettings("resampler", 64, 768, 77, blocks=1))
    torch.nn.init.normal_(optimizer.null)
    save_file(optimizer.state_dict(), folder / "mine.safetensors", embedding_optimizer.metadata(optimizer.settings))
    return folder


@pytest.fixture(scope="module")
def sd(sd_folder):
    return VisualInsertionPipeline.from_folder(sd_folder, sd_folder / "mine.safetensors")


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


SCENE, OBJECT = pictures(1, 1, 64, 64, 3), pictures(2, 1, 64, 64, 3)


def relative(a, b):
    return float((a - b).norm() / b.norm())


def on_steps(pipeline, *timesteps):
    """Noise levels of whole training steps, then 0."""
    return torch.cat([pipeline.levels[list(timesteps)].float(), torch.zeros(1)])


def denoiser(pipeline, scene):
    """x0(x, sigma, t, scene or not, context) of the raw models: independent of the pipeline under test."""
    stock = pipeline.pipeline
    shown = stock.vae.encode(2 * scene.movedim(-1, 1) - 1).latent_dist.mean

    def denoise(x, sigma, t, with_scene, context):
        scaled = x / (1 + sigma**2) ** 0.5
        out = stock.unet(torch.cat([scaled, shown * with_scene], 1), t, encoder_hidden_states=context).sample
        if stock.scheduler.config.prediction_type == "epsilon":
            return x - sigma * out
        return x / (1 + sigma**2) - sigma * out / (1 + sigma**2) ** 0.5

    return denoise


@torch.no_grad()
def reference(pipeline, scene, picture, timesteps, s_t, s_i, start):
    """Euler steps by hand over whole training steps, eq. 3 as printed; latents before the scaling factor is undone."""
    denoise = denoiser(pipeline, scene)
    context, null = pipeline.contexts(picture)
    sigmas = [*pipeline.levels[list(timesteps)].tolist(), 0.0]
    x = start * (1 + sigmas[0] ** 2) ** 0.5
    for sigma, below, t in zip(sigmas, sigmas[1:], timesteps, strict=False):
        empty, shown, full = (denoise(x, sigma, t, *c) for c in ((0, null), (1, null), (1, context)))
        x0 = empty + s_i * (shown - empty) + s_t * (full - shown)
        x = x + (x - x0) / sigma * (below - sigma)
    return x


@pytest.mark.parametrize("which", ["toys", "sd"])
@pytest.mark.parametrize(("s_t", "s_i"), [(7.5, 1.5), (7.5, 1.0), (1.5, 1.5), (0.0, 1.5), (1.0, 1.0), (0.5, 0.5)])
def test_sampling_equals_eq_3_by_hand(request, which, s_t, s_i):
    pipeline, timesteps, start = request.getfixturevalue(which), (999, 700, 400, 100, 5), noise(3, 1, 4, 8, 8)
    sigmas = on_steps(pipeline, *timesteps)
    result = pipeline(SCENE, OBJECT, None, Guidance(s_t, s_i), sampler="euler", sigmas=sigmas, latents=start)
    expected = reference(pipeline, SCENE, OBJECT, timesteps, s_t, s_i, start)
    assert relative(result.latents * pipeline.pipeline.vae.config.scaling_factor, expected) < 1e-4


def test_equals_diffusers_own_guidance(toys):
    from diffusers import EulerDiscreteScheduler

    stock, steps, start = toys.pipeline, 10, noise(3, 1, 4, 8, 8)  # 10 evenly spread steps are whole ones
    context, null = toys.contexts(OBJECT)
    first = float(toys.levels[-1])
    stock.scheduler = EulerDiscreteScheduler.from_config(stock.scheduler.config, timestep_spacing="linspace")
    stock.set_progress_bar_config(disable=True)
    theirs = stock(
        image=SCENE.movedim(-1, 1),
        prompt_embeds=context,
        negative_prompt_embeds=null,
        num_inference_steps=steps,
        guidance_scale=7.5,
        image_guidance_scale=1.5,
        latents=start * (1 + first**2) ** 0.5 / first,  # it starts from variance sigma^2, we from 1 + sigma^2
        output_type="latent",
    ).images
    sigmas = stock.scheduler.sigmas
    ours = toys(SCENE, OBJECT, None, Guidance(7.5, 1.5), sampler="euler", sigmas=sigmas, latents=start)
    assert relative(ours.latents * stock.vae.config.scaling_factor, theirs) < 1e-4


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (dict(object_scale=7.5, scene_scale=1.5), 3 * 6),
        (dict(object_scale=7.5, scene_scale=1.0), 2 * 6),
        (dict(object_scale=1.5, scene_scale=1.5), 2 * 6),
        (dict(object_scale=0.0, scene_scale=1.5), 2 * 6),
        (dict(object_scale=1.0, scene_scale=1.0), 1 * 6),
        (dict(object_scale=7.5, scene_scale=1.5, object_start=0.5, scene_start=0.5), 3 * 1 + 3 * 3),
    ],
)
@pytest.mark.parametrize("sampler", ["euler", "ddim"])
def test_evaluations_are_counted_and_saved(toys, settings, expected, sampler):
    rows = []
    hook = toys.pipeline.unet.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    result = toys(SCENE, OBJECT, None, Guidance(**settings), steps=6, sampler=sampler)
    hook.remove()
    assert result.unet_evaluations == sum(rows) == expected


@pytest.mark.parametrize("sampler", ["euler_ancestral", "euler", "ddim", "dpmpp_2m"])
def test_a_seed_repeats_and_another_differs(toys, sampler):
    first, again, other = (toys(SCENE, OBJECT, steps=3, seed=seed, sampler=sampler).images for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_samplers_agree_in_the_limit_of_many_steps(toys):
    start, settings = noise(1, 1, 4, 8, 8), Guidance(1.0, 1.0)

    euler, ddim, dpmpp = (
        toys(SCENE, OBJECT, None, settings, steps=40, sampler=sampler, latents=start).latents
        for sampler in ("euler", "ddim", "dpmpp_2m")
    )
    assert relative(ddim, euler) < 0.1
    assert relative(dpmpp, euler) < 0.1


def test_half_precision_models_sample_in_single_precision(toys):
    half = VisualInsertionPipeline.from_folder(MODELS, dtype=torch.bfloat16)
    assert half.pipeline.unet.dtype == half.pipeline.vae.dtype == torch.bfloat16
    result, expected = (pipeline(SCENE, OBJECT, steps=3) for pipeline in (half, toys))
    assert result.latents.dtype == result.images.dtype == torch.float32
    assert relative(result.latents, expected.latents) < 0.2


@pytest.mark.parametrize("size", [(117, 130), (64, 64), (9, 200), (1, 1)])
def test_the_result_has_the_scenes_own_size(toys, size):
    assert toys(pictures(4, *size, 3), OBJECT, steps=1).images.shape == (1, *size, 3)


def test_padding_does_not_reach_the_picture_handed_back(toys):
    scene = pictures(4, 1, 61, 59, 3)
    padded = pad_to_multiple(scene, 8)
    by_hand = toys(padded, OBJECT, steps=2)
    assert torch.equal(toys(scene, OBJECT, steps=2).images, by_hand.images[:, :61, :59])


def test_a_batch_equals_single_runs(toys):
    scenes, start = pictures(6, 3, 64, 64, 3), noise(7, 3, 4, 8, 8)
    together = toys(scenes, OBJECT, steps=3, sampler="euler", latents=start).latents
    pairs = zip(scenes.split(1), start.split(1), strict=True)
    alone = [toys(scene, OBJECT, steps=3, sampler="euler", latents=one).latents for scene, one in pairs]
    assert relative(together, torch.cat(alone)) < 1e-4


def test_several_pictures_are_views_or_separate_objects(toys):
    views = [OBJECT, pictures(8, 1, 40, 90, 3)]
    assert len(toys(SCENE, views, steps=1).images) == 1
    assert len(toys(SCENE, views, steps=1, views="concatenate").images) == 1
    assert len(toys(SCENE, views, steps=1, views="separate").images) == 2


def test_rescale_is_measured_on_the_denoised_latents(sd):
    """One step from full noise: the result is the guided x0, so its spread is the conditional x0's."""
    sigmas, start = on_steps(sd, 999), noise(3, 1, 4, 8, 8)
    run = {"sampler": "euler", "sigmas": sigmas, "latents": start}
    steered = sd(SCENE, OBJECT, None, Guidance(7.5, 1.5, object_rescale=1.0), **run).latents
    plain = sd(SCENE, OBJECT, None, Guidance(1.0, 1.0), **run).latents
    assert steered.std() == pytest.approx(float(plain.std()), rel=1e-4)


def test_noise_levels_that_share_a_training_step_are_all_walked(toys):
    seen = []
    sigmas = torch.tensor([14.7, 14.62, 14.61, 3.0, 0.0])
    toys(SCENE, OBJECT, sampler="euler", sigmas=sigmas, callback=lambda done, total, x: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_callback_can_cancel_and_the_next_run_works(toys):
    def stop(done, total, latents):
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        toys(SCENE, OBJECT, steps=4, callback=stop)
    assert toys(SCENE, OBJECT, steps=1).unet_evaluations == 3


def test_pictures_of_every_mode_are_read():
    for mode, channels in {"RGB": 3, "RGBA": 4, "L": 3, "LA": 4, "P": 3, "1": 3, "CMYK": 3}.items():
        tensor = picture_tensor(Image.new(mode, (7, 5)))
        assert tensor.shape == (1, 5, 7, channels) and 0 <= tensor.min() <= tensor.max() <= 1
    assert picture_tensor(Image.new("I;16", (7, 5), 65535)).shape == (1, 5, 7, 1)
    assert picture_tensor(Image.new("I;16", (7, 5), 65535)).max() == 1


def test_a_photograph_lying_on_its_side_is_turned():
    image = Image.new("RGB", (7, 5))
    image.getexif()[0x0112] = 6
    assert picture_tensor(image).shape == (1, 7, 5, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(scene=SCENE * float("nan")), "not finite"),
        (dict(scene=SCENE[:, :0]), "empty"),
        (dict(objects=OBJECT[:, :1, :1]), "too small"),
        (dict(objects=[]), "0 pictures"),
        (dict(masks=torch.ones(1, 9, 9)), "9x9 px"),
        (dict(masks=[None, None]), "2 masks"),
        (dict(sampler="magic"), "magic"),
        (dict(steps=0), "1 step"),
        (dict(latents=torch.zeros(1, 4, 7, 7)), "noise is"),
        (dict(sigmas=torch.tensor([1.0, 2.0])), "must fall"),
        (dict(sigmas=torch.tensor([1.0])), "at least 2"),
        (dict(sigmas=torch.tensor([1.0, 0.0]), sampler="ddim"), "own noise levels"),
        (dict(sigmas=torch.tensor([1.0, 0.0]), denoise=0.5), "not both"),
        (dict(denoise=1.5), "at most 1; got 1.5"),
        (dict(mask=torch.ones(1, 9, 9)), "The mask is 9x9 px, the scene 64x64 px"),
        (dict(mask=torch.ones(2, 64, 64), scene=pictures(1, 3, 64, 64, 3)), "3 scenes, 2 masks"),
        (dict(scene=pictures(1, 3, 64, 64, 3), objects=[OBJECT] * 2, views="separate"), "do not pair up"),
    ],
)
def test_bad_input_is_refused(toys, arguments, message):
    with pytest.raises(ValueError, match=message):
        toys(**{"scene": SCENE, "objects": OBJECT, **arguments})


# Folders


def copied(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "models"))


@pytest.mark.parametrize(("channels", "kind"), [(4, "text-to-image"), (9, "inpainting"), (5, "another kind")])
def test_another_family_is_named_before_its_weights_are_read(tmp_path, channels, kind):
    folder = copied(MODELS, tmp_path)
    config = json.loads((folder / "unet/config.json").read_text("utf-8"))
    (folder / "unet/config.json").write_text(json.dumps(config | {"in_channels": channels}), "utf-8")
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match=f"{channels} input channels.*{kind}.*add-base"):
        VisualInsertionPipeline.from_folder(folder)


@pytest.mark.parametrize(
    "part", ["unet/config.json", "image_encoder/config.json", "scheduler/scheduler_config.json", "vae/config.json"]
)
def test_a_missing_part_is_named(tmp_path, part):
    folder = copied(MODELS, tmp_path)
    (folder / part).unlink()
    with pytest.raises(FileNotFoundError, match=Path(part).name):
        VisualInsertionPipeline.from_folder(folder)


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_truncated_weights_are_refused(tmp_path, part):
    folder = copied(MODELS, tmp_path)
    weights = folder / part / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{weights.name} is not a readable safetensors file"):
        VisualInsertionPipeline.from_folder(folder)


def test_parts_that_do_not_pair_are_refused(sd_folder):
    from_folder = VisualInsertionPipeline.from_folder
    with pytest.raises(ValueError, match="width 768.*reads width 128"):
        from_folder(MODELS, sd_folder / "mine.safetensors")
    with pytest.raises(ValueError, match="width 128.*gives width 64"):
        from_folder(MODELS, image_encoder=sd_folder / "image_encoder")


def test_the_models_own_guidance_is_the_default(toys, sd):
    facts = json.loads((MODELS / "playroom.json").read_text("utf-8"))
    assert toys.guidance == Guidance(**facts["guidance"])
    assert sd.guidance == Guidance()


# Command line


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    Image.radial_gradient("L").resize((70, 61)).save(folder / "scene.png")
    Image.new("RGB", (40, 30), (200, 30, 30)).save(folder / "object.png")
    mask = Image.new("L", (40, 30))
    mask.paste(255, (5, 5, 30, 25))
    mask.save(folder / "mask.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture
def insert(files, tmp_path):
    """Runs the command; options override a working call. Gives exit code and output path."""

    def run(*extra, **options):
        given = {"scene": files / "scene.png", "object": files / "object.png", "output": tmp_path / "r.png"}
        given |= {"steps": 2, "device": "cpu"} | options
        words = [word for name, x in given.items() for word in ("--" + name.replace("_", "-"), str(x))]
        return main(["insert", *words, *extra]), given["output"]

    return run


def test_the_command_inserts_and_repeats(insert, files, tmp_path):
    options = dict(object_mask=files / "mask.png", background="mean", framing="pad", object_scale=3, seed=4)
    code, first = insert(**options)
    _, again = insert(**options, output=tmp_path / "again.png")
    assert code == 0
    assert Image.open(first).size == (70, 61)
    assert first.read_bytes() == again.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.png", "r.png"]


def scene_and_result(insert, *extra, **options):
    """uint8 pictures of the sample scene and what the command makes of it."""
    samples = MODELS / "samples"
    code, path = insert(*extra, scene=samples / "scene.png", object=samples / "object.png", steps=8, seed=5, **options)
    assert code == 0
    return (np.asarray(Image.open(one).convert("RGB")).astype(int) for one in (samples / "scene.png", path))


def test_the_command_restores_what_the_object_did_not_change(insert):
    scene, restored = scene_and_result(insert)
    _, raw = scene_and_result(insert, "--no-restore")
    same, same_raw = ((picture == scene).all(2) for picture in (restored, raw))
    assert same.mean() > 0.6 and same_raw.mean() < 0.1
    assert (np.abs(restored - scene).max(2) > 60).mean() > 0.02  # the object is there


def recorded(path):
    """What a picture says of how it was made."""
    return json.loads(Image.open(path).text[PNG_TEXT])


@pytest.mark.parametrize(
    ("speed", "ran"),
    [
        ("balanced", {"scheduler": "normal", "steps": 9, "scene_scale": 1.2}),
        ("fast", {"scheduler": "simple", "steps": 4, "scene_scale": 1.0}),
    ],
)
def test_the_command_says_in_the_picture_what_a_speed_was(insert, speed, ran):
    code, path = insert(speed=speed, sampler="ddim")
    assert code == 0
    settings = recorded(path)["settings"]
    assert settings["speed"] == speed and settings["sampler"] == "euler_ancestral"
    assert {**settings, **settings["guidance"]}.items() >= ran.items()


def test_at_exact_the_command_s_options_count(insert, tmp_path):
    _, first = insert(speed="exact")
    _, plain = insert(output=tmp_path / "plain.png")
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(plain)))
    assert "speed" not in recorded(first)["settings"]


def test_a_speed_sets_the_noise_levels_itself(toys):
    with pytest.raises(ValueError, match="The speed fast sets the noise levels itself: leave out the sigmas"):
        toys(SCENE, OBJECT, speed="fast", sigmas=torch.tensor([10.0, 0.0]))
    with pytest.raises(ValueError, match="Unknown speed 'slow'; use exact, balanced, fast"):
        toys(SCENE, OBJECT, speed="slow")
    with pytest.raises(ValueError, match="Unknown scheduler 'beta'; use normal, karras, simple"):
        toys(SCENE, OBJECT, scheduler="beta")
    with pytest.raises(ValueError, match="ddim sets its own noise levels; use euler or euler_ancestral"):
        toys(SCENE, OBJECT, scheduler="karras", sampler="ddim")


def test_the_command_changes_no_pixel_outside_a_mask(insert, tmp_path):
    mask = Image.new("L", (128, 128))
    mask.paste(255, (21, 13, 75, 90))
    mask.save(tmp_path / "where.png")
    scene, restored = scene_and_result(insert, mask=tmp_path / "where.png")
    changed = (restored != scene).any(2)
    assert changed.any() and not changed[np.asarray(mask) == 0].any()


def test_the_command_leaves_all_outside_a_box_alone(insert):
    samples = MODELS / "samples"
    large = dict(scene=samples / "dollhouse.png", object=samples / "object.png", steps=6)
    code, path = insert("--box", "300", "500", "60", "40", "--expansion", "0.5", **large)
    assert code == 0
    before, after = (np.asarray(Image.open(one).convert("RGB")) for one in (large["scene"], path))
    rows, columns = np.nonzero((after != before).any(2))
    assert after.shape == before.shape and len(rows) > 100
    assert 300 - 30 - 4 <= columns.min() and columns.max() < 360 + 30 + 4  # a square window of whole cells
    assert 520 - 60 - 4 <= rows.min() and rows.max() < 520 + 60 + 4


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_the_command_keeps_the_transparency_and_colours_of_a_scene(insert, tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 4), np.uint8)
    pixels[:40, :40] = (255, 0, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "scene.png", icc_profile=PROFILE, dpi=(300, 300))
    scene, output = tmp_path / "scene.png", tmp_path / f"r{suffix}"
    assert insert("--box", "110", "70", "30", "30", scene=scene, output=output)[0] == 0
    after = Image.open(output)
    assert np.array_equal(np.asarray(after)[:40, :40], pixels[:40, :40])
    assert np.array_equal(np.asarray(after)[..., 3], pixels[..., 3])
    assert after.info["icc_profile"] == PROFILE
    assert insert(scene=scene, output=output)[0] == 0
    assert np.array_equal(np.asarray(Image.open(output))[..., 3], pixels[..., 3])


@pytest.mark.parametrize("name", ["r.psd", "r.cur", "r.fits"])
def test_the_command_refuses_a_format_before_it_reads_models(insert, tmp_path, capsys, name):
    assert insert(output=tmp_path / name, models="nowhere")[0] == 1
    assert f"{name} names no picture format that can be written" in capsys.readouterr().err


@pytest.fixture(scope="module")
def scene_mask(files):
    """White on the right of the scene, grey in a corner."""
    mask = Image.new("L", (70, 61))
    mask.paste(255, (40, 0, 70, 61))
    mask.paste(100, (0, 0, 9, 9))
    mask.save(files / "scene_mask.png")
    return files / "scene_mask.png"


@pytest.mark.parametrize("denoise", [1.0, 0.6])
def test_the_command_keeps_the_scene_outside_a_mask(insert, toys, files, scene_mask, denoise):
    options = dict(mask=scene_mask, denoise=denoise, steps=3, seed=4, sampler="euler", object_scale=3)
    code, path = insert("--no-restore", **options)
    assert code == 0
    scene, picture, mask = (Image.open(files / name) for name in ("scene.png", "object.png", "scene_mask.png"))
    guidance = Guidance(3, toys.guidance.scene_scale)
    settings = dict(steps=3, seed=4, sampler="euler", mask=mask, denoise=denoise)
    alone = toys(scene, picture, None, guidance, **settings)
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(alone.pictures()[0]))

    padded = pad_to_multiple(picture_tensor(scene), 8).movedim(-1, 1)
    with torch.no_grad():
        latents = toys.pipeline.vae.encode(2 * padded - 1).latent_dist.mode()
    changed = (alone.latents != latents).any(1)[0]
    free = torch.zeros(8, 9, dtype=torch.bool)
    free[:, 5:] = free[:2, :2] = True  # cells that the mask touches
    assert torch.equal(changed, free)


def test_an_unpainted_mask_counts_as_none_for_the_pipeline_and_the_command(insert, toys, files, tmp_path):
    settings = dict(steps=2, seed=4, sampler="euler")
    scene, picture = Image.open(files / "scene.png"), Image.open(files / "object.png")
    black = Image.new("L", (64, 64))
    black.save(tmp_path / "black.png")
    alone = toys(scene, picture, **settings)
    assert torch.equal(toys(scene, picture, black, mask=torch.zeros(1, 9, 9), **settings).latents, alone.latents)
    code, path = insert("--no-restore", mask=tmp_path / "black.png", object_mask=tmp_path / "black.png", **settings)
    assert code == 0 and np.array_equal(np.asarray(Image.open(path)), np.asarray(alone.pictures()[0]))


def test_the_command_takes_a_mask_inside_a_box(insert, tmp_path):
    samples = MODELS / "samples"
    large = dict(scene=samples / "dollhouse.png", object=samples / "object.png", steps=6)
    before = np.asarray(Image.open(large["scene"]).convert("RGB"))
    mask = Image.new("L", before.shape[1::-1])
    mask.paste(255, (0, 0, 330, before.shape[0]))  # the left half of the box, and more outside of it
    mask.save(tmp_path / "mask.png")
    code, path = insert("--box", "300", "500", "60", "40", mask=tmp_path / "mask.png", **large)
    assert code == 0
    after = np.asarray(Image.open(path).convert("RGB"))
    rows, columns = np.nonzero((after != before).any(2))
    assert after.shape == before.shape and len(rows) > 50
    assert 315 - 52 <= columns.min() and columns.max() < 315 + 52  # 32 px around the 30x40 px that are in both, square
    assert 520 - 52 <= rows.min() and rows.max() < 520 + 52


@pytest.mark.parametrize(
    ("size", "value", "message"),
    [
        ((40, 30), 255, "The mask is 40x30 px, the scene 70x61 px. Resize the mask to the scene first."),
        ((70, 61), 2, "The mask is too faint: no pixel of it would survive the noise of a file"),
    ],
)
def test_the_command_refuses_a_mask_before_it_reads_models(insert, tmp_path, capsys, size, value, message):
    Image.new("L", size, value).save(tmp_path / "mask.png")
    assert insert(mask=tmp_path / "mask.png", models="nowhere")[0] == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (dict(scene="nowhere.png"), 2, "nowhere.png does not exist"),
        (dict(models="nowhere"), 2, "config.json is missing"),
        (dict(output="nowhere/r.png"), 2, "folder of .* does not exist"),
        (dict(output="r.picture"), 1, "names no picture format"),
        (dict(embedding_optimizer="nowhere.safetensors"), 2, "nowhere.safetensors is missing"),
        (dict(background="white"), 1, "neither a mask nor an alpha channel"),
        (dict(steps=0), 1, "1 step"),
        (dict(steps=10**9), 1, "At most 1000 steps can be made; got 1000000000."),
        (
            dict(seed=2**64),
            1,
            "The seed must be a whole number from 0 to 18446744073709551615; got 18446744073709551616",
        ),
        (dict(object_scale="nan"), 1, "object_scale must be a number from 0 to 1000; got nan"),
        (dict(scene_scale="1e30"), 1, r"scene_scale must be a number from 0 to 1000; got 1e\+30"),
        (dict(denoise="inf"), 1, "denoise must be above 0 and at most 1; got inf"),
        (dict(denoise=0), 1, "denoise must be above 0 and at most 1; got 0"),
        (dict(denoise=0.5, sampler="ddim"), 1, "sets its own noise levels; use euler or euler_ancestral"),
        (dict(mask="nowhere.png"), 2, "nowhere.png does not exist"),
        (dict(device="abacus"), 1, "--device abacus cannot be used here: .* Use cpu, or leave it out."),
        (dict(device="meta"), 1, "--device meta cannot be used here: "),
    ],
)
def test_the_command_says_what_is_wrong(insert, capsys, options, code, message):
    import re

    assert insert(**options)[0] == code
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--expansion", "inf", "expansion at most 1000; got inf"),
        ("--expansion", "1e308", "expansion at most 1000; got 1e+308"),
        ("--expansion", "nan", "expansion at most 1000; got nan"),
        ("--working-size", "-8", "The working size must be from 0 to 8192 px; got -8."),
        ("--working-size", "20000", "The working size must be from 0 to 8192 px; got 20000."),
    ],
)
def test_the_command_refuses_a_region_of_no_size(insert, tmp_path, capsys, option, value, message):
    assert insert("--box", "3", "3", "9", "9", option, value)[0] == 1
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "I;16"])
def test_a_very_large_object_is_reduced_before_it_is_numbers(tmp_path, kind):
    values = np.add.outer(np.arange(4100), np.arange(6200)) % 256
    picture = Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if kind == "RGBA":
        picture.putalpha(Image.fromarray((values > 99).astype(np.uint8) * 255))
    picture = Image.fromarray((values * 257).astype(np.uint16)) if kind == "I;16" else picture.convert(kind)
    picture.save(tmp_path / "large.png", compress_level=1)
    picture.crop((0, 0, 4095, 4100)).save(tmp_path / "usual.png", compress_level=1)
    small, _ = _scenes.open_object(tmp_path / "large.png", None)
    assert small.size == (3100, 2050) and small.mode == ("RGBA" if kind == "RGBA" else "RGB")
    assert _scenes.open_object(tmp_path / "usual.png", None)[0].size == (4095, 4100)
    assert _scenes.open_object(tmp_path / "large.png", tmp_path / "large.png")[0].size == (6200, 4100)


def test_the_command_takes_the_largest_seed(insert):
    assert insert(seed=2**64 - 1)[0] == 0


@pytest.mark.parametrize("where", [(), ("--box", "3", "3", "20", "20")])
@pytest.mark.parametrize(
    ("part", "said"), [("unet", "What was sampled holds values"), ("vae.decoder", "What the VAE decoded holds values")]
)
def test_a_result_that_is_not_finite_is_said_and_no_picture_written(
    insert, tmp_path, monkeypatch, capsys, where, part, said
):
    load = VisualInsertionPipeline.from_folder

    def overflowing(*args, **kwargs):
        """As in half precision."""
        pipeline = load(*args, **kwargs)
        model = pipeline.pipeline.unet if part == "unet" else pipeline.pipeline.vae.decoder
        model.conv_out.bias.data.fill_(float("inf"))
        return pipeline

    monkeypatch.setattr(VisualInsertionPipeline, "from_folder", overflowing)
    assert insert(*where)[0] == 1
    assert f"{said} that are not finite (NaN or infinity), so there is no picture in it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("box", "message"), [("70 0 9 9", "covers no pixel"), ("3 3 0 9", "1 px or more; got 0")])
def test_the_command_refuses_a_box_of_nothing(insert, capsys, box, message):
    assert insert("--box", *box.split())[0] == 1
    assert message in capsys.readouterr().err


def test_the_command_refuses_what_is_no_picture(insert, files, capsys):
    assert insert(scene=files / "broken.png")[0] == 1
    assert "broken.png is not a readable picture" in capsys.readouterr().err


def test_the_command_refuses_another_model_family(insert, tmp_path, capsys):
    folder = copied(MODELS, tmp_path)
    config = json.loads((folder / "unet/config.json").read_text("utf-8"))
    (folder / "unet/config.json").write_text(json.dumps(config | {"in_channels": 9}), "utf-8")
    assert insert(models=folder)[0] == 1
    assert "an inpainting model" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_leaves_nothing(insert, tmp_path, monkeypatch, capsys):
    def full(self, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    assert insert()[0] == 1
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_offers_what_the_pipeline_knows():
    assert SAMPLERS == tuple(samplers.SAMPLERS)
    assert _scenes.FRAMINGS == object_picture.FRAMINGS
    assert _scenes.BACKGROUNDS == object_picture.BACKGROUNDS
