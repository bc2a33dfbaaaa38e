"""Paint by Example's nodes in the real host: the model's nine channels, stock samplers, both layouts, bad input."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from visual_insertion_pack.pipelines.paint_by_example import inpainting
from visual_insertion_pack.pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from visual_insertion_pack.tests import paint_by_example_parts as parts

PLAYROOM = Path(__file__).resolve().parents[2] / "playroom_models" / "paint_by_example"
NAME, FILE = "small-paint-by-example", "small-paint-by-example.safetensors"
SCENE = torch.rand(1, 75, 90, 3, generator=torch.Generator().manual_seed(1))
EXEMPLAR = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(2))
MASK = torch.zeros(1, 75, 90)
MASK[:, 20:61, 30:77] = 1
EXEMPLAR_MASK = torch.zeros(1, 40, 60)
EXEMPLAR_MASK[:, 12:30, 20:50] = 1
NAN = float("nan")


@pytest.fixture(scope="module")
def small(comfy):
    """A small model's diffusers folder among the host's models, and its networks."""
    folder = comfy.base / "models" / "diffusers" / NAME
    folder.mkdir(parents=True)
    yield folder, parts.write_folder(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def models(comfy, small):
    return comfy("PaintByExampleLoader", name=NAME)


@pytest.fixture(scope="module")
def door(small):
    return PaintByExamplePipeline.from_folder(small[0])


@pytest.fixture
def encode(comfy, models):
    def encode(image=EXEMPLAR, **inputs):
        return comfy("PaintByExampleEncode", clip_vision=models[2], exemplar_encoder=models[3], image=image, **inputs)

    return encode


@pytest.fixture
def condition(comfy, models, encode):
    """(positive, negative, latent)."""

    def condition(given=None, image=SCENE, mask=MASK, **inputs):
        positive, negative = given or encode()
        return comfy(
            "PaintByExampleConditioning",
            **dict(positive=positive, negative=negative, vae=models[1], image=image, mask=mask, **inputs),
        )

    return condition


@pytest.fixture
def sample(comfy, models):
    def sample(conditioned, model=None, **changes):
        positive, negative, latent = conditioned
        settings = dict(seed=3, steps=12, cfg=5.0, sampler_name="ddim", scheduler="ddim_uniform", denoise=1.0)
        inputs = dict(model=model or models[0], positive=positive, negative=negative, latent_image=latent)
        return comfy("KSampler", **inputs, **(settings | changes))[0]["samples"]

    return sample


def watch(model):
    """(clone of a MODEL, list of what its UNet is given: inputs, contexts)."""
    import comfy.patcher_extension

    seen = []

    def note(executor, x, timesteps, context, *rest, **named):
        seen.append((x.clone(), context.clone()))
        return executor(x, timesteps, context, *rest, **named)

    clone = model.clone()
    clone.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "test", note)
    return clone, seen


# what the model is given


def test_the_unet_sees_the_nine_channels_in_its_own_order(models, condition, sample, small):
    vae = small[1]["vae"]
    watched, seen = watch(models[0])
    sample(condition(), watched, steps=1)
    given, _ = seen[0]
    assert given.shape == (2, 9, 10, 12)
    scene, mask = inpainting.pad_scene(SCENE, MASK)
    with torch.no_grad():
        hole = 2 * inpainting.masked_scene(scene, mask).movedim(-1, 1) - 1
        shown = vae.encode(hole).latent_dist.mode() * 0.18215
    expected = inpainting.nine_channels(given[:1, :4], shown, inpainting.latent_mask(mask))
    assert all(parts.relative(row[None], expected) <= 1e-4 for row in given)
    assert set(given[:, 8].unique().tolist()) == {0.0, 1.0} and given[0, 8, 5, 6] == 0 and given[0, 8, 0, 0] == 1


@pytest.mark.parametrize("rule", ["rounded", "nearest", "touched"])
def test_the_mask_arrives_as_chosen(models, condition, sample, rule):
    watched, seen = watch(models[0])
    sample(condition(mask_resize=rule), watched, steps=1)
    _, mask = inpainting.pad_scene(SCENE, MASK)
    assert torch.equal(seen[0][0][:1, 8:], 1 - inpainting.latent_mask(mask, rule))


def test_a_lora_keeps_the_order_and_a_stock_model_is_left_alone(comfy, models):
    import comfy.model_management

    base = models[0]
    clone = base.clone()
    assert clone.get_model_object("concat_keys") == ("masked_image", "mask_inverted")
    comfy.model_management.load_models_gpu([clone])
    assert base.model.concat_keys == ("masked_image", "mask_inverted")
    comfy.model_management.unload_all_models()
    assert base.model.concat_keys == ("mask", "masked_image"), "a patch, not a change of the shared model"


def test_the_contexts_are_those_of_diffusers(models, encode, door, small):
    """The vision tower is kept in 16 bit by the host: these weights fit into it."""
    (positive, negative) = encode()
    (ours, _), (null, _) = positive[0], negative[0]
    theirs, theirs_null = door.contexts(EXEMPLAR)
    assert ours.shape == null.shape == (1, 1, 48)
    assert parts.relative(ours, theirs) <= 1e-4 and torch.equal(null, theirs_null)
    assert torch.equal(null, small[1]["image_encoder"].uncond_vector)
    pixels = door.image_encoder.config.image_size
    picture = (torch.rand(1, pixels, pixels, 3) * 255).round() / 255
    shift, scale = (torch.tensor(parts.PIXELS[f"image_{name}"]) for name in ("mean", "std"))
    with torch.no_grad():
        direct = small[1]["image_encoder"](((picture - shift) / scale).movedim(-1, 1))
    assert parts.relative(encode(picture)[0][0][0], direct) <= 1e-4


@pytest.mark.parametrize("views,tokens", [("average", 1), ("concatenate", 3)])
def test_several_pictures_are_views_of_one_object(encode, door, condition, sample, views, tokens):
    pictures = torch.rand(3, 40, 60, 3, generator=torch.Generator().manual_seed(4))
    positive, negative = encode(pictures, views=views)
    ours, null = positive[0][0], negative[0][0]
    assert ours.shape == null.shape == (1, tokens, 48)
    theirs, theirs_null = door.contexts(list(pictures), views=views)
    assert parts.relative(ours, theirs) <= 1e-4 and torch.equal(null, theirs_null)
    assert sample(condition((positive, negative)), steps=2).shape == (1, 4, 10, 12)


def test_views_that_are_alike_are_one_picture(encode, condition, sample):
    thrice = condition(encode(EXEMPLAR.repeat(3, 1, 1, 1), views="concatenate"))
    assert parts.relative(sample(thrice, steps=4), sample(condition(), steps=4)) <= 1e-4


@pytest.mark.parametrize(
    "settings",
    [dict(framing="crop"), dict(framing="pad", background="white"), dict(background="mean", margin=3)],
    ids=["crop", "pad", "mean"],
)
def test_both_doors_prepare_the_exemplar_alike(encode, door, settings):
    ours = encode(mask=EXEMPLAR_MASK, **settings)[0][0][0]
    assert parts.relative(ours, door.contexts(EXEMPLAR, EXEMPLAR_MASK, **settings)[0]) <= 1e-4
    assert parts.relative(ours, encode()[0][0][0]) > 1e-3


# whole runs


def test_twelve_stock_ddim_steps_are_the_reference_loop(models, condition, encode, sample, small):
    networks = small[1]
    made = sample(condition())
    scene, mask = inpainting.pad_scene(SCENE, MASK)
    timesteps = parts.ddim_timesteps(12)
    noise = torch.randn(1, 4, 10, 12, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        hole = (2 * scene - 1).movedim(-1, 1) * (1 - mask[:, None])
        shown = networks["vae"].encode(hole).latent_dist.mode() * 0.18215
        keep = 1 - torch.nn.functional.interpolate(mask[:, None], (10, 12), mode="bilinear").round()

        def predict(x, step, context):
            return networks["unet"](x, step, encoder_hidden_states=context).sample

        (exemplar, _), (null, _) = encode()[0][0], encode()[1][0]
        start = noise * float(models[0].model.model_sampling.sigmas[timesteps[-1]])
        start = start / (1 + models[0].model.model_sampling.sigmas[timesteps[-1]] ** 2).sqrt()  # the host's first step
        x = parts.reference_loop(predict, start, shown, keep, exemplar, null, 5.0, timesteps, last=1.0)
    assert parts.relative(made * 0.18215, x) <= 1e-3


def test_both_doors_paint_the_same(condition, sample, door):
    made = sample(condition(), sampler_name="euler", scheduler="normal", steps=8)
    alone = door(SCENE, MASK, EXEMPLAR, steps=8, sampler="euler", similarity=5.0, seed=3)
    assert parts.relative(made, alone.latents) <= 1e-3


def test_guidance_is_the_similarity(encode, condition, sample):
    """cfg 1 is the exemplar alone, and the null then plays no part; strength 0 is the null."""
    one = sample(condition(), cfg=1.0, steps=3)
    positive, negative = encode()
    other = [[torch.randn_like(negative[0][0]), {}]]
    assert parts.relative(sample(condition((positive, other)), cfg=1.0, steps=3), one) <= 1e-5
    assert parts.relative(sample(condition((positive, other)), cfg=5.0, steps=3), sample(condition(), steps=3)) > 1e-3
    assert torch.allclose(encode(strength=0.0)[0][0][0], negative[0][0], atol=1e-6)


def test_a_scene_of_odd_size_comes_back_at_its_size(comfy, models, condition, sample):
    latent = sample(condition(), steps=1)
    assert latent.shape == (1, 4, 10, 12)
    (image,) = comfy("SceneDecode", latent={"samples": latent}, vae=models[1], scene=SCENE)
    assert image.shape == SCENE.shape


def test_a_batch_is_its_single_runs(encode, condition, sample):
    two = condition(encode(torch.cat([EXEMPLAR, EXEMPLAR.flip(2)])))
    assert two[2]["samples"].shape == (2, 4, 10, 12) and not two[2]["samples"].any()
    both = sample(two, steps=2)
    assert parts.relative(both[:1], sample(condition(), steps=2)) <= 1e-4
    masks = condition(mask=torch.cat([MASK, MASK.flip(2)]))
    assert sample(masks, steps=1).shape[0] == 2


# layouts


def test_a_checkpoint_is_the_folder(comfy, models, small, encode, condition, sample, monkeypatch):
    """Small: the sizes that a file does not tell are the folder's. The real ones are in the real-size test."""
    from visual_insertion_pack.nodes.host import paint_by_example_models as host

    folder, networks = small
    monkeypatch.setattr(host, "SD14", parts.UNET)
    monkeypatch.setattr(host, "VIT_L", host.VIT_L | parts.VISION)
    monkeypatch.setattr(host, "vae_of", lambda files: models[1])
    path = comfy.base / "models" / "checkpoints" / FILE
    path.parent.mkdir(exist_ok=True)
    save_file(parts.ldm_state(networks["image_encoder"], networks["unet"]), path)
    try:
        model, vae, vision, encoder = comfy("PaintByExampleLoader", name=FILE)
    finally:
        path.unlink()
    given = comfy("PaintByExampleEncode", clip_vision=vision, exemplar_encoder=encoder, image=EXEMPLAR)
    assert all(torch.equal(ours[0][0], theirs[0][0]) for ours, theirs in zip(given, encode(), strict=True))
    assert torch.equal(sample(condition(given), model, steps=2), sample(condition(), steps=2))


