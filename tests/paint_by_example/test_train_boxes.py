"""`visual-insertion train` on pictures with boxes: what is read, what is drawn, what is trained and what comes out."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visual_insertion_pack.benchmarks import bench_exactness
from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import train
from visual_insertion_pack.pipelines.paint_by_example import checkpoints, exemplar_encoder, inpainting
from visual_insertion_pack.pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from visual_insertion_pack.pipelines.paint_by_example.training.augmentation import Augmentation
from visual_insertion_pack.pipelines.paint_by_example.training.box_folder import read_folder
from visual_insertion_pack.pipelines.paint_by_example.training.config import ModelFolders
from visual_insertion_pack.pipelines.paint_by_example.training.frozen_encoders import FrozenEncoders
from visual_insertion_pack.pipelines.paint_by_example.training.initial_model import inpainting_unet, load_start
from visual_insertion_pack.pipelines.paint_by_example.training.pictures import (
    Pictures,
    PictureSettings,
    draw_example,
    draw_square,
)
from visual_insertion_pack.pipelines.paint_by_example.training.recipe import STILL, Recipe
from visual_insertion_pack.pipelines.training import engine, trainer
from visual_insertion_pack.tests import paint_by_example_parts

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *("run.steps=2", "run.log_every=1", "run.warmup=1", "run.precision=fp32", "run.validate_every=0", "batch=2"),
    *("data.validation=null", "data.pictures.size=64"),
]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """Toy pictures with boxes, as the command writes them."""
    folder = tmp_path_factory.mktemp("boxes")
    words = ["toy-triplets", str(folder), "--boxes", "--count", "24", "--validation", "8"]
    assert main(words) == 0
    return folder


@pytest.fixture
def words(boxes, tmp_path):
    """words(*changes): the command's, on the recipe for the playroom, made small."""

    def of(*changes):
        places = [f"folder={(tmp_path / 'run').as_posix()}", f"models.base={(ROOT / 'playroom_models').as_posix()}"]
        data = f"data.train={(boxes / 'train').as_posix()}"
        return ["train", "paint_by_example_playroom", "--set", *SMALL, *places, data, *changes]

    return of


@pytest.fixture
def run(words, capsys):
    """run(*changes): (exit code, stdout, stderr)."""

    def call(*changes, options=()):
        code = main([*words(*changes), *options])
        return code, *capsys.readouterr()

    return call


def rows_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# the folder


@pytest.fixture
def folder(tmp_path):
    """folder(*lines): a folder with pictures of 100x80 px, a.png and b.png, and an index of these lines."""

    def make(*lines):
        for name in ("a.png", "b.png"):
            Image.new("RGB", (100, 80)).save(tmp_path / name)
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (tmp_path / "metadata.jsonl").write_text(text, encoding="utf-8")
        return tmp_path

    return make


def row(*boxes, name="a.png", **more):
    return {"file_name": name, "objects": {"bbox": [*boxes], **more}}


def test_boxes_become_corners_inside_the_picture_and_small_ones_are_left_out(folder):
    first = row([10.2, 5.5, 20, 30], [-0.4, 0, 100.9, 80], [50, 30, 9, 40], category=[1, 2, 3])
    found = read_folder(folder(first, "", row(name="b.png")), smallest=0.1)
    assert [picture.path.name for picture in found.pictures] == ["a.png"]
    assert found.pictures[0].boxes.tolist() == [[10, 5, 31, 36], [0, 0, 100, 80]]
    assert (found.small, found.empty) == (1, 1)
    assert "1 pictures with 2 boxes; left out: 1 boxes that are too small, 1 pictures without any other" in str(found)


