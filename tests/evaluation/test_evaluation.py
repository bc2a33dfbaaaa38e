"""Metrics: trivial methods score where they must, and every library's metric is the library's own value."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines import commands
from visual_insertion_pack.pipelines.evaluation import (
    cases,
    cmmd,
    features,
    intervals,
    perceptual_distances,
    pixel_metrics,
    placement,
    protocol,
    report,
)
from visual_insertion_pack.pipelines.evaluation.backbones import Backbones, load_backbones
from visual_insertion_pack.pipelines.evaluation.case_metrics import measure_case
from visual_insertion_pack.pipelines.evaluation.trivial import TRIVIAL_METHODS, paste, unchanged
from visual_insertion_pack.pipelines.evaluation.vae_noise import load_round_trip
from visual_insertion_pack.pipelines.pictures import copies
from visual_insertion_pack.pipelines.pictures.masks import array_box
from visual_insertion_pack.pipelines.playroom.judging import benchmark as playroom_benchmark
from visual_insertion_pack.tests import evaluation_parts as parts

TRIVIAL = ("unchanged", "perfect_copy", "copy_paste", "placed_object", "shuffled_object")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return parts.save_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def backbones(folders):
    return load_backbones(folders)


def table_of(benchmark, backbones, folder, round_trip=None):
    methods = {name: TRIVIAL_METHODS[name](benchmark) for name in TRIVIAL}
    results = {
        name: protocol.make_results(benchmark, name, method, folder / name, {}) for name, method in methods.items()
    }
    return protocol.measure(benchmark, results, backbones, round_trip=round_trip), results


def means_of(table):
    """Mean by method and metric; a metric without a value is left out."""
    return {
        name: {m: np.nanmean(v) for m, v in row.items() if not np.isnan(v).all()} for name, row in table.values.items()
    }


@pytest.fixture(scope="module")
def measured(backbones, tmp_path_factory):
    """(benchmark, table, results) of the trivial methods on discs, all networks random."""
    benchmark = parts.squares()
    return benchmark, *table_of(benchmark, backbones, tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="module")
def discs(measured):
    """(mean by method and metric, table)."""
    return means_of(measured[1]), measured[1]


# What must score how.


def test_a_perfect_copy_is_perfect(discs):
    means, table = discs
    for metric in ("l1", "l1_inside", "l1_outside", "l2", "l2_inside", "l2_outside", "lpips", "lpips_inside"):
        assert means["perfect_copy"][metric] == 0
    for metric in ("clip_i", "clip_i_inside", "clip_i_outside", "dino", "dino_inside", "dino_outside"):
        assert means["perfect_copy"][metric] == pytest.approx(1, abs=1e-6)
    assert means["perfect_copy"]["inclusion"] == means["perfect_copy"]["placement_iou"] == 1
    assert means["perfect_copy"]["placement_distance"] == 0 and means["perfect_copy"]["placement_area"] == 1
    assert table.sets["perfect_copy"]["cmmd"] == pytest.approx(0, abs=1e-9)
    assert all(table.sets[name]["cmmd"] > 1e-6 for name in ("unchanged", "shuffled_object"))


def test_an_unchanged_scene_includes_nothing_and_keeps_its_background(discs):
    means, table = discs
    assert means["unchanged"]["inclusion"] == 0 == means["unchanged"]["copy_paste"]
    assert means["unchanged"]["background_psnr"] == 100
    assert means["unchanged"]["background_ssim"] == pytest.approx(1, abs=1e-4)
    assert means["unchanged"]["background_l1"] == 0 == means["unchanged"]["background_lpips"]
    assert means["unchanged"]["l1_outside"] == 0 < means["unchanged"]["l1"] < means["unchanged"]["l1_inside"]
    for metric in ("placement_iou", "identity_clip_found", "identity_dinov2_found", "copy_paste_score"):
        assert np.isnan(table.values["unchanged"][metric]).all()  # missing, not zero


def test_pasting_has_the_highest_identity_and_is_told(discs):
    means, _ = discs
    for metric in ("identity_clip_true", "identity_dinov2_true"):
        others = max(means[name][metric] for name in ("unchanged", "shuffled_object"))
        assert means["copy_paste"][metric] > others
    assert means["copy_paste"]["copy_paste"] == 1
    assert means["perfect_copy"]["copy_paste"] == 1  # as in PIPE, the object picture is the target's own pixels


def test_another_objects_paste_is_included_but_not_the_object(discs):
    means, _ = discs
    assert means["shuffled_object"]["inclusion"] == 1 and means["shuffled_object"]["copy_paste"] == 0
    assert means["shuffled_object"]["l1_inside"] > means["copy_paste"]["l1_inside"]
    assert means["shuffled_object"]["dino_inside"] < means["copy_paste"]["dino_inside"]
    assert means["shuffled_object"]["identity_dinov2_true"] < means["copy_paste"]["identity_dinov2_true"]


@pytest.fixture(scope="module")
def playroom(tmp_path_factory):
    root = ROOT / "playroom_models"
    benchmark = playroom_benchmark.playroom(root / "judge.safetensors").first(5)
    round_trip = load_round_trip(root / "vae")
    table, _ = table_of(benchmark, Backbones(), tmp_path_factory.mktemp("playroom"), round_trip)
    return benchmark, round_trip, means_of(table)


def test_on_other_views_only_pasting_is_flagged_and_the_oracle_tells_objects_apart(playroom):
    _, _, means = playroom
    assert [means[name]["copy_paste"] for name in TRIVIAL] == [0, 0, 1, 1, 0]
    assert [means[name]["inclusion"] for name in TRIVIAL] == [0, 1, 1, 1, 1]
    assert [means[name]["oracle_inserted"] for name in TRIVIAL] == [0, 1, 1, 1, 1]
    assert means["perfect_copy"]["oracle_identity"] > 0.95 > means["copy_paste"]["oracle_identity"]
    assert means["copy_paste"]["oracle_identity"] > 0.5 > 0.3 > means["shuffled_object"]["oracle_identity"]


@pytest.mark.parametrize("change", ["jpeg", "darker", "mirrored"])
def test_pasting_is_told_through_compression_light_and_mirrors(playroom, tmp_path, change):
    benchmark, _, _ = playroom
    case = benchmark[2]
    mirrored = case.objects[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    result = paste(case, mirrored if change == "mirrored" else case.objects[0], None)
    if change == "jpeg":
        result.save(tmp_path / "a.jpg", quality=75)
        result = Image.open(tmp_path / "a.jpg").convert("RGB")
    if change == "darker":
        result = Image.fromarray((np.asarray(result) * 0.8).astype(np.uint8))
    box = array_box(case.mask)
    assert copies.copy_paste_score(result, box, case.objects[0]) > copies.FLAGGED
    assert copies.copy_paste_score(case.target, box, case.objects[0]) < copies.FLAGGED


def test_neither_what_a_method_left_nor_what_the_vae_did_is_a_change():
    scene, vae_scene, result = (np.full((1, 2, 2, 3), value, np.uint8) for value in (10, 50, 10))
    result[0, 0] = 50
    result[0, 1, 1] = 255
    near = playroom_benchmark.nearest(result, scene, vae_scene)
    assert near[0, :, :, 0].tolist() == [[50, 50], [10, 50]]


def test_results_are_read_upright_and_in_their_own_depth(tmp_path):
    picture = parts.picture(1, (40, 24), 6.0)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by a quarter
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    grey = np.asarray(picture.convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    picture.convert("RGBA").save(tmp_path / "alpha.png")
    read = {path.stem: np.asarray(protocol.read_result(path, (40, 24))) for path in tmp_path.glob("*.png")}
    assert np.array_equal(read["turned"], np.asarray(picture)) and np.array_equal(read["alpha"], np.asarray(picture))
    assert np.array_equal(read["deep"], np.repeat(grey[..., None], 3, axis=2))


# What changed.


def test_what_a_vae_or_jpeg_does_to_a_scene_is_no_insertion(playroom, tmp_path):
    benchmark, round_trip, _ = playroom
    for index in range(len(benchmark)):
        scene = benchmark[index].scene
        vae_scene = round_trip(scene)
        assert placement.inserted_box(vae_scene, scene, vae_scene) is None
        scene.save(tmp_path / "scene.jpg", quality=40)
        assert placement.inserted_box(Image.open(tmp_path / "scene.jpg"), scene) is None


def test_specks_and_a_wholly_new_picture_are_no_object():
    scene = parts.picture(1, (128, 128), 6.0)
    speck = scene.copy()
    speck.paste((255, 0, 0), (50, 50, 52, 52))
    assert placement.inserted_box(speck, scene) is None
    assert placement.inserted_box(Image.new("RGB", (128, 128), (255, 0, 255)), scene) is None
    block = scene.copy()
    block.paste((255, 0, 0), (50, 40, 80, 60))
    box = placement.inserted_box(block, scene)
    assert box and placement.iou(box, (50, 40, 80, 60)) > 0.9


def test_boxes():
    assert placement.iou((0, 0, 4, 4), (2, 0, 6, 4)) == 8 / 24 and placement.iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert placement.distance((0, 0, 2, 2), (3, 4, 5, 6), (30, 40)) == 5 / 50


def test_all_methods_have_one_background_and_changes_elsewhere_count():
    case = parts.squares()[0]
    drifted = Image.fromarray((np.asarray(case.target) * 0.97).astype(np.uint8))
    elsewhere = case.scene.copy()
    elsewhere.paste((255, 0, 0), (70, 55, 90, 75))
    alone = measure_case(case, {"a": drifted}, Backbones())
    both = measure_case(case, {"a": drifted, "b": elsewhere}, Backbones())
    assert both["b"]["background_psnr"] == 100 and both["b"]["placement_iou"] < 0.1
    assert both["a"]["background_psnr"] < 50 and alone["a"]["background_psnr"] < 50
    assert both["a"]["background_psnr"] != alone["a"]["background_psnr"]  # scored where b changed nothing either


# Against the libraries.


def magicbrush_pixels(result, target, criterion):
    """The MagicBrush script's l1 and l2, in the calls it makes."""
    from torchvision.transforms import ToTensor

    return float(criterion(ToTensor()(result.resize(target.size)), ToTensor()(target)))