def test_only_the_exemplar_encoder_is_kept_beside_the_stock_parts(models, small):
    kept = sum(tensor.numel() for tensor in models[3].module.state_dict().values())
    everything = small[1]["image_encoder"].state_dict()
    assert kept == sum(tensor.numel() for name, tensor in everything.items() if not name.startswith("model."))


def test_a_folder_of_pickles_is_the_same(comfy, models, small, encode):
    folder, networks = small
    copy = folder.parent / "pickled"
    shutil.copytree(folder, copy)
    try:
        for file in copy.rglob("*.safetensors"):
            stem = "pytorch_model" if file.parent.name == "image_encoder" else file.stem
            if file.parent.name == "vae":  # of a size that only a config tells: stays
                continue
            torch.save(load_file(file), file.with_name(f"{stem}.bin"))
            file.unlink()
        model, _, vision, encoder = comfy("PaintByExampleLoader", name="pickled")
    finally:
        shutil.rmtree(copy)
    given = comfy("PaintByExampleEncode", clip_vision=vision, exemplar_encoder=encoder, image=EXEMPLAR)
    assert torch.equal(given[0][0][0], encode()[0][0][0])
    weights, ours = models[0].model.diffusion_model.state_dict(), model.model.diffusion_model.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in weights.items())


# bad input


