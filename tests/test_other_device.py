"""What a script hands over may lie on a GPU, all of it or some: the result is that of the CPU, or a sentence."""

import pytest
import torch

from visual_insertion_pack.pipelines.fitting.fit import fit_for_edit, undo_fit
from visual_insertion_pack.pipelines.layers.matting import object_layers, separate, separate_batch
from visual_insertion_pack.pipelines.local_region.cutting import cut
from visual_insertion_pack.pipelines.local_region.edit import edit_region
from visual_insertion_pack.pipelines.local_region.pasting import AREAS, paste
from visual_insertion_pack.pipelines.local_region.windows import CHOICES
from visual_insertion_pack.pipelines.paint_by_example.exemplar_picture import exemplar_pictures
from visual_insertion_pack.pipelines.paint_by_example.inpainting import (
    binary_mask,
    latent_mask,
    masked_scene,
    pad_scene,
)
from visual_insertion_pack.pipelines.pictures.masks import boxes_mask, chosen_boxes, mask_in_boxes, touched_cells
from visual_insertion_pack.pipelines.pictures.objects import prepare_object
from visual_insertion_pack.pipelines.pictures.scene import check_scene, crop_to, pad_to_multiple, with_alpha
from visual_insertion_pack.pipelines.placement.cutouts import cut_outs
from visual_insertion_pack.pipelines.placement.place import place
from visual_insertion_pack.pipelines.restoration.copies import reports_with_copies
from visual_insertion_pack.pipelines.restoration.restore import MASK_USES, restore
from visual_insertion_pack.pipelines.sampling.guidance import Guidance, Scales, combine
from visual_insertion_pack.pipelines.sampling.kept_scene import restore_kept
from visual_insertion_pack.pipelines.sampling.relevance import Relevance
from visual_insertion_pack.tests.other_device import gpu
from visual_insertion_pack.tests.restoration_parts import edit

BOX = (30, 20, 90, 80)


@pytest.fixture(scope="module")
def still():
    """A photograph, and what an editor made of it."""
    return edit(side=128)