@pytest.mark.parametrize(
    ("second", "kind", "message"),
    [
        ("{", ValueError, "line 2 is not a picture with boxes: Expecting"),
        ("[]", ValueError, "line 2 is not a picture with boxes"),
        ({"objects": {"bbox": []}}, ValueError, "line 2 is not a picture with boxes: 'file_name' is missing"),
        ({"file_name": "b.png"}, ValueError, "line 2 is not a picture with boxes: 'objects' is missing"),
        ({"file_name": "b.png", "objects": {}}, ValueError, "line 2 is not a picture with boxes: 'bbox' is missing"),
        ({"file_name": 7, "objects": {"bbox": []}}, ValueError, "line 2 .* must be a text"),
        (row([1, 2, 3]), ValueError, r"line 2 .* the box \[1, 2, 3\] is not four numbers"),
        (row([1, 2, 3, "4"]), ValueError, "line 2 .* is not four numbers"),
        (row([1, 2, 3, True]), ValueError, "line 2 .* is not four numbers"),
        ('{"file_name": "b.png", "objects": {"bbox": [[1, 2, NaN, 4]]}}', ValueError, "line 2 .* not four numbers"),
        (row([50, 40, 0, 10]), ValueError, "line 2 .* has no area"),
        (row([50, 40, -20, 10]), ValueError, "line 2 .* has no area"),
        (row([20, 30, 90, 70]), ValueError, r"line 2: the box .* reaches 20 px outside the picture of 100x80 px"),
        (row([-30, 30, 10, 10]), ValueError, r"line 2: the box .* reaches 30 px outside"),
        (row([1, 2, 30, 40], name="c.png"), FileNotFoundError, "1 pictures of .* are missing, .* line 2"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(folder, second, kind, message):
    with pytest.raises(kind, match=message):
        read_folder(folder(row([1, 2, 30, 40]), second))


def test_a_folder_without_index_or_without_a_box_of_use_is_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="metadata.jsonl does not exist"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no box to train on: 2 pictures, 1 boxes that are too small \(below 50 %"):
        read_folder(folder(row([1, 2, 30, 40]), row(name="b.png")), smallest=0.5)
    with pytest.raises(ValueError, match="no box to train on: 0 pictures"):
        read_folder(folder())


def test_a_broken_picture_is_named_with_its_line(folder):
    place = folder(row([1, 2, 30, 40]), row([1, 2, 30, 40], name="b.png"))
    (place / "b.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"line 2: .*b\.png is not a readable picture"):
        read_folder(place)


def test_boxes_are_those_of_the_upright_picture(folder):
    place = folder(row([0, 60, 80, 40], name="turned.jpg"))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    pixels = np.zeros((80, 100, 3), np.uint8)
    pixels[:, 60:] = 255  # the lower part, once turned
    Image.fromarray(pixels).save(place / "turned.jpg", exif=exif, quality=95)
    picture = read_folder(place).pictures[0]
    upright = picture.pixels()
    assert upright.shape == (3, 100, 80) and upright.dtype == torch.uint8
    x0, y0, x1, y1 = picture.boxes[0]
    assert upright[:, y0 + 4 : y1, x0:x1].min() > 200 and upright[:, : y0 - 4].max() < 50


# what is drawn


def test_a_square_holds_the_hole_and_stays_in_the_picture():
    generator = torch.Generator().manual_seed(0)
    sides, wide = set(), 0
    for _ in range(300):
        height, width = torch.randint(40, 200, (2,), generator=generator).tolist()
        x0, y0 = (int(torch.randint(0, n - 8, (), generator=generator)) for n in (width, height))
        x1, y1 = (int(torch.randint(a + 8, n + 1, (), generator=generator)) for a, n in ((x0, width), (y0, height)))
        left, top, right, bottom = draw_square((x0, y0, x1, y1), height, width, generator, 0.6)
        assert 0 <= left <= x0 and 0 <= top <= y0 and x1 <= right <= width and y1 <= bottom <= height
        if max(x1 - x0, y1 - y0) > min(height, width):
            wide += 1
            assert (left, top, right, bottom) == (0, 0, width, height)
        else:
            assert right - left == bottom - top
            sides.add((right - left) / min(height, width))
    assert wide > 10 and len(sides) > 50 and min(sides) < 0.7 and max(sides) == 1


@pytest.mark.parametrize("shapes", [0.0, 1.0])
def test_what_was_in_the_box_is_in_the_hole_and_in_the_exemplar(shapes):
    settings = PictureSettings(size=64, smallest=26, shapes=shapes, jitter=1, margin=0)
    picture = torch.zeros(3, 90, 140, dtype=torch.uint8)
    box = (50, 20, 110, 80)
    picture[0, box[1] : box[3], box[0] : box[2]] = 255
    seen, moved = [], set()
    for seed in range(40):
        example = draw_example(picture, box, settings, 32, STILL, torch.Generator().manual_seed(seed))
        assert example.target.shape == (3, 64, 64) and example.exemplar.shape == (3, 32, 32)
        inside = example.target[0] > 0.5
        seen.append(example.hole[inside].float().mean().item())
        moved.add(tuple(inside.nonzero().amin(0).tolist()))
        assert example.exemplar[0].mean() > 0.95 and example.exemplar[1:].abs().max() == 0
        if not shapes:
            rows, columns = example.hole.nonzero().unbind(1)
            assert example.hole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    assert min(seen) > (0.9 if shapes else 0.999) and np.mean(seen) > 0.97 and len(moved) > 20


def test_every_hole_of_the_smallest_box_has_a_latent_cell():
    settings = PictureSettings(size=128, smallest=26, shapes=1.0, tightness=0.0)
    latent_mask = inpainting.latent_mask
    picture = torch.zeros(3, 128, 128, dtype=torch.uint8)
    for seed in range(200):
        x, y = seed % 100, (7 * seed) % 100
        generator = torch.Generator().manual_seed(seed)
        example = draw_example(picture, (x, y, x + 26, y + 26), settings, 8, STILL, generator)
        for rule in inpainting.LATENT_MASKS:
            assert latent_mask(example.hole[None].float(), rule).any()


@pytest.fixture
def pictures(boxes):
    settings = PictureSettings(size=64, smallest=18, jitter=1)
    augmentation = Augmentation()
    return Pictures(read_folder(boxes / "train").pictures, settings, augmentation, 48, 4)


def test_examples_are_functions_of_their_seeds_however_they_are_cut(pictures):
    share = {"index": torch.tensor([3, 3, 20, 0]), "view": torch.tensor([5, 6, 5, 2**31 - 1])}
    once, again = pictures.fetch(share), pictures.fetch(share)
    cut = trainer.cut
    parts = [pictures.fetch(cut(share, part, 2)) for part in range(2)]
    assert {name: tuple(values.shape) for name, values in once.items()} == {
        "target pixels": (4, 3, 64, 64),
        "hole pixels": (4, 64, 64),
        "exemplar pixels": (4, 3, 48, 48),
    }
    for name, values in once.items():
        assert torch.equal(values, again[name])
        assert torch.equal(values, torch.cat([part[name] for part in parts]))
        assert not torch.equal(values[0], values[1])  # another seed of the same picture


def test_what_the_loss_reads_is_latents_of_target_and_grey_hole_and_the_pooled_exemplar(pictures):
    config = train.read(Path("paint_by_example_playroom"))[1]
    models = ModelFolders(ROOT / "playroom_models" / "paint_by_example")
    model = load_start(models, config.blocks)
    pictures.exemplar_size = 64
    read = pictures.fetch({"index": torch.arange(3), "view": torch.arange(3)})
    encoders = FrozenEncoders(model, "rounded")
    target, hole = read["target pixels"], read["hole pixels"]
    found = encoders(target, hole, read["exemplar pixels"])
    grey = torch.where(hole[:, None], 0.5, target)
    with torch.no_grad():
        for name, shown in (("target", target), ("masked", grey)):
            whole = model.vae.encode(2 * shown - 1).latent_dist.mean * model.vae.config["scaling_factor"]
            assert torch.allclose(found[name], whole, atol=1e-4)
    assert found["hole"].shape == (3, 1, 8, 8) and set(found["hole"].unique().tolist()) == {0.0, 1.0}
    shown = read["exemplar pixels"]
    context, _ = model.contexts(shown.movedim(1, -1))
    with torch.no_grad():
        seen = model.exemplar_encoder(encoders.pooled(shown))
    assert torch.allclose(seen, context, atol=0.02) and not torch.allclose(seen, context.roll(1, 0), atol=0.5)
    assert not any(p.requires_grad for p in encoders.parameters())


# what is trained


def test_it_trains_and_what_comes_out_is_a_folder_that_paints(run, boxes, tmp_path):
    validation = f"data.validation={(boxes / 'validation').as_posix()}"
    code, out, err = run(validation, "run.validate_every=1")
    assert code == 0, err
    folder = tmp_path / "run"
    assert [row["step"] for row in rows_of(folder)] == [1, 1, 2, 2]
    assert all(row["validation_error"] > 0 and "validation_exemplar_gain" in row for row in rows_of(folder)[1::2])
    assert Image.open(folder / "sheet.png").size == (
        4 * 64,
        len(read_folder(boxes / "validation", 18 / 64).pictures) * 64,
    )
    trained = torch.load(folder / "state.pt", weights_only=True)["trained"]
    assert {name.split(".")[0] for name in trained} == {"unet", "exemplar_encoder"}

    made = folder / "paint_by_example"
    assert made.as_posix() in out.replace("\\", "/")
    files = checkpoints.open_paint_by_example(made)
    assert files.unet().shapes["input_blocks.0.0.weight"][1] == 9
    assert files.exemplar_encoder().null.shape == (1, 1, 128) and len(files.exemplar_encoder().blocks) == 2
    stored = checkpoints.open_tensors(ROOT / "playroom_models/image_encoder/model.safetensors").read_below(
        "vision_model."
    )
    assert all(torch.equal(files.vision()[f"vision_model.{name}"], tensor.float()) for name, tensor in stored.items())
    pipeline = PaintByExamplePipeline.from_folder(made)
    assert pipeline.native_size == 64
    scene, exemplar = torch.rand(64, 64, 3), torch.rand(64, 64, 3)
    mask = torch.zeros(64, 64)
    mask[16:48, 16:48] = 1
    images = pipeline(scene, mask, exemplar, steps=2).images
    assert images.shape == (1, 64, 64, 3) and torch.isfinite(images).all()
    facts = json.loads((made / "facts.json").read_text())
    assert (facts["licence"], facts["base"], facts["steps"]) == ("Apache-2.0", "playroom_models", 2)
    record = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert facts["sha256"] == record["sha256"] and facts["software"]["torch"]
    assert facts["training_data"].endswith("/train") and facts["configuration"]["models"]["base"] == "playroom_models"
    again = PaintByExamplePipeline.from_folder(tmp_path / "run").unet.state_dict()  # by the run's own folder
    assert all(torch.equal(again[name], tensor) for name, tensor in pipeline.unet.state_dict().items())

    code, _, err = run(f"models.base={made.as_posix()}", f"folder={(tmp_path / 'on').as_posix()}", "run.steps=1")
    assert code == 0, err  # a model that came out is one to go on from


def test_a_model_folder_of_another_origin_is_left_alone(run, tmp_path):
    published = tmp_path / "run" / "paint_by_example"
    published.mkdir(parents=True)
    (published / "my_notes.txt").write_text("mine")
    code, _, err = run()
    assert (
        code == 1 and "holds paint_by_example, which would be written over and is not of an earlier training run" in err
    )
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["paint_by_example", "my_notes.txt"]


def test_notes_in_a_model_folder_outlive_the_next_export(run, tmp_path):
    assert run()[0] == 0
    model = tmp_path / "run" / "paint_by_example"
    weights = (model / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    (model / "my_notes.txt").write_text("mine")
    assert run()[0] == 0
    assert (tmp_path / "run" / "paint_by_example.before-1" / "my_notes.txt").read_text() == "mine"
    assert (model / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == weights


def test_a_short_run_lowers_the_error_on_held_out_pictures(words, boxes, tmp_path):
    changes = ["batch=8", "run.steps=12", "run.warmup=2", "run.ema=0.5", "run.learning_rate=1e-3"]
    changes += [f"data.validation={(boxes / 'validation').as_posix()}"]
    _, recipe, _, *rest = words(*changes)
    config = train.read(Path(recipe), rest)[1]
    task = Recipe(config).task(lambda _: None)
    with torch.no_grad():
        before = task.validate({})
    engine.fit(task, config.run, tmp_path / "run", lambda _: None)
    after = [row for row in rows_of(tmp_path / "run") if "validation_error" in row][-1]
    print(before, after)
    assert after["validation_error"] < 0.9 * before["error"]


def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(run, words, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    changes = [f"folder={killed.as_posix()}", "run.steps=6", "run.save_every=0"]
    command = [sys.executable, str(ROOT / "pipelines"), *words(*changes)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=tmp_path)
    try:
        while bench_exactness.logged(killed) < 2 and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        process.kill()
        process.wait()
    assert not (killed / "paint_by_example").exists()
    assert run(*changes)[0] == 0
    assert run(*changes, f"folder={whole.as_posix()}", "run.save_every=1000")[0] == 0
    assert bench_exactness.same_state(whole, killed)
    assert bench_exactness.losses(whole) == bench_exactness.losses(killed) and len(bench_exactness.losses(whole)) == 6


def test_the_parts_of_a_batch_make_the_same_step(run, tmp_path):
    losses = []
    for accumulate in (1, 2):
        code, _, err = run(f"run.accumulate={accumulate}", f"folder={(tmp_path / str(accumulate)).as_posix()}")
        assert code == 0, err
        losses.append([row["loss"] for row in rows_of(tmp_path / str(accumulate))])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.fixture
def text_to_image(tmp_path):
    """A small model in the layout of Stable Diffusion 1.4, and a vision encoder beside it."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    base, encoder = tmp_path / "base", tmp_path / "encoder"
    torch.manual_seed(0)
    UNet2DConditionModel(**paint_by_example_parts.UNET | {"in_channels": 4}).save_pretrained(base / "unet")
    paint_by_example_parts.random_vae().save_pretrained(base / "vae")
    (base / "scheduler").mkdir()
    (base / "scheduler" / "scheduler_config.json").write_text(json.dumps(paint_by_example_parts.SCHEDULER))
    shape = {name: value for name, value in paint_by_example_parts.VISION.items() if name != "model_type"}
    CLIPVisionModelWithProjection(CLIPVisionConfig(**shape)).save_pretrained(encoder)
    (encoder / "preprocessor_config.json").write_text(json.dumps(paint_by_example_parts.PIXELS))
    return [f"models.base={base.as_posix()}", f"models.image_encoder={encoder.as_posix()}"]


def test_a_text_to_image_model_is_made_wider_and_keeps_what_it_knows(run, text_to_image, tmp_path):
    from safetensors.torch import load_file

    code, _, err = run(*text_to_image, "run.learning_rate=1e-5", "run.ema=0.0", "data.pictures.mask_resize=soft")
    assert code == 0, err
    name = "unet/diffusion_pytorch_model.safetensors"
    before, after = load_file(tmp_path / "base" / name), load_file(tmp_path / "run" / "paint_by_example" / name)
    first = after["conv_in.weight"]
    assert first.shape[1] == 9 and torch.allclose(first[:, :4], before["conv_in.weight"], atol=1e-4)
    assert 0 < first[:, 4:].abs().max() < 1e-3
    made = tmp_path / "run" / "paint_by_example"
    pipeline = PaintByExamplePipeline.from_folder(made)
    assert pipeline.scheduler_config["prediction_type"] == "epsilon"
    assert (
        pipeline.image_mean == paint_by_example_parts.PIXELS["image_mean"]
        and len(pipeline.exemplar_encoder.blocks) == 2
    )


def test_a_dry_run_reports_and_writes_nothing(run, tmp_path):
    code, out, err = run("data.train=nowhere", options=("--dry-run",))
    assert code == 0, err
    assert "unet: trains 6,718,468 parameters" in out and "exemplar_encoder: trains 413,440 parameters" in out
    assert (
        re.search(r"^time: [\d.]+ (seconds|minutes|hours|days)$", out, re.MULTILINE) and not (tmp_path / "run").exists()
    )


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("models.base=nowhere", 2, "must be a diffusers folder (unet, vae, scheduler): of Stable Diffusion 1.4"),
        ("models.image_encoder=nowhere", 2, "Needed is a vision encoder"),
        ("data.train=nowhere", 2, "metadata.jsonl does not exist"),
        ("data.pictures.size=100", 1, "data.pictures: size must be a multiple of 8, not 100"),
        ("data.pictures.jitter=5", 1, "smallest must be 26 or more"),
        ("data.pictures.shapes=1.5", 1, "'data.pictures.shapes' must be at most 1.0, not 1.5"),
        ("data.pictures.mask_resize=hard", 1, "'data.pictures.mask_resize' must be one of rounded"),
        ("data.pictures.smallest=60", 1, "no box to train on: 24 pictures"),
        ("data.augmentation.mirror=1", 1, "unknown entry 'data.augmentation.mirror'; known there: flip"),
        ("optimizer.variant=resampler", 1, "unknown entry 'optimizer'; known there: folder"),
        ("run.accumulate=4", 1, "cannot be cut into 4 equal parts"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(run, change, code, message):
    found, _, err = run(change)
    assert (found, message in err) == (code, True), err


def test_models_that_cannot_become_paint_by_example_are_refused(run, text_to_image, tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    base = shutil.copytree(tmp_path / "base", tmp_path / "other")
    config = json.loads((base / "unet/config.json").read_text())
    (base / "unet/config.json").write_text(json.dumps(config | {"in_channels": 5}))
    code, _, err = run(*text_to_image, f"models.base={base.as_posix()}")
    assert code == 1 and "cannot become Paint by Example's (5 channels in, 4 out)" in err
    Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(
        tmp_path / "dino"
    )
    shutil.copy(tmp_path / "encoder" / "preprocessor_config.json", tmp_path / "dino")
    code, _, err = run(*text_to_image, f"models.image_encoder={(tmp_path / 'dino').as_posix()}")
    assert code == 1 and "is no CLIP vision encoder (dinov2)" in err
    own = ROOT / "playroom_models" / "paint_by_example"
    code, _, err = run(*text_to_image, f"models.base={own.as_posix()}")
    assert code == 1 and "has a vision encoder of its own" in err


@pytest.mark.parametrize("recipe", ["paint_by_example", "paint_by_example_playroom"])
def test_the_shipped_recipes_are_read(recipe):
    method, config = train.read(Path(recipe))
    assert method == "paint_by_example" and config.null_share == 0.2 and config.batch % config.run.accumulate == 0
    if recipe == "paint_by_example":
        assert (config.batch, config.run.learning_rate, config.run.warmup) == (32, 1e-5, 10_000)
        assert config.data.pictures.size == 512 and config.data.augmentation.light == 0


def test_the_published_size_is_what_is_trained_at_full_size():
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = inpainting_unet(UNet2DConditionModel(cross_attention_dim=768))
        encoder = exemplar_encoder.ExemplarEncoder(exemplar_encoder.ExemplarSettings(1024, 768, blocks=5))
    assert sum(p.numel() for p in unet.parameters()) == 859_535_364
    assert sum(p.numel() for p in encoder.parameters()) == 63_771_136