def test_l1_and_l2_are_the_scripts():
    result, target = parts.picture(1, (50, 60)), parts.picture(2, (80, 64))
    a, b = (pixel_metrics.to_tensor(cases.to_size(one, target.size)) for one in (result, target))
    assert pixel_metrics.l1(a, b) == pytest.approx(magicbrush_pixels(result, target, torch.nn.L1Loss()), rel=1e-6)
    assert pixel_metrics.l2(a, b) == pytest.approx(magicbrush_pixels(result, target, torch.nn.MSELoss()), rel=1e-6)


def test_inside_and_outside_share_the_whole():
    a, b = (pixel_metrics.to_tensor(parts.picture(seed)) for seed in (1, 2))
    mask = np.zeros((80, 96), bool)
    mask[10:40, 20:70] = True
    for metric in (pixel_metrics.l1, pixel_metrics.l2):
        inside, outside = metric(a, b, mask), metric(a, b, ~mask)
        assert metric(a, b) == pytest.approx(inside * mask.mean() + outside * (~mask).mean(), rel=1e-5)


def test_psnr_and_ssim_are_the_libraries():
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    first, second = parts.picture(1), parts.picture(2)
    a, b, everywhere = pixel_metrics.to_tensor(first), pixel_metrics.to_tensor(second), np.ones((80, 96), bool)
    assert pixel_metrics.psnr(a, b) == pytest.approx(
        peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1.0), rel=1e-5
    )
    _, every = structural_similarity(
        a.numpy(), b.numpy(), channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, win_size=11,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    far = np.zeros((80, 96), bool)
    far[30:50, 30:60] = True
    theirs = float(structural_similarity_index_measure(a.double()[None], b.double()[None], data_range=1.0))
    assert pixel_metrics.ssim(a, b, everywhere) == pytest.approx(theirs, abs=1e-6)
    assert pixel_metrics.ssim(a, b, everywhere) == pytest.approx(
        every.mean(), abs=0.02
    )  # the libraries treat the frame differently
    assert pixel_metrics.ssim(a, pixel_metrics.filled(a, b, ~far), far) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("changed", [(0, 0, 300, 260), (120, 90, 180, 140), (0, 200, 30, 260)])
def test_ssim_by_a_separable_window_is_that_of_torchmetrics_dense_one(changed):
    from torchmetrics.functional.image import structural_similarity_index_measure

    scene, other = parts.picture(1, (300, 260), 6.0), parts.picture(2, (300, 260), 3.0)
    result = scene.copy()
    result.paste(other.crop(changed), changed[:2])
    mask = np.ones((260, 300), bool)
    mask[100:130, 100:150] = False
    a, b = (pixel_metrics.to_tensor(picture) for picture in (result, scene))
    compared = pixel_metrics.filled(a, b, ~mask)
    _, dense = structural_similarity_index_measure(
        compared.double()[None], b.double()[None], data_range=1.0, return_full_image=True
    )
    expected = float(dense[0, :, torch.from_numpy(mask)].mean())
    assert pixel_metrics.ssim(a, b, mask) == pytest.approx(expected, abs=1e-9)
    assert pixel_metrics.ssim(b, b, mask) == 1


def test_placement_goes_by_the_true_mask_and_leaves_the_shadow_out(playroom):
    benchmark, round_trip, means = playroom
    shadows = 0
    for index in range(len(benchmark)):
        case = benchmark[index]
        both = placement.appeared(case.target, case.scene, round_trip(case.scene))
        shadows += placement.area(both.box) > 1.2 * placement.area(both.object_box)
    assert shadows  # so that this shows something
    assert means["perfect_copy"]["placement_iou"] > 0.9


def test_half_and_double_the_area_are_right_on_average():
    assert intervals.ratio_interval(np.array([0.5, 2.0, np.nan])).value == pytest.approx(1)
    assert intervals.ratio_interval(np.array([0.25, 1.0])).value == pytest.approx(0.5)


def test_a_paste_that_is_hard_to_see_is_told_in_the_true_mask():
    scene = parts.picture(1, (160, 120), 6.0)
    faint = Image.blend(scene.crop((40, 30, 100, 90)), parts.picture(3, (60, 60), 2.0), 0.04)
    result = scene.copy()
    result.paste(faint, (40, 30))
    mask = np.zeros((120, 160), bool)
    mask[30:90, 40:100] = True
    row = measure_case(cases.Case("case", scene, (faint,), mask=mask), {"a": result, "b": scene}, Backbones())
    assert row["a"]["copy_paste"] == 1
    assert "copy_paste_score" not in row["b"] and row["b"]["copy_paste"] == 0


def test_clip_features_are_the_librarys(backbones, folders):
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    pictures, words = [parts.picture(1, (300, 260)), parts.picture(2, (240, 400))], ["a ba", "c d e"]
    model = CLIPModel.from_pretrained(folders["clip_b32"])
    pixels = CLIPImageProcessorPil()(pictures, return_tensors="pt")
    tokens = CLIPTokenizer.from_pretrained(folders["clip_b32"])(words, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = model(**pixels, **tokens)
    assert torch.allclose(backbones.clip_b32.pictures(pictures), output.image_embeds, atol=1e-5)
    assert torch.allclose(backbones.clip_b32.texts(words), output.text_embeds, atol=1e-5)


def test_clip_t_is_torchmetrics_clip_score_as_a_cosine(backbones, folders, discs):
    from torchmetrics.functional.multimodal import clip_score
    from transformers import CLIPModel, CLIPProcessor, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    class Tensors(CLIPModel):  # torchmetrics knows what transformers gave before version 5
        def get_image_features(self, *arguments, **options):
            found = super().get_image_features(*arguments, **options)
            return getattr(found, "pooler_output", found)

        def get_text_features(self, *arguments, **options):
            found = super().get_text_features(*arguments, **options)
            return getattr(found, "pooler_output", found)

    def network():
        tokenizer = CLIPTokenizer.from_pretrained(folders["clip_b32"])
        return Tensors.from_pretrained(folders["clip_b32"]), CLIPProcessor(CLIPImageProcessorPil(), tokenizer)

    _, table = discs
    case = parts.squares()[3]
    pixels = torch.from_numpy(np.array(case.target)).movedim(-1, 0)
    score = float(clip_score(pixels, case.caption, model_name_or_path=network))
    ours = table.values["perfect_copy"]["clip_t"][3]
    assert score == pytest.approx(100 * max(ours, 0), abs=2e-2)


def test_dino_is_the_scripts(backbones, folders):
    from transformers import ViTModel

    picture = parts.picture(1, (300, 260))
    model = ViTModel.from_pretrained(folders["dino"], add_pooling_layer=False)
    resized = picture.resize((int(300 * 256 / 260), 256), Image.Resampling.BICUBIC)
    left, top = round((resized.width - 224) / 2), 16
    pixels = np.asarray(resized.crop((left, top, left + 224, top + 224)), np.float32) / 255
    pixels = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        token = model(pixel_values=torch.from_numpy(pixels).float().movedim(-1, 0)[None]).last_hidden_state[:, 0]
    assert torch.allclose(backbones.dino.pictures([picture]), torch.nn.functional.normalize(token), atol=1e-5)


def test_dinov2_is_the_librarys(backbones, folders):
    from transformers import Dinov2Model
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    picture = parts.picture(1, (320, 256))
    prepare = BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size=224, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        found = Dinov2Model.from_pretrained(folders["dinov2"])(**prepare(picture, return_tensors="pt")).pooler_output
    assert torch.allclose(backbones.dinov2.pictures([picture]), torch.nn.functional.normalize(found), atol=1e-5)


def test_lpips_is_torchmetrics_and_keeps_no_state(backbones, folders, monkeypatch):
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    monkeypatch.setattr(torch.hub, "_hub_dir", str(folders["lpips"]))
    a, b = (pixel_metrics.to_tensor(parts.picture(seed)) for seed in (1, 2))
    theirs = float(learned_perceptual_image_patch_similarity(a[None], b[None], "alex", normalize=True))
    assert backbones.lpips(a, b) == pytest.approx(theirs, rel=1e-5) == backbones.lpips(a, b)
    assert theirs > 0 == backbones.lpips(a, a)


def test_cmmd_is_its_definition_whatever_the_chunks(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(n, 6, generator=generator, dtype=torch.float64)) for n in (7, 5))

    def kernel(x, y):
        return np.mean([[np.exp(-float(((p - q) ** 2).sum()) / (2 * 10**2)) for q in y] for p in x])

    expected = 1000 * (kernel(a, a) + kernel(b, b) - 2 * kernel(a, b))
    assert cmmd.cmmd(a, b) == pytest.approx(expected, rel=1e-9) and expected > 0
    monkeypatch.setattr(cmmd, "CHUNK", 3)
    assert cmmd.cmmd(a, b) == pytest.approx(expected, rel=1e-9)
    assert cmmd.cmmd(a, a.flip(0)) == pytest.approx(0, abs=1e-9)


def test_cmmd_sees_the_middle_square():
    picture = parts.picture(1, (100, 60))
    expected = picture.crop((20, 0, 80, 60)).resize((30, 30), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(cmmd.centre_square(picture, 30)), np.asarray(expected))


def test_intervals_are_scipys_and_paired():
    from scipy.stats import bootstrap

    random = np.random.default_rng(1)
    hard = random.normal(0, 1, 40)
    ours, theirs = hard + 0.2 + random.normal(0, 0.05, 40), hard
    found = intervals.paired_interval(ours, theirs)
    scipys = bootstrap((ours - theirs,), np.mean, rng=np.random.default_rng(0), batch=1000).confidence_interval
    assert (found.low, found.high) == pytest.approx((scipys.low, scipys.high))
    assert found.low > 0.15 and found.high < 0.25 and found == intervals.paired_interval(ours, theirs)
    apart = intervals.mean_interval(ours)
    assert apart.high - apart.low > 5 * (found.high - found.low)


def test_intervals_leave_out_what_is_missing_and_say_how_many_are_left():
    mean = intervals.mean_interval
    assert mean(np.array([np.nan, np.nan])) is None
    assert mean(np.array([3.0, np.nan])) == intervals.Interval(3.0, None, None, 1)
    assert mean(np.ones(5)) == intervals.Interval(1.0, 1.0, 1.0, 5)
    lopsided = mean(np.array([0.0] * 30 + [1.0]))
    assert lopsided.count == 31 and 0 <= lopsided.low <= lopsided.value <= lopsided.high


# What is not there.


def test_a_metric_without_its_backbone_or_truth_is_missing_and_says_why(tmp_path):
    benchmark = parts.squares(2, caption="")
    whole = benchmark.read

    def read(index):
        case = whole(index)
        return cases.Case(case.name, case.scene, case.objects)

    bare = cases.Benchmark("bare", "", benchmark.names, read)
    folder = protocol.make_results(bare, "unchanged", unchanged, tmp_path / "unchanged", {})
    table = protocol.measure(bare, {"unchanged": folder}, Backbones())
    assert "no --dino:" in table.missing["dino"] and table.missing["l1"] == "no case has a target"
    assert table.missing["placement_iou"] == "no case has a target or mask" and "cmmd" in table.missing
    measured = {metric.name for metric in table.metrics}
    assert measured == set(table.values["unchanged"]) and "inclusion" in measured
    assert not measured & set(table.missing) and table.sets == {}


def test_weights_of_another_network_are_refused(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json"):
        features.load_dino(tmp_path)
    config = json.loads((folders["dino"] / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes((folders["dino"] / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="are missing, such as .*2.*random"):
        features.load_dino(tmp_path)
    with pytest.raises(FileNotFoundError, match="alexnet-owt"):
        perceptual_distances.load_lpips(tmp_path)


@pytest.mark.parametrize("written", [True, False])
def test_relatives_of_a_network_are_refused(tmp_path, written):
    from transformers import (
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
        ViTConfig,
        ViTForImageClassification,
    )

    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes)).save_pretrained(tmp_path / "registers")
    ViTForImageClassification(ViTConfig(**sizes)).save_pretrained(tmp_path / "classes")
    said = "dinov2_with_registers. Needed is dinov2" if written else "Dinov2Model knows nothing of 1 .*register_tokens"
    if not written:
        config = tmp_path / "registers" / "config.json"
        facts = {name: x for name, x in json.loads(config.read_text("utf-8")).items() if name != "model_type"}
        config.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        features.load_dinov2(tmp_path / "registers")
    with pytest.raises(ValueError, match="ViTModel knows nothing of 2 of them, such as classifier.bias"):
        features.load_dino(tmp_path / "classes")


@pytest.mark.parametrize("damage", ["page", "cut"])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        *((name, "model.safetensors") for name in ("clip_b32", "clip_l336", "dino", "dinov2")),
        *(("clip_b32", file) for file in ("config.json", "vocab.json", "tokenizer.json")),
        ("lpips", "checkpoints/alexnet-owt-7be5be79.pth"),
    ],
)
def test_a_damaged_file_is_said_in_a_line(folders, tmp_path, capsys, name, file, damage):
    import shutil

    from transformers import CLIPTokenizer

    folder = tmp_path / name
    shutil.copytree(folders[name], folder)
    if file == "tokenizer.json":
        CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(b"<!doctype html><html></html>" if damage == "page" else whole[: len(whole) // 2])
    assert commands.outcome(load_backbones, {name: folder}) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert str(folder) in said and "download it again" in said
    assert ("is not a readable safetensors" if file.endswith(".safetensors") else "cannot be read") in said


DREAMSIM = """
import torch

def dreamsim(pretrained, device, cache_dir):
    torch.hub.set_dir(cache_dir)
    network = torch.hub.load("facebookresearch/dino:main", "dino_vitb16")
    return lambda a, b: (network(a) - network(b)).abs().mean(), lambda picture: torch.ones(1) * picture.width
"""
HUBCONF = """
import torch

def dino_vitb16(pretrained=True):
    network = torch.nn.Linear(1, 1)
    place = "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"
    network.load_state_dict(torch.hub.load_state_dict_from_url(place, map_location="cpu"))
    return network
"""


def test_dreamsim_needs_no_network_and_leaves_torch_hub_as_it_was(tmp_path, monkeypatch):
    """With the folder complete torch hub itself asks for nothing; the package, which no extra has, is played by a stub
    that makes its calls of torch hub."""
    import socket

    def refuse(*arguments, **options):
        raise AssertionError("a connection was tried")

    folder = tmp_path / "cache"
    names = [*perceptual_distances.DREAMSIM, "ensemble_lora/adapter_model.safetensors"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "facebookresearch_dino_main" / "hubconf.py").write_text(HUBCONF, encoding="utf-8")
    weights = {"weight": torch.tensor([[2.0]]), "bias": torch.tensor([1.0])}
    torch.save(weights, folder / "checkpoints" / "dino_vitbase16_pretrain.pth")
    (tmp_path / "dreamsim.py").write_text(DREAMSIM, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)

    before = torch.hub.get_dir()
    distance = perceptual_distances.load_dreamsim(folder)
    assert distance(Image.new("RGB", (3, 1)), Image.new("RGB", (5, 1))) == 4
    assert torch.hub.get_dir() == before
    for name in names:
        (folder / name).rename(folder / "away")
        with pytest.raises(FileNotFoundError, match=f"{(folder / name).name} is missing"):
            perceptual_distances.load_dreamsim(folder)
        (folder / "away").rename(folder / name)
    (folder / "checkpoints" / "dino_vitbase16_pretrain.pth").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="DreamSim in .*cannot be read"):
        perceptual_distances.load_dreamsim(folder)
    assert torch.hub.get_dir() == before


def test_networks_of_another_size_are_marked(backbones):
    assert backbones.inexact() == ["clip_b32", "clip_l336", "dino", "dinov2", "lpips"]
    from transformers import CLIPVisionConfig, Dinov2Config, ViTConfig

    base = CLIPVisionConfig(hidden_size=768, num_hidden_layers=12, patch_size=32, image_size=224)
    assert features.is_published(base, features.CLIP_B32) and not features.is_published(
        CLIPVisionConfig(patch_size=16), features.CLIP_B32
    )
    assert not features.is_published(CLIPVisionConfig(**base.to_dict() | {"hidden_act": "gelu"}), features.CLIP_B32)
    small = ViTConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, patch_size=16)
    assert features.is_published(small, features.DINO_S16) and not features.is_published(ViTConfig(), features.DINO_S16)
    large = Dinov2Config(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, patch_size=14)
    assert features.is_published(large, features.DINOV2_L)


def test_alexnet_is_known_by_its_contents(folders, monkeypatch):
    from hashlib import sha256

    path = folders["lpips"] / "checkpoints" / perceptual_distances.ALEXNET
    monkeypatch.setattr(perceptual_distances, "ALEXNET_SHA256", sha256(path.read_bytes()).hexdigest()[:8])
    assert load_backbones({"lpips": folders["lpips"]}).inexact() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(objects=(), object_masks=(), instruction=""), "no picture of its object, and no words"),
        (dict(target=Image.new("RGB", (3, 3))), "its target"),
        (dict(mask=np.zeros((80, 96), bool)), "mask is empty"),
        (dict(mask=np.ones((96, 80), bool)), "not of its picture's size"),
        (dict(object_masks=(np.ones((2, 2), bool), np.ones((2, 2), bool))), "2 masks"),
    ],
)
def test_a_case_that_does_not_fit_together_is_refused(change, said):
    from dataclasses import replace

    with pytest.raises(ValueError, match=said):
        replace(parts.squares()[0], **change)