def tensors_of(result):
    """All tensors in a result, depth first."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, dict):
        return tensors_of(list(result.values()))
    if isinstance(result, (list, tuple)):
        return [tensor for one in result for tensor in tensors_of(one)]
    if hasattr(result, "__dataclass_fields__"):
        return tensors_of([getattr(result, name) for name in result.__dataclass_fields__])
    return []


def differences(function, *values):
    """What goes wrong where some of the tensors lie on a GPU: (which do, the error or the distance)."""
    expected = tensors_of(function(*values))
    wrong = []
    first = (True, *[False] * (len(values) - 1))
    for there in {first, tuple(not one for one in first), (True,) * len(values)} - {(False,) * len(values)}:
        with gpu() as device:
            moved = [one.to(device) if on_gpu else one for one, on_gpu in zip(values, there, strict=True)]
            try:
                result = tensors_of(function(*moved))
            except (RuntimeError, TypeError) as error:
                wrong.append((there, f"{type(error).__name__}: {error}"))
                continue
            plain = [one.cpu() for one in result]
        distance = max(float((a.double() - b.double()).abs().max()) for a, b in zip(plain, expected, strict=True))
        if distance > 1e-3:
            wrong.append((there, distance))
    return wrong


def test_the_pretended_device_refuses_what_a_gpu_refuses():
    with gpu() as device:
        there = torch.rand(3, 4).to(device)
        assert there.device.type == device.type == (there + there).device.type != there.cpu().device.type
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3, 4)
        with pytest.raises((RuntimeError, TypeError), match="numpy"):
            there.numpy()


@pytest.mark.parametrize("use", MASK_USES)
def test_restoring_takes_tensors_of_any_device(still, use):
    mask = torch.ones(1, *still.scene.shape[1:3])
    relevance = mask / 2

    def restored(scene, edited, mask, round_trip, relevance):
        return restore(scene, edited, mask=mask, mask_use=use, round_trip=round_trip, relevance=relevance)

    assert differences(restored, still.scene, still.edited, mask, still.scene, relevance) == []


def test_restoring_takes_an_editors_scene_and_an_objects_picture_of_any_device(still):
    def reported(scene, edited, editor_scene, picture):
        restored = restore(scene, edited, editor_scene=editor_scene)
        return restored, [torch.tensor(len(one.text())) for one in reports_with_copies(restored, picture)]

    assert differences(reported, still.scene, still.edited, still.scene, still.edited[:, 10:80, 20:90]) == []


def test_layers_take_tensors_of_any_device(still):
    restored = restore(still.scene, still.edited)
    values = (still.scene, restored.images, restored.objects, restored.effect)
    assert differences(separate_batch, *values) == []
    assert differences(object_layers, *values) == []
    assert differences(separate, *(one[0] for one in values)) == []
    assert differences(lambda *one: separate(*one).recompose(), *(one[0] for one in values)) == []


def test_placing_takes_tensors_of_any_device(still):
    picture = still.edited[:, 10:80, 20:90]
    mask = torch.zeros(1, 70, 70)
    mask[:, 10:60, 15:50] = 1
    assert differences(cut_outs, picture, mask) == []
    assert differences(lambda scene, *thing: place(scene, *thing, [[BOX]]), still.scene, picture, mask) == []
    cut_out = torch.cat([picture, mask[..., None]], -1)
    assert differences(lambda scene, thing: place(scene, thing, None, [[BOX]]), still.scene, cut_out) == []


@pytest.mark.parametrize("method", ["pad", "crop"])
def test_fitting_and_back_takes_tensors_of_any_device(still, method):
    mask = torch.zeros(1, *still.scene.shape[1:3])
    mask[:, 30:70, 60:100] = 1

    def there_and_back(scene, mask, edited):
        fitted, masks, fit = fit_for_edit(scene, mask, model="FLUX.1 Kontext", method=method)
        return fitted, masks, undo_fit(fitted, fit), undo_fit(edited, fit)

    fitted = fit_for_edit(still.scene, model="FLUX.1 Kontext", method=method)[0]
    assert differences(there_and_back, still.scene, mask, fitted) == []


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("area", AREAS)
def test_a_local_region_takes_tensors_of_any_device(still, area, choice):
    mask = torch.zeros(1, *still.scene.shape[1:3])
    mask[:, 30:70, 60:100] = 1

    def pasted(scene, mask, edited, target):
        region, masks = cut(scene, mask, working_size=96, choice=choice)
        return masks, paste(region, edited, area=area, match=0.5, scene=target)

    crop = cut(still.edited, mask, working_size=96)[0].crops
    assert differences(pasted, still.scene, mask, crop, still.scene) == []


def test_a_region_around_boxes_takes_tensors_of_any_device(still):
    def edited(scene):
        return edit_region(scene, lambda crop, _: crop.flip(-1), box=BOX, working_size=96)

    assert differences(edited, still.scene) == []
    mask = torch.ones(1, *still.scene.shape[1:3])
    assert differences(lambda scene, mask: cut(scene, mask, [[BOX]]), still.scene, mask) == []


def test_what_encoders_and_samplers_are_given_takes_tensors_of_any_device(still):
    mask = torch.zeros(1, *still.scene.shape[1:3])
    mask[:, 30:70, 60:100] = 1

    def prepared(scene, mask):
        picture = prepare_object(scene, mask, framing="pad", background="mean")
        exemplars = exemplar_pictures(scene, mask, framing="squash", background="mean", margin=10)
        hole = binary_mask(mask, check_scene(scene))
        padded, hole = pad_scene(scene, hole)
        return picture, exemplars, masked_scene(padded, hole), latent_mask(hole, "nearest"), touched_cells(mask, 8)

    assert differences(prepared, still.scene, mask) == []


def test_boxes_and_masks_meet_on_any_device(still):
    mask = torch.zeros(1, *still.scene.shape[1:3])
    mask[:, 30:70, 60:100] = 1
    boxes = {"x": 50, "y": 20, "width": 70, "height": 60}

    def chosen(scene, mask):
        inside = mask_in_boxes(scene, mask, boxes, count=1)
        found = chosen_boxes(scene, mask, boxes, BOX)
        return inside, boxes_mask(found, *scene.shape[1:3])

    assert differences(chosen, still.scene, mask) == []


def test_padding_and_alpha_meet_on_any_device(still):
    scene = torch.cat([still.scene, still.scene[..., :1]], -1)

    def padded(scene, pictures):
        return with_alpha(crop_to(pad_to_multiple(pictures, 64), *scene.shape[1:3], 64), scene)

    assert differences(padded, scene, still.edited) == []


def test_guidance_and_relevance_stay_on_a_device():
    latents = [torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]

    def guided(*latents):
        guidance = Guidance(object_rescale=0.5, scene_rescale=0.5)
        predictions = dict(zip(("empty", "scene", "full"), latents, strict=True))
        relevance = Relevance()
        for sigma in (5.0, 1.0, 0.2):
            relevance.add(sigma, lambda percent: 14.6 * (1 - percent), predictions)
        combined = combine(guidance, Scales(7.5, 1.5), predictions)
        kept = restore_kept(combined, latents[0], (latents[1][:, :1] > 0).float())
        return combined, kept, relevance.masks((2, 64, 64), 8, None)

    with gpu() as device:
        there = guided(*(one.to(device) for one in latents))
    for one, other in zip(there, guided(*latents), strict=True):
        assert torch.allclose(one.cpu(), other, atol=1e-6)
