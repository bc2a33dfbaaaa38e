"""Learning an object: from pictures in a folder to a file, by the command and in memory, on small models."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from visual_insertion_pack.pipelines import commands
from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import learn as learn_command
from visual_insertion_pack.pipelines.object_representation import learned_object
from visual_insertion_pack.pipelines.object_representation.training import learn as learning
from visual_insertion_pack.pipelines.object_representation.training import memory
from visual_insertion_pack.pipelines.object_representation.training.learn import LearningSettings, learn
from visual_insertion_pack.pipelines.object_representation.training.learning_task import LearningTask
from visual_insertion_pack.pipelines.object_representation.training.loss_curve import draw_curve
from visual_insertion_pack.pipelines.object_representation.training.of_pipeline import learning_model
from visual_insertion_pack.pipelines.object_representation.training.views import make_view, make_views
from visual_insertion_pack.pipelines.object_representation.training.views_folder import read_views
from visual_insertion_pack.pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from visual_insertion_pack.pipelines.pictures.filling import filled
from visual_insertion_pack.pipelines.playroom.world.triplets import make_triplet
from visual_insertion_pack.pipelines.provenance import PNG_TEXT
from visual_insertion_pack.pipelines.training.noise_levels import NoiseLevels
from visual_insertion_pack.pipelines.visual_insertion.pipeline import VisualInsertionPipeline

ROOT = Path(__file__).resolve().parents[2]
TOY = make_triplet(900_001_234, views=3)
QUICK = dict(steps=2, batch=2, examples=2, look_every=1)


@pytest.fixture(scope="module")
def model():
    return learning_model(PaintByExamplePipeline.from_folder(ROOT / "playroom_models" / "paint_by_example"))


@pytest.fixture(scope="module")
def views():
    pictures = torch.from_numpy(TOY.objects).float() / 255
    masks = torch.from_numpy(TOY.objects_mask).float()
    return make_views(list(pictures.split(1)), list(masks.split(1)), [None] * 3, ["a", "b", "c"])


@pytest.fixture
def folder(tmp_path):
    """Two cut-outs of other sizes, and a picture with a box."""
    folder = tmp_path / "toy"
    folder.mkdir()
    for number, size in enumerate(((64, 64), (90, 70))):
        picture = Image.fromarray(TOY.objects[number]).convert("RGBA")
        picture.putalpha(Image.fromarray(255 * TOY.objects_mask[number].astype("uint8")))
        picture.resize(size).save(folder / f"{number}.png")
    Image.fromarray(TOY.target).save(folder / "room.jpg")
    (folder / "room.txt").write_text(" ".join(f"{side:.1f}" for side in TOY.box))
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


# views


def test_a_folder_says_where_the_object_is(folder):
    pictures = read_views(folder)
    assert [path.name for path in pictures.paths] == ["0.png", "1.png", "room.jpg"]
    for view in pictures.views:
        x0, y0, x1, y1 = view.box
        height, width = view.pixels.shape[1:]
        assert 0 < x0 < x1 < width and 0 < y0 < y1 < height, "there is room around the object"
    row = {"file_name": "room.jpg", "objects": {"bbox": [[10, 20, 30, 40]]}}
    (folder / "metadata.jsonl").write_text(json.dumps(row))
    assert read_views(folder).views[2].crop.shape == (3, 40, 30), "the list goes before the text file"
    (folder / "metadata.jsonl").write_text(json.dumps({**row, "file_name": "Room.jpg"}))
    with pytest.raises(ValueError, match=r"metadata.jsonl tells of Room.jpg, and the folder has no such picture"):
        read_views(folder)


def test_a_small_object_is_looked_at_closely():
    view = make_view(torch.rand(1, 400, 600, 3), None, (300, 200, 340, 230))
    assert view.crop.shape == (3, 30, 40) and max(view.pixels.shape[1:]) <= 4 * 40


@pytest.mark.parametrize(
    ("picture", "mask", "box", "said"),
    [
        (torch.rand(1, 64, 64, 3), None, (70, 0, 90, 20), "cup covers no pixel|covers no pixel"),
        (torch.rand(1, 64, 64, 3), torch.zeros(1, 60, 64) + 1, None, "mask"),
        (torch.zeros(1, 64, 64, 4), None, None, "cup shows no object"),
        (torch.cat([torch.rand(1, 64, 64, 3), torch.zeros(1, 64, 64, 1)], -1), None, (0, 0, 30, 30), "no object in"),
        (torch.full((1, 64, 64, 3), float("nan")), None, None, "not finite"),
        (torch.rand(1, 2, 2, 3), None, None, "too small"),
    ],
)
def test_pictures_without_an_object_are_named(picture, mask, box, said):
    with pytest.raises(ValueError, match=said) as error:
        make_view(picture, mask, box, "cup")
    assert str(error.value).startswith("cup")


# what is learned


@pytest.mark.parametrize(
    ("train", "tensors"), [("tokens", 0), ("low-rank", 3 * 10), ("kv", 10), ("attn2", 25), ("views", 0)]
)
def test_each_way_to_learn_changes_what_it_says(model, views, train, tensors):
    before = {name: layer.weight.clone() for name, layer in model.layers.items()}
    result = learn(model, views, LearningSettings(train=train, rank=4, **QUICK))
    untrained = learn(model, views, LearningSettings(train="views")).learned
    blocks = len(model.layers) // 4
    per_block = {0: 0, 30: 6, 10: 2, 25: 5}[tensors]
    assert len(result.learned.patch) == per_block * blocks
    assert torch.equal(result.learned.tokens, untrained.tokens) == (train != "tokens")
    assert len(result.losses) == (0 if train == "views" else 2)
    for name, layer in model.layers.items():
        assert torch.equal(layer.weight, before[name]) and not layer._forward_hooks


def test_learning_lowers_the_loss_and_the_best_is_kept(model, views):
    seen = []
    settings = LearningSettings(train="low-rank", steps=12, batch=4, examples=3, look_every=4)
    result = learn(model, views, settings, look=lambda look: seen.append(look))
    losses = [loss for _, loss in result.looks]
    assert [step for step, _ in result.looks] == [0, 4, 8, 12] and min(losses) < losses[0]
    best = seen[losses.index(min(losses))].learned
    assert all(torch.equal(result.learned.patch[name], tensor) for name, tensor in best.patch.items())
    assert [look.best for look in seen] == [loss < min([*losses[:n], 99]) for n, loss in enumerate(losses)]


def test_the_same_seed_makes_the_same_file_to_the_bit(model, views, tmp_path):
    files = []
    for seed in (5, 5, 6):
        path = tmp_path / f"{len(files)}.safetensors"
        settings = LearningSettings("low-rank", seed=seed, own_tokens=True, **QUICK)
        learned_object.save(learn(model, views, settings).learned, path)
        torch.rand(3)  # what else draws in between does not matter
        files.append(path.read_bytes())
    assert files[0] == files[1] != files[2]


def test_one_picture_is_enough(model, views):
    learned = learn(model, views[:1], LearningSettings(train="tokens", **QUICK)).learned
    assert learned.tokens.shape == (1, 128)


def test_others_are_half_of_a_batch_and_see_themselves(model, views):
    examples = learning.encode_examples(model, views, 2, torch.Generator().manual_seed(0), 128)
    others = learning.encode_examples(model, views[:1], 3, torch.Generator().manual_seed(1), 128)
    tokens = learning.Tokens(torch.randn(3, 128), trained=True)
    task = LearningTask(model, examples, tokens, None, 6, others=others)
    batch = task.fetch(task.draw(0, torch.Generator().manual_seed(2)))
    assert batch["other"].tolist() == [False, True] * 3
    context = task.conditioning(batch)
    assert context.shape == (6, 4, 128)
    for row in range(6):
        data = others if batch["other"][row] else examples
        assert torch.equal(batch["target"][row], data.target[batch["index"][row]])
        assert torch.equal(context[row, :1], data.context[batch["exemplar"][row]])
        own = context[row, :1].expand(3, -1) if batch["other"][row] else tokens.tokens
        assert torch.equal(context[row, 1:], own)
    assert learn(model, views, LearningSettings("low-rank", **QUICK), others=views[:1]).learned.patch


@pytest.mark.parametrize("step", [0, 1])
def test_told_to_stop_the_best_so_far_is_the_result(model, views, step):
    done = []
    result = learn(
        model,
        views,
        LearningSettings(steps=50, batch=2, examples=1, look_every=1),
        progress=lambda step, total: done.append(step),
        stop=lambda: len(done) >= step,
    )
    assert result.stopped and len(result.losses) == step and result.learned.tokens.shape == (3, 128)


def test_what_breaks_down_keeps_the_best_so_far(model, views, monkeypatch):
    steps = learning.Trainer.step

    def step(trainer):
        if trainer.done == 2:
            raise FloatingPointError("The gradients of step 3 are not finite")
        return steps(trainer)

    monkeypatch.setattr(learning.Trainer, "step", step)
    result = learn(model, views, LearningSettings(steps=9, batch=2, examples=1, look_every=1))
    assert result.stopped and result.diverged and len(result.losses) == 2
    assert all(tensor.isfinite().all() for tensor in result.learned.patch.values())


def test_ctrl_c_is_a_stop(model, views):
    def interrupt(step, total):
        raise KeyboardInterrupt

    result = learn(model, views, LearningSettings(steps=9, batch=2, examples=1), progress=interrupt)
    assert result.stopped and len(result.losses) == 1
    assert not any(layer._forward_hooks for layer in model.layers.values())


def test_a_limit_of_time_stops(model, views):
    result = learn(model, views, LearningSettings(steps=10_000, minutes=1e-6, batch=2, examples=1))
    assert result.stopped and result.late and len(result.losses) == 0


def test_settings_and_numbers_that_cannot_be_are_refused(model, views):
    for bad, said in (
        (dict(train="dreams"), "Unknown way to learn 'dreams'"),
        (dict(steps=-1), "steps must be 0 or more"),
        (dict(minutes=-1), "minutes must be 0"),
        (dict(size=130), "size must be a multiple of 8"),
        (dict(seed=2**64), "seed must be from 0 to"),
    ):
        with pytest.raises(ValueError, match=said):
            LearningSettings(**bad)
    with pytest.raises(ValueError, match="A rank of 999 is not possible"):
        learn(model, views, LearningSettings("low-rank", rank=999))
    with pytest.raises(ValueError, match="from 1 to 16 pictures, not 0"):
        learn(model, [], LearningSettings())
    with pytest.raises(ValueError, match="There is no exemplar to detach"):
        learn(model, views, LearningSettings("tokens", detach_exemplar=True))


def test_no_memory_says_what_would_fit(model, views, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(learning.Trainer, "step", full)
    with pytest.raises(MemoryError, match=r"8 pictures of 128 px at once.*A batch of 4, or a size of 64 px"):
        learn(model, views, LearningSettings())


def test_memory_is_counted_before_the_first_step(model, views, monkeypatch):
    examples = learning.encode_examples(model, views, 2, torch.Generator().manual_seed(0), 128)
    tokens = learning.Tokens(torch.randn(3, 128), trained=True)
    task = LearningTask(model, examples, tokens, None, 6)
    one, two, four = (memory.saved_bytes(task, count) for count in (1, 2, 4))
    assert four - two == pytest.approx(2 * (two - one), rel=0.01), "each picture takes as much"
    assert two - one > 128 * 128 * 64
    free = 3.5 * memory.BACKWARD * (two - one)
    monkeypatch.setattr(memory, "_free", lambda device: free)
    monkeypatch.setattr(learning.Trainer, "step", None)
    with pytest.raises(MemoryError, match=r"6 pictures of 128 px at once .* GiB .* free: a batch of 3 fits"):
        memory.check_memory(task, 128)
    with pytest.raises(MemoryError, match="8 pictures of 128 px"):
        learn(model, views, LearningSettings())
    free = 1
    with pytest.raises(MemoryError, match="not even one picture fits; a size of 64 px"):
        memory.check_memory(task, 128)


def test_noise_is_that_of_diffusers():
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction")
    ours = NoiseLevels(theirs.alphas_cumprod, "v_prediction")
    latents, noise = torch.randn(2, 3, 4, 8, 8)
    time = torch.tensor([0, 500, 999])
    assert torch.allclose(ours.add_noise(latents, noise, time), theirs.add_noise(latents, noise, time), atol=1e-6)
    assert torch.allclose(ours.get_velocity(latents, noise, time), theirs.get_velocity(latents, noise, time), atol=1e-6)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_ddim_finds_what_is_known(kind):
    levels = NoiseLevels(torch.linspace(0.999, 0.01, 1000), kind)
    clean = torch.ones(1, 4, 8, 8)

    def know(noisy, time):
        share = levels.alphas_cumprod[time][:, None, None, None]
        noise = (noisy - share.sqrt() * clean) / (1 - share).sqrt()
        return noise if kind == "epsilon" else share.sqrt() * noise - (1 - share).sqrt() * clean

    assert torch.allclose(levels.ddim(know, torch.randn(1, 4, 8, 8), steps=5), clean, atol=1e-3)


def test_a_loss_curve_is_drawn(artifacts):
    losses = [0.5 + 0.5 / (1 + step / 20) + 0.05 * (step % 7) for step in range(150)]
    looks = [(step, 0.6 + 0.4 / (1 + step / 20) + (0.02 if step > 120 else 0)) for step in range(0, 151, 25)]
    picture = draw_curve(losses, looks)
    picture.save(artifacts / "loss_curve.png")
    assert picture.size == (480, 240) and len(picture.getcolors(100_000)) > 5
    assert draw_curve([], []).size == (480, 240)


# without a mask


def test_holes_are_filled_from_around():
    ramp = torch.linspace(0, 1, 40).expand(2, 3, 30, 40).clone()
    holes = torch.zeros(2, 30, 40)
    holes[0, 5:25, 12:29] = 1
    spoilt = torch.where(holes[:, None] > 0, 7.0, ramp)
    mended = filled(spoilt, holes)
    assert torch.equal(mended[1], ramp[1]) and torch.equal(mended[0, :, :5], ramp[0, :, :5])
    assert (mended[0] - ramp[0]).abs().max() < 0.2 and mended.min() >= 0 and mended.max() <= 1
    assert torch.equal(filled(ramp, torch.ones(2, 30, 40)), torch.zeros_like(ramp)), "nothing is known"


@pytest.fixture(scope="module")
def insertion():
    return learning_model(VisualInsertionPipeline.from_folder(ROOT / "playroom_models"))


@pytest.mark.parametrize(("train", "patches"), [("tokens", False), ("low-rank", True), ("views", False)])
def test_the_same_is_learned_for_insertion(insertion, views, train, patches):
    settings = LearningSettings(train, steps=6, batch=2, examples=2, look_every=3)
    result = learn(insertion, views, settings)
    learned = result.learned
    untrained = learning.view_tokens(insertion, views).mean(0)
    assert not learned.shown and learned.tokens.shape == (16, 128) and bool(learned.patch) == patches
    assert torch.equal(learned.tokens, untrained) == (train != "tokens")
    if train != "views":
        assert min(loss for _, loss in result.looks) < result.looks[0][1]
    context, null = learned.contexts()
    assert torch.equal(context[0], learned.tokens) and torch.equal(null[0], insertion.null[0])
    with pytest.raises(ValueError, match="takes no exemplar beside it"):
        learned.contexts(exemplar=context)
    weak, nothing = learned.contexts(0.25)
    moved = context if patches else torch.lerp(nothing, context, 0.25)
    assert torch.allclose(weak, moved) and torch.equal(learned.contexts(0.0)[0], context if patches else nothing)
    with pytest.raises(ValueError, match="There is no exemplar to detach"):
        learn(insertion, views, LearningSettings("low-rank", detach_exemplar=True))


def test_insert_takes_what_was_learned_for_it(folder, tmp_path, capsys):
    base = ROOT / "playroom_models"
    quick = ("--steps", 2, "--batch", 2, "--device", "cpu")
    files = {name: tmp_path / f"{name}.safetensors" for name in ("tokens", "low-rank")}
    for name, path in files.items():
        assert run("learn", folder, "--base", base, "--train", name, "--output", path, *quick) == commands.OK
    Image.fromarray(TOY.scene).save(tmp_path / "scene.png")
    insert = ("insert", "--scene", tmp_path / "scene.png", "--steps", 2, "--no-restore", "--device", "cpu")
    pictures = {}
    for name, file in {
        "tokens": files["tokens"],
        "weak": f"{files['tokens']}:0.5",
        "nothing": f"{files['tokens']}:0",
        "patch": files["low-rank"],
        "off": f"{files['low-rank']}:0",
    }.items():
        assert run(*insert, "--learned", file, "--output", tmp_path / f"{name}.png") == commands.OK
        pictures[name] = Image.open(tmp_path / f"{name}.png").tobytes()
    assert len(set(pictures.values())) == 5
    record = json.loads(Image.open(tmp_path / "off.png").text[PNG_TEXT])
    assert record["settings"]["learned_strength"] == 0 and "learned" in record["sha256"]
    masked = tmp_path / "masked.safetensors"
    assert run("learn", folder, "--train", "views", "--output", masked, *quick) == commands.OK
    capsys.readouterr()
    output = ("--output", tmp_path / "refused.png")
    for more, said in (
        ((), "Say what to insert by --object, or by an object that was --learned: one of both."),
        (("--object", folder / "0.png", "--learned", files["tokens"]), "one of both"),
        (("--learned", files["tokens"], "--object-mask", folder / "0.png"), "--object-mask goes with --object"),
        (("--learned", masked), "learned on another base model"),
    ):
        assert run(*insert, *more, *output) != commands.OK
        assert said in capsys.readouterr().err
    paint = ("paint", "--scene", tmp_path / "scene.png", "--box", 30, 60, 40, 40, "--steps", 2, "--device", "cpu")
    assert run(*paint, "--learned", files["tokens"], *output) != commands.OK
    assert "learned on another base model" in capsys.readouterr().err
    wrong = ("learn", folder, "--embedding-optimizer", base / "embedding_optimizer.safetensors", *quick)
    assert run(*wrong, "--output", tmp_path / "no.safetensors") != commands.OK
    assert "--embedding-optimizer goes with an InstructPix2Pix --base" in capsys.readouterr().err
    assert not (tmp_path / "refused.png").exists() and not (tmp_path / "no.safetensors").exists()


# the command


def test_the_command_writes_a_file_that_paint_takes(folder, tmp_path, capsys):
    output = tmp_path / "toy.safetensors"
    quick = ("--steps", 2, "--batch", 2, "--device", "cpu")
    curve = tmp_path / "curve.png"
    assert run("learn", folder, "--output", output, *quick, "--licence", "CC0", "--curve", curve) == commands.OK
    learned = learned_object.load(output)
    assert learned.facts["licence"] == "CC0" and len(json.loads(learned.facts["sources_sha256"])) == 3
    assert learned.thumbnail and max(learned.thumbnail.size) <= 64 and curve.is_file()
    Image.fromarray(TOY.scene).save(tmp_path / "scene.png")
    paint = ("paint", "--scene", tmp_path / "scene.png", "--box", 30, 60, 40, 40, "--steps", 2, "--whole")
    exemplars = (folder / "0.png", folder / "1.png")
    shown = ("--exemplar", folder / "0.png")
    pictures = {}
    for name, more in {
        "learned": ("--learned", output),
        "weak": ("--learned", f"{output}:0.3"),
        "off": ("--learned", f"{output}:0", *shown),
        "shown": shown,
        "both": ("--learned", output, *shown),
        "views": ("--exemplar", *exemplars),
        "average": ("--exemplar", *exemplars, "--views", "average"),
    }.items():
        result = tmp_path / f"{name}.png"
        assert run(*paint, *more, "--output", result, "--no-restore", "--device", "cpu") == commands.OK
        pictures[name] = Image.open(result).tobytes()
    assert pictures["off"] == pictures["shown"], "strength 0 is bit-equal to no patch"
    assert len(set(pictures.values())) == len(pictures) - 1


def test_a_full_change_is_shrunk_and_says_what_that_costs(folder, tmp_path, capsys):
    output = tmp_path / "toy.safetensors"
    quick = ("--steps", 1, "--batch", 1, "--device", "cpu")
    assert run("learn", folder, "--output", output, "--train", "kv", "--rank", 4, *quick) == commands.OK
    assert "rank 4 keeps " in capsys.readouterr().out
    assert {name.split(".", 1)[1] for name in learned_object.load(output).patch} == {
        "lora_up.weight",
        "lora_down.weight",
        "alpha",
    }


def test_what_the_command_refuses(folder, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    output = tmp_path / "toy.safetensors"
    (folder / "room.txt").write_text("1 2 three 4")
    (tmp_path / "base.safetensors").mkdir()
    weights = tmp_path / "base.safetensors" / "weights.safetensors"
    weights.write_bytes(b"weights")
    for arguments, code, said in (
        (("learn", empty, "--output", output), commands.MISSING, "has no picture of the object"),
        (("learn", tmp_path / "gone", "--output", output), commands.MISSING, "is no folder"),
        (("learn", folder, "--output", tmp_path / "toy.png"), commands.PROBLEM, "must end in .safetensors"),
        (("learn", folder, "--output", tmp_path / "no" / "toy.safetensors"), commands.MISSING, "is no folder; make it"),
        (("learn", folder, "--output", weights.parent), commands.PROBLEM, "is a folder; name a file in it"),
        (("learn", folder, "--output", output, "--curve", "c.xyz"), commands.PROBLEM, "names no picture format"),
        (("learn", folder, "--output", output), commands.PROBLEM, "holds no box"),
    ):
        assert run(*arguments) == code
        assert said in capsys.readouterr().err
    (folder / "room.txt").unlink()
    assert run("learn", folder, "--base", weights.parent, "--output", weights) == commands.PROBLEM
    assert "is a file that is read, and would be written over" in capsys.readouterr().err
    assert not output.exists() and weights.read_bytes() == b"weights"


def test_killed_it_leaves_no_half_written_file(folder, tmp_path):
    output = tmp_path / "toy.safetensors"
    arguments = ["learn", folder, "--output", output, "--steps", 10_000, "--batch", 1, "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "pipelines", *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stderr:
            if "step 0" in line:
                break
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_the_command_knows_the_rooms_words():
    assert learn_command.TRAINED == learning.TRAINED
