"""Local regions and mask tools in the real host: an object appears in its window, and nowhere else a bit changes."""

import pytest
import torch
from PIL import Image

from visual_insertion_pack.pipelines.playroom.judging import oracle
from visual_insertion_pack.pipelines.playroom.world import dataset

ROOMS, SIDE = 4, 256  # a scene of 4 x 4 rooms, 1024 px
SAMPLING = dict(seed=1, steps=12, sampler_name="euler_ancestral", scheduler="normal", denoise=1.0)


@pytest.fixture(scope="module")
def truth():
    return dataset.render_arrays(dataset.VALIDATION_SEEDS[: ROOMS * ROOMS], views=1)


@pytest.fixture(scope="module")
def scene(truth):
    """[1,1024,1024,3]: sixteen rooms of the playroom, each enlarged to 256 px."""
    rooms = torch.from_numpy(truth["scene"]).float().movedim(-1, 1) / 255
    rooms = torch.nn.functional.interpolate(rooms, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    rows = [torch.cat(list(rooms[ROOMS * row : ROOMS * (row + 1)]), -1) for row in range(ROOMS)]
    return torch.cat(rows, -2).movedim(0, -1)[None].contiguous()


@pytest.fixture(scope="module")
def toys(comfy, truth):
    """(sampler inputs, vae): the playroom's models looking at one object."""
    model, vae, clip_vision, optimizer = comfy("PlayroomModels")
    thing = torch.from_numpy(truth["objects"][0, :1]).float() / 255
    (seen,) = comfy("ObjectImageEncode", clip_vision=clip_vision, image=thing)
    positive, negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)
    (guidance,) = comfy("GuidanceControl", object_scale=2.5, scene_scale=1.2)
    return dict(model=model, vae=vae, positive=positive, negative=negative, guidance=guidance), vae


def middle_of(room):
    """The box of half a room's side in its middle: expanded by half, it is the whole room."""
    quarter = SIDE // 4
    return dict(
        x=room % ROOMS * SIDE + quarter, y=room // ROOMS * SIDE + quarter, width=2 * quarter, height=2 * quarter
    )


def crop(comfy, scene, **changes):
    """(crops, their masks, LOCAL_REGION)."""
    settings = dict(expansion=0.5, working_size=128, regions="together") | changes
    return comfy("LocalRegionCrop", image=scene, **settings)[:3]


def insert(comfy, toys, cropped, **changes):
    inputs, vae = toys
    latent, _ = comfy("ImageConditionedPix2PixSampler", **inputs, scene=cropped, **SAMPLING | changes)
    return comfy("SceneDecode", latent=latent, vae=vae, scene=cropped)[0]


def paste(comfy, region, image, **changes):
    settings = dict(feather=16, colour_match=0.0, area="changes") | changes
    return comfy("LocalRegionPaste", local_region=region, image=image, **settings)


def found(truth, room, result):
    """What the playroom's oracle finds in a room of the result, at the playroom's own size."""
    y, x = room // ROOMS * SIDE, room % ROOMS * SIDE
    planes = result[:, y : y + SIDE, x : x + SIDE].movedim(-1, 1)
    seen = torch.nn.functional.interpolate(planes, (128, 128), mode="bilinear", antialias=True).movedim(1, -1)
    picture = (seen[0].clamp(0, 1) * 255).round().byte().numpy()
    return oracle.find(picture, truth["scene"][room])


@pytest.mark.parametrize("area", ["changes", "window"])
@pytest.mark.parametrize("room", [0, 6, 15])  # a corner, the middle, the opposite corner
def test_an_object_appears_in_its_window_and_nowhere_else(comfy, truth, scene, toys, room, area, artifacts):
    before = scene.clone()
    cropped, _, region = crop(comfy, scene, **middle_of(room))
    result, changed = paste(comfy, region, insert(comfy, toys, cropped), area=area)
    ((_, window),) = region.places
    assert (window.width, window.height) == (SIDE, SIDE)
    outside = torch.ones(scene.shape[:3], dtype=torch.bool)
    outside[0][window.area] = False
    assert not changed[outside].any()
    assert torch.equal(result[changed == 0], scene[changed == 0])
    assert torch.equal(scene, before)
    finding = found(truth, room, result)
    assert finding is not None and finding.mask.sum() > 150
    shown = (result[0].clamp(0, 1) * 255).round().byte().numpy()
    Image.fromarray(shown).save(artifacts / f"local_region_{area}_{room}.png")


@pytest.mark.parametrize("speed", ["balanced", "fast"])
def test_an_object_is_made_fast_in_a_window_too(comfy, truth, scene, toys, speed):
    cropped, crop_mask, region = crop(comfy, scene, **middle_of(6))
    edited = insert(comfy, toys, cropped, mask=crop_mask, speed=speed)
    result, changed = paste(comfy, region, edited)
    assert torch.equal(result[changed == 0], scene[changed == 0])
    assert found(truth, 6, result) is not None