def test_names_of_cases_are_fit_for_files():
    for names in (("a", "a"), ("a/b",), ("",), ("..",)):
        with pytest.raises(ValueError, match="names of cases"):
            cases.Benchmark("x", "", names, lambda index: None)


# Making and reporting.


def test_pictures_are_made_once_and_never_mixed_with_those_of_other_settings(tmp_path):
    benchmark, made = parts.squares(3), []

    def method(case):
        made.append(case.name)
        return case.scene

    make = protocol.make_results
    make(benchmark.first(2), "m", method, tmp_path / "m", {"seed": 1})
    make(benchmark, "m", method, tmp_path / "m", {"seed": 1})
    assert made == ["disc0", "disc1", "disc2"]
    with pytest.raises(ValueError, match="other settings"):
        make(benchmark, "m", method, tmp_path / "m", {"seed": 2})
    (tmp_path / "m" / "disc1.png").unlink()
    with pytest.raises(FileNotFoundError, match="lacks 1 of 3 results, such as disc1.png"):
        protocol.find_results(benchmark, tmp_path / "m")
    (tmp_path / "m" / "disc1.webp").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="disc1.webp is not a readable picture"):
        protocol.measure(benchmark, {"m": tmp_path / "m"}, Backbones())


def test_results_of_another_size_are_brought_to_the_targets(tmp_path):
    benchmark = parts.squares(1)
    benchmark[0].target.resize((192, 160), Image.Resampling.BICUBIC).save(tmp_path / "disc0.png")
    table = protocol.measure(benchmark, {"large": tmp_path}, Backbones())
    assert table.values["large"]["l1"][0] < 0.01 and table.values["large"]["inclusion"][0] == 1


