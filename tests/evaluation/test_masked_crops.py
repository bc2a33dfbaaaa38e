"""The scores of InsertSet's scripts: the mask's contents on nothing against the reference."""

import numpy as np
import pytest
import torch
from PIL import Image

from visual_insertion_pack.pipelines.evaluation import cases, metrics
from visual_insertion_pack.pipelines.evaluation.backbones import Backbones, load_backbones
from visual_insertion_pack.pipelines.evaluation.case_metrics import measure_case
from visual_insertion_pack.pipelines.evaluation.masked_crops import masked_square
from visual_insertion_pack.tests import evaluation_parts as parts

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return parts.save_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def backbones(folders):
    return load_backbones({name: folders[name] for name in ("clip_b32", "dinov2")})


def normal(picture):
    return (np.asarray(picture, np.float64) / 255 - MEAN) / STD


def by_the_script(result, mask):
    """test_bench_dataset.py's TestImageDataset in NumPy, on the mask's box and square to the pixel: [224,224,3]."""
    pixels = normal(result) * mask[..., None]
    rows, columns = np.nonzero(mask)
    crop = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    side = max(crop.shape[:2])
    square = np.zeros((side, side, 3))
    top, left = -(-(side - crop.shape[0]) // 2), -(-(side - crop.shape[1]) // 2)
    square[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    at = np.clip((np.arange(224) + 0.5) * side / 224 - 0.5, 0, side - 1)  # bilinear, no antialiasing
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, side - 1)
    part = at - low
    lines = square[low] * (1 - part)[:, None, None] + square[high] * part[:, None, None]
    return lines[:, low] * (1 - part)[None, :, None] + lines[:, high] * part[None, :, None]


def ellipse(size, wide, high):
    rows, columns = np.mgrid[: size[1], : size[0]]
    return ((columns - size[0] / 2) / wide) ** 2 + ((rows - size[1] / 2) / high) ** 2 < 1


@pytest.mark.parametrize(("wide", "high"), [(40, 40), (17, 60), (100, 33), (150, 140)])
def test_the_crop_is_the_scripts(wide, high):
    picture = parts.picture(3, (320, 300))
    mask = ellipse(picture.size, wide, high)
    ours = masked_square(picture, mask, 224).movedim(0, -1).numpy()
    assert np.abs(ours - by_the_script(picture, mask)).max() < 1e-4


def test_scores_are_cosines_with_the_reference_times_a_hundred(backbones, folders):
    from transformers import CLIPModel, Dinov2Model

    scene, reference = parts.picture(1, (320, 300)), parts.picture(2, (90, 50))
    mask = ellipse(scene.size, 40, 90)
    case = cases.Case("one", scene, (parts.picture(5),), mask=mask, reference=reference)
    row = measure_case(case, {"it": scene}, backbones)["it"]
    pair = np.stack([normal(reference.resize((224, 224), Image.Resampling.BICUBIC)), by_the_script(scene, mask)])
    pixels = torch.from_numpy(pair).float().movedim(-1, 1)
    with torch.no_grad():
        clip = CLIPModel.from_pretrained(folders["clip_b32"]).get_image_features(pixel_values=pixels)
        dino = Dinov2Model.from_pretrained(folders["dinov2"])(pixel_values=pixels).pooler_output
    for metric, vectors in (("masked_clip", getattr(clip, "pooler_output", clip)), ("masked_dinov2", dino)):
        expected = 100 * float(torch.cosine_similarity(vectors[:1], vectors[1:]))
        assert row[metric] == pytest.approx(expected, abs=1e-3)


def test_without_a_reference_the_object_pictures_count_alike(backbones):
    scene = parts.picture(1, (320, 300))
    mask = ellipse(scene.size, 40, 90)
    views = parts.picture(2, (90, 50)), parts.picture(3, (60, 70))
    corner = np.zeros((70, 60), bool)
    corner[10:50, 5:30] = True
    masks = np.ones((50, 90), bool), corner

    def score(**shown):
        return measure_case(cases.Case("one", scene, mask=mask, **shown), {"it": scene}, backbones)["it"]["masked_clip"]

    alone = [score(objects=views, reference=view) for view in (views[0], views[1].crop((5, 10, 30, 50)))]
    assert score(objects=views, object_masks=masks) == pytest.approx(np.mean(alone), abs=1e-3)


def test_what_is_outside_the_mask_does_not_count_and_what_is_inside_does(backbones):
    scene = parts.picture(1, (96, 80))
    mask = ellipse(scene.size, 20, 30)
    outside, inside = (np.array(scene) for _ in range(2))
    outside[~mask] = 7
    inside[mask] = 7
    pictures = {"scene": scene, "outside": Image.fromarray(outside), "inside": Image.fromarray(inside)}
    case = cases.Case("one", scene, (parts.picture(2),), mask=mask)
    rows = measure_case(case, pictures, backbones)
    for metric in ("masked_clip", "masked_dinov2"):
        assert rows["outside"][metric] == rows["scene"][metric] != rows["inside"][metric]


def test_they_need_a_backbone_a_mask_and_a_picture_of_the_object(backbones):
    scene = parts.picture(1)
    mask = ellipse(scene.size, 20, 30)
    shown = cases.Case("one", scene, (parts.picture(2),), mask=mask)
    told = cases.Case("two", scene, mask=mask, instruction="add a ball")
    placeless = cases.Case("three", scene, (parts.picture(2),))
    for case, networks in ((shown, Backbones()), (told, backbones), (placeless, backbones)):
        assert not any(name.startswith("masked") for name in measure_case(case, {"it": scene}, networks)["it"])
    needs = {metric.name: metric.needs for metric in metrics.PER_CASE if metric.name.startswith("masked")}
    assert needs == {"masked_clip": "clip_b32", "masked_dinov2": "dinov2"}


def test_a_reference_alone_is_no_case():
    with pytest.raises(ValueError, match="Case one has a reference picture, but no other picture of its object"):
        cases.Case("one", parts.picture(1), reference=parts.picture(2), instruction="add a ball")