def test_by_changes_most_of_the_window_stays_bit_equal(comfy, scene, toys):
    cropped, _, region = crop(comfy, scene, **middle_of(6))
    edited = insert(comfy, toys, cropped)
    _, by_changes = paste(comfy, region, edited)
    _, by_window = paste(comfy, region, edited, area="window")
    assert 0 < (by_changes > 0).sum() < 0.6 * (by_window > 0).sum()


def test_each_of_several_regions_gets_its_object(comfy, truth, scene, toys):
    mask = torch.zeros(1, ROOMS * SIDE, ROOMS * SIDE)
    rooms = (5, 10)
    for room in rooms:
        box = middle_of(room)
        mask[0, box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]] = 1
    cropped, crop_mask, region = crop(comfy, scene, mask=mask, regions="each")
    assert cropped.shape == (2, 128, 128, 3) and crop_mask.shape == (2, 128, 128)
    result, changed = paste(comfy, region, insert(comfy, toys, cropped))
    assert torch.equal(result[changed == 0], scene[changed == 0])
    assert all(found(truth, room, result) is not None for room in rooms)


def test_the_crop_s_mask_goes_into_the_sampler(comfy, truth, scene, toys):
    cropped, crop_mask, region = crop(comfy, scene, **middle_of(6))
    edited = insert(comfy, toys, cropped, mask=crop_mask)
    result, changed = paste(comfy, region, edited, area="mask", feather=8)
    box = middle_of(6)
    (mask,) = comfy("BoxToMask", image=scene, **box)
    assert torch.equal(changed > 0, mask > 0)
    middle = changed[0, box["y"] + 8 : box["y"] + box["height"] - 8, box["x"] + 8 : box["x"] + box["width"] - 8]
    assert (middle == 1).all()
    assert torch.equal(result[changed == 0], scene[changed == 0])


def test_stock_nodes_work_between_crop_and_paste(comfy, scene, toys):
    """The host's own inpainting steps and upscaler take the crop and its mask; the paste takes what they give."""
    cropped, crop_mask, region = crop(comfy, scene, **middle_of(6))
    (latent,) = comfy("VAEEncode", pixels=cropped, vae=toys[1])
    (latent,) = comfy("SetLatentNoiseMask", samples=latent, mask=crop_mask)
    (image,) = comfy("VAEDecode", samples=latent, vae=toys[1])
    (image,) = comfy("ImageScaleBy", image=image, upscale_method="lanczos", scale_by=2.0)
    result, changed = paste(comfy, region, image, area="mask")
    assert changed.any() and torch.equal(result[changed == 0], scene[changed == 0])


def test_regions_one_after_another_do_not_drift(comfy, scene):
    result = scene
    for room in range(4):
        cropped, _, region = crop(comfy, result, **middle_of(room))
        result, changed = paste(comfy, region, cropped * 0.5, area="window")
    assert torch.equal(result[:, SIDE:], scene[:, SIDE:])


def test_a_scene_larger_than_its_region_is_not_required(comfy):
    small = torch.rand(1, 37, 53, 3, generator=torch.Generator().manual_seed(0))
    cropped, crop_mask, region = crop(comfy, small, width=53, height=37)
    assert cropped.shape == (1, 88, 128, 3) and (crop_mask == 1).all()
    result, changed = paste(comfy, region, torch.zeros_like(cropped), area="window")
    assert result.shape == small.shape and (result == 0).all() and (changed == 1).all()


def test_box_to_mask(comfy):
    image = torch.zeros(2, 40, 60, 3)
    (mask,) = comfy("BoxToMask", image=image, x=50, y=10, width=20, height=5)
    assert mask.shape == (1, 40, 60) and mask.dtype == torch.float32
    assert mask.sum() == 50 and (mask[0, 10:15, 50:] == 1).all()


def test_arbitrary_mask_follows_its_seed_and_its_mask(comfy):
    image = torch.zeros(1, 256, 256, 3)
    box = dict(x=80, y=90, width=70, height=60)
    first, again, other = (comfy("ArbitraryMask", image=image, seed=seed, **box)[0] for seed in (1, 1, 2))
    assert first.shape == (1, 256, 256) and set(first.unique().tolist()) == {0, 1}
    assert torch.equal(first, again) and not torch.equal(first, other)
    (plain,) = comfy("BoxToMask", image=image, **box)
    assert torch.equal(comfy("ArbitraryMask", image=image, seed=1, mask=plain)[0], first)
    (batch,) = comfy("ArbitraryMask", image=image, seed=1, mask=plain.repeat(3, 1, 1))
    assert batch.shape == (3, 256, 256) and not torch.equal(batch[0], batch[1])
    (still,) = comfy("ArbitraryMask", image=image, seed=1, extension=0.0, jitter=0, **box)
    assert (still * (1 - plain)).sum() == 0 and still.sum() > 0.95 * plain.sum()


def test_an_arbitrary_mask_is_a_region(comfy, scene):
    (mask,) = comfy("ArbitraryMask", image=scene, seed=4, x=300, y=300, width=100, height=80)
    cropped, crop_mask, region = crop(comfy, scene, mask=mask, expansion=1.0)
    result, changed = paste(comfy, region, torch.zeros_like(cropped), area="mask", feather=0)
    assert torch.equal(changed, mask)
    assert torch.equal(result, scene * (1 - mask[..., None]))