def test_best_median_and_worst():
    choose = report.choose_cases
    values = np.array([5.0, np.nan, 9.0, 1.0, 7.0, 3.0, 8.0, 2.0, 4.0])
    assert choose(values, "higher") == {"best": [2, 6, 4], "median": [0, 8, 5], "worst": [1, 3, 7]}
    assert choose(values, "lower")["best"] == [3, 7, 5] and choose(values, "lower")["worst"][0] == 1
    assert choose(np.array([1.0, 2.0]), "higher") == {"best": [1], "median": [0], "worst": [0]}


def test_the_report_holds_everything(measured, tmp_path):
    import csv
    from html.parser import HTMLParser

    benchmark, table, results = measured
    page = report.write_report(table, benchmark, results, tmp_path / "report", {"seed": 1}, against="copy_paste")
    facts = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert facts["summary"]["unchanged"]["inclusion"] == {"value": 0.0, "low": 0.0, "high": 0.0, "count": 6}
    assert facts["summary"]["unchanged"]["placement_iou"] is None
    assert facts["values"]["unchanged"]["placement_iou"] == [None] * 6
    assert "no --dreamsim" in facts["missing"]["identity_dreamsim_found"]
    assert facts["against"] == "copy_paste" and set(facts["differences"]) == set(TRIVIAL) - {"copy_paste"}
    assert facts["differences"]["unchanged"]["inclusion"]["value"] == -1
    assert facts["libraries"]["torchmetrics"] and facts["settings"] == {"seed": 1}
    assert facts["backbones_that_are_not_the_published_ones"] == ["clip_b32", "clip_l336", "dino", "dinov2", "lpips"]

    with open(tmp_path / "report" / "cases.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * len(TRIVIAL) and rows[0]["case"] == "disc0" and rows[0]["placement_iou"] == ""
    assert float(rows[1]["l1"]) == 0 and rows[1]["method"] == "perfect_copy"
    with open(tmp_path / "report" / "summary.csv", encoding="utf-8", newline="") as file:
        summary = {(row["method"], row["metric"]): row for row in csv.DictReader(file)}
    assert summary["unchanged", "inclusion"]["cases"] == "6" and ("unchanged", "placement_iou") not in summary
    assert float(summary["perfect_copy", "cmmd"]["mean"]) == pytest.approx(0, abs=1e-6)

    class Pictures(HTMLParser):
        found: list = []

        def handle_starttag(self, tag, attrs):
            if tag == "img":
                self.found.append(dict(attrs)["src"])

    text = page.read_text("utf-8")
    Pictures().feed(text)
    assert len(Pictures.found) == len(TRIVIAL) * 3 * 2
    assert all(Image.open(tmp_path / "report" / name).height == report.HEIGHT for name in Pictures.found)
    assert "http" not in text and "identity_dreamsim_found" in text and "Not the published networks" in text
    assert not list((tmp_path / "report").rglob("*.part"))


def test_a_new_report_takes_away_pictures_of_the_one_before_and_of_nobody_else(measured, tmp_path):
    benchmark, table, results = measured
    folder = tmp_path / "report"
    report.write_report(table, benchmark, results, folder, {}, sort_by="l1")
    first = {path.name for path in (folder / "pictures").iterdir()}
    for name in ("holiday.png", "unchanged_best_holiday.png"):
        (folder / "pictures" / name).write_bytes(b"mine")
    report.write_report(table, benchmark, results, folder, {}, sort_by="inclusion")
    facts = json.loads((folder / "report.json").read_text("utf-8"))
    now = {path.name for path in (folder / "pictures").iterdir()}
    pictures = {name.removeprefix("pictures/") for name in facts["pictures"]}
    assert now == pictures | {"holiday.png", "unchanged_best_holiday.png"}
    assert first - now, "the second report has to have other pictures, or nothing is shown"


@pytest.mark.parametrize("mine", ["pictures/holiday.png", "index.html", "summary.csv"])
def test_a_folder_with_files_of_that_name_gets_no_report_and_keeps_them(measured, tmp_path, mine):
    benchmark, table, results = measured
    path = tmp_path / "home" / mine
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match="would be written over"):
        report.write_report(table, benchmark, results, tmp_path / "home", {})
    assert [p for p in (tmp_path / "home").rglob("*") if p.is_file()] == [path] and path.read_bytes() == b"mine"


def test_results_that_lie_where_the_report_puts_its_pictures_are_refused(measured, tmp_path):
    benchmark, table, results = measured
    with pytest.raises(ValueError, match="The results of unchanged lie in .*pictures.* Move them"):
        report.claim_folder(tmp_path / "out", {**results, "unchanged": tmp_path / "out" / "pictures" / "mine"})


def test_the_report_refuses_names_that_are_not_there(measured, tmp_path):
    benchmark, table, results = measured
    with pytest.raises(ValueError, match="no method other"):
        report.write_report(table, benchmark, results, tmp_path / "report", {}, against="other")
    with pytest.raises(ValueError, match="no metric other to sort by"):
        report.write_report(table, benchmark, results, tmp_path / "report", {}, sort_by="other")