BAD = {
    "an empty mask": (dict(mask=MASK * 0), "The mask is empty"),
    "Load Image's mask of a picture without alpha": (dict(mask=torch.zeros(1, 64, 64)), "The mask is empty"),
    "a mask of ones": (dict(mask=MASK * 0 + 1), "The mask covers the whole scene"),
    "a mask of another size": (dict(mask=MASK[:, :64, :64]), "The mask is 64x64 px, the scene 90x75 px"),
    "NaN in the mask": (dict(mask=MASK * NAN), "The mask holds values that are not finite"),
    "NaN in the scene": (dict(image=SCENE * NAN), "The scene holds values that are not finite"),
    "two scenes, three masks": (dict(image=SCENE.repeat(2, 1, 1, 1), mask=MASK.repeat(3, 1, 1)),
                                "The batches do not pair up: 2 scenes, 3 masks"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "error"), BAD.values(), ids=BAD)
def test_bad_scenes_and_masks_are_refused(condition, change, error):
    with pytest.raises(ValueError) as caught:
        condition(**change)
    assert str(caught.value).startswith(error)


def test_a_mask_of_one_pixel_needs_the_cells_it_touches(condition):
    dot = MASK * 0
    dot[:, 41, 41] = 1
    with pytest.raises(ValueError, match="The mask is too thin"):
        condition(mask=dot)
    positive, _, _ = condition(mask=dot, mask_resize="touched")
    assert positive[0][1]["concat_mask"].sum() == 1


def test_bad_exemplars_are_refused(comfy, encode, models):
    with pytest.raises(ValueError, match="holds values that are not finite"):
        encode(EXEMPLAR * NAN)
    with pytest.raises(ValueError, match="too small"):
        encode(EXEMPLAR[:, :1, :1])
    unpainted = encode(mask=EXEMPLAR_MASK * 0)[0][0][0]
    assert torch.equal(unpainted, encode(mask=None)[0][0][0])
    playroom = comfy("PlayroomModels")
    with pytest.raises(ValueError, match="reads pooled vectors of width 64, but the vision encoder gives width 128"):
        inputs = dict(clip_vision=playroom[2], exemplar_encoder=models[3], image=EXEMPLAR)
        comfy("PaintByExampleEncode", **inputs)


def test_a_vae_of_another_kind_is_refused(comfy, encode):
    class Vae:
        def encode(self, pixels):
            return torch.zeros(len(pixels), 16, 2, 2)

    positive, negative = encode()
    inputs = dict(positive=positive, negative=negative, vae=Vae(), image=SCENE, mask=MASK)
    with pytest.raises(ValueError, match="Connect the VAE that belongs to the model"):
        comfy("PaintByExampleConditioning", **inputs)


def test_another_base_model_is_refused(comfy, small):
    path = comfy.base / "models" / "checkpoints" / FILE
    path.parent.mkdir(exist_ok=True)
    whole = parts.ldm_state(small[1]["image_encoder"], small[1]["unet"])
    try:
        save_file({name: tensor for name, tensor in whole.items() if name != "learnable_vector"}, path)
        with pytest.raises(ValueError, match="is another inpainting model"):
            comfy("PaintByExampleLoader", name=FILE)
        save_file(whole, path)
        with pytest.raises(ValueError, match="is not of Stable Diffusion 1.4's size: 32 channels"):
            comfy("PaintByExampleLoader", name=FILE)  # small, and a file does not say so
    finally:
        path.unlink()


def test_a_missing_model_is_named_before_the_run(comfy, small):
    loader = comfy.nodes.NODE_CLASS_MAPPINGS["PaintByExampleLoader"]
    said = loader.validate_inputs(name="gone.ckpt")
    assert said.startswith("There is no model 'gone.ckpt'. Folders searched: ")
    assert loader.validate_inputs(name=None) is True
    assert loader.validate_inputs(name=NAME) is True


# the playroom


def test_the_playroom_models_paint(comfy):
    model, vae, vision, encoder = comfy("PaintByExamplePlayroomModels")
    positive, negative = comfy("PaintByExampleEncode", clip_vision=vision, exemplar_encoder=encoder, image=EXEMPLAR)
    scene, mask = torch.rand(1, 128, 128, 3), torch.zeros(1, 128, 128)
    mask[:, 40:90, 40:90] = 1
    inputs = dict(positive=positive, negative=negative, vae=vae, image=scene, mask=mask)
    positive, negative, latent = comfy("PaintByExampleConditioning", **inputs)
    settings = dict(seed=3, steps=4, cfg=3.0, sampler_name="euler", scheduler="normal", denoise=1.0)
    inputs = dict(model=model, positive=positive, negative=negative, latent_image=latent)
    (made,) = comfy("KSampler", **inputs, **settings)
    door = PaintByExamplePipeline.from_folder(PLAYROOM)
    alone = door(scene, mask, EXEMPLAR, steps=4, sampler="euler", similarity=3.0, seed=3)
    assert parts.relative(made["samples"], alone.latents) <= 1e-3
