"""Training that is exact: cut into processes and parts, killed and gone on with, refused when it could not be.

The runs in processes of their own are those of benchmarks/bench_exactness.py, with a narrower UNet.
"""

import copy
import gc
import json
import random
import shutil
import signal
import struct

import psutil
import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file
from torch import nn

from visual_insertion_pack.benchmarks import bench_exactness
from visual_insertion_pack.pipelines.training import checkpoint, engine
from visual_insertion_pack.pipelines.training.columns import Shards
from visual_insertion_pack.pipelines.training.denoising import Weighting
from visual_insertion_pack.pipelines.training.log import Log
from visual_insertion_pack.pipelines.training.task import Task
from visual_insertion_pack.pipelines.training.trainer import cut
from visual_insertion_pack.pipelines.visual_insertion.training import insertion_task as insertion
from visual_insertion_pack.tests.small_disks import full_disk

CHANNELS = (32, 32, 32)
STEPS = 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was neither cut nor disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    bench_exactness.train(folder, STEPS, channels=CHANNELS)
    return folder


def settings(**changes):
    plain = dict(steps=20, learning_rate=1e-3, warmup=5, precision="fp32", log_every=1, save_every=10_000)
    return engine.Settings(**{**plain, **changes})


def silent(_):
    pass


# cut


def test_two_processes_train_as_one_does(whole, tmp_path):
    run = bench_exactness.Run(tmp_path, processes=2, channels=CHANNELS, steps=STEPS, accumulate=2)
    run.finish(500)
    assert len(bench_exactness.losses(tmp_path)) == STEPS
    assert bench_exactness.largest_difference(whole, tmp_path) <= 1e-5


def test_accumulated_parts_make_the_same_step():
    trainers = []
    for parts in (1, 4):
        trainer = engine.Trainer(bench_exactness.make_task(CHANNELS), settings(accumulate=parts))
        trainers.append(trainer)
    for _ in range(3):
        at_once, in_parts = (trainer.step() for trainer in trainers)
        for name, value in at_once.items():
            assert in_parts[name].item() == pytest.approx(value.item(), rel=1e-6)
    at_once, in_parts = (torch.cat([p.grad.flatten() for p in trainer.parameters]) for trainer in trainers)
    assert (at_once - in_parts).norm() <= 1e-5 * at_once.norm()
    for trainer in trainers:
        trainer.close()


def test_the_parts_of_a_batch_are_the_batch():
    batch = {"x": torch.arange(24).reshape(12, 2), "y": torch.arange(12)}
    parts = [cut(batch, part, 4) for part in range(4)]
    for name, values in batch.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), values)


def test_a_batch_that_cannot_be_cut_is_refused(tmp_path):
    with pytest.raises(ValueError, match="batch of 8 samples cannot be cut into 3 equal parts"):
        engine.fit(bench_exactness.make_task(CHANNELS), settings(accumulate=3), tmp_path, silent)
    assert not (tmp_path / "state.pt").exists()


# killed and gone on with


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """The folder of a run that was killed at a random step, with a checkpoint after each, and gone on with here."""
    folder = tmp_path_factory.mktemp("killed")
    step = random.randint(1, STEPS // 3)
    print("killed at step", step)
    bench_exactness.Run(folder, channels=CHANNELS, steps=STEPS, save_every=0).kill(step)
    bench_exactness.train(folder, STEPS, channels=CHANNELS)
    return folder


def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(whole, resumed):
    assert bench_exactness.same_state(whole, resumed)


def test_a_killed_run_logs_what_an_undisturbed_one_does(whole, resumed):
    assert [row["step"] for row in bench_exactness.losses(resumed)] == list(range(1, STEPS + 1))
    assert bench_exactness.losses(resumed) == bench_exactness.losses(whole)


def test_tensorboard_shows_every_step_of_a_killed_run_once(resumed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(resumed / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    for name in ("loss", "noise", "plain", "rate"):
        events = board.Scalars(name)
        assert [event.step for event in events] == list(range(1, STEPS + 1))
        rows = [row[name] for row in bench_exactness.losses(resumed)]
        assert [event.value for event in events] == pytest.approx(rows, rel=1e-6)


@pytest.fixture
def line():
    """A least task with everything that a network may have: dropout, frozen parts, losses that can be spoiled."""

    class Line(Task):
        def __init__(self, width=8, spoiled=None):
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Dropout(0.5), nn.Linear(width, 1))
            self.seen = nn.Sequential(nn.BatchNorm1d(1), nn.Dropout(0.5)).requires_grad_(False).eval()
            self.spoiled = spoiled

        def modules(self):
            return {"net": self.net, "seen": self.seen}

        def draw(self, step, generator):
            return {"x": torch.rand(16, 1, generator=generator), "step": torch.full((16,), step)}

        def loss(self, batch):
            error = (self.net(self.seen(batch["x"])).float() - 2 * batch["x"]).square().mean()
            return {"loss": error * (float("nan") if batch["step"][0] == self.spoiled else 1)}

    return Line


def test_what_a_network_draws_depends_on_the_step_alone(line, tmp_path):
    engine.fit(line(), settings(final_rate=1.0), tmp_path / "whole", silent)  # a cosine knows where it ends
    for steps in (7, 20):
        engine.fit(line(), settings(steps=steps, final_rate=1.0), tmp_path / "parts", silent)
    assert bench_exactness.same_state(tmp_path / "whole", tmp_path / "parts")


def test_frozen_networks_are_left_in_evaluation_mode(line, tmp_path):
    task = line()
    engine.fit(task, settings(validate_every=3), tmp_path, silent)
    assert torch.equal(task.seen[0].running_mean, torch.zeros(1))
    trainer = engine.Trainer(task, settings())
    with trainer.averaged():
        assert not task.net.training
    assert task.net.training and not task.seen.training


def test_averaged_weights_are_never_left_in_the_networks(line, monkeypatch):
    trainer = engine.Trainer(line(), settings())
    trainer.step()
    trainer.step()
    before = copy.deepcopy(trainer.networks.state_dict())
    copy_to = trainer.average.copy_to

    def interrupted(parameters):
        copy_to(parameters)
        assert not bench_exactness.equal(before, trainer.networks.state_dict())
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.average, "copy_to", interrupted)
    with pytest.raises(KeyboardInterrupt), trainer.averaged():
        pass
    assert bench_exactness.equal(before, trainer.networks.state_dict())
    trainer.close()


def test_the_log_of_a_resumed_run_is_json_whatever_was_logged(tmp_path):
    log = Log(tmp_path, [{"step": 1, "validation_psnr": float("inf")}])
    log.add({"step": 2, "validation_psnr": float("nan")})
    log.close()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows == [{"step": step, "validation_psnr": None} for step in (1, 2)]


# refused


def checkpoint_of(task, folder):
    engine.fit(task, settings(steps=3), folder, silent)
    return folder / "state.pt"


def test_gradients_that_are_not_finite_stop_before_anything_is_changed(line):
    trainer = engine.Trainer(line(spoiled=2), settings())

    def everything():
        state = trainer.optimizer.state_dict()["state"]
        return copy.deepcopy([trainer.done, trainer.networks.state_dict(), trainer.average.state_dict(), state])

    trainer.step()
    trainer.step()
    before = everything()
    with pytest.raises(FloatingPointError, match="gradients of step 3 are not finite"):
        trainer.step()
    assert bench_exactness.equal(before, everything())
    assert trainer.whole
    trainer.close()


def test_a_run_stopped_by_gradients_goes_on_from_its_checkpoint(line, tmp_path):
    whole = engine.fit(line(), settings(), tmp_path / "whole", silent).modules["net"]
    state = tmp_path / "state.pt"
    with pytest.raises(FloatingPointError):
        engine.fit(line(spoiled=2), settings(), tmp_path, silent)
    before = state.read_bytes()
    with pytest.raises(FloatingPointError, match=r"gradients of step 6 .* run\.learning_rate"):
        engine.fit(line(spoiled=5), settings(), tmp_path, silent)
    assert torch.load(state, weights_only=True)["step"] == 5  # nothing of what it had learned is lost
    assert (tmp_path / "state.before.pt").read_bytes() == before  # and what was whole for certain is there as well
    with pytest.raises(FloatingPointError):  # the same step fails again, and takes nothing away
        engine.fit(line(spoiled=5), settings(), tmp_path, silent)
    assert (tmp_path / "state.before.pt").read_bytes() == before
    resumed = engine.fit(line(), settings(), tmp_path, silent)
    assert resumed.history[-1]["step"] == 20
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.modules["net"].parameters(), strict=True))


@pytest.mark.parametrize("error", [OSError("a bad picture"), torch.OutOfMemoryError("full"), SystemExit(3)])
def test_any_error_keeps_what_was_learned(line, tmp_path, error):
    class Broken(line):
        def loss(self, batch):
            if batch["step"][0] == 7:
                raise error
            return super().loss(batch)

    said = []
    with pytest.raises(type(error)):
        engine.fit(Broken(), settings(), tmp_path, said.append)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 7
    assert said[-1] == "stopped at step 7; run again to go on"


def test_a_step_is_not_divided_by_being_told_to_stop(line, monkeypatch):
    trainer = engine.Trainer(line(), settings())
    update = trainer.optimizer.step

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return update(*arguments, **options)

    monkeypatch.setattr(trainer.optimizer, "step", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.step()
    finally:
        signal.signal(signal.SIGINT, before)
    assert trainer.whole and trainer.done == 1 and trainer.average.optimization_step == 1
    trainer.close()


def test_a_run_goes_on_with_the_same_facts_only_and_names_what_differs(line, tmp_path):
    facts = {"optimizer.heads": "8", "the weights of models.base": "12ab"}
    engine.fit(line(), settings(steps=3), tmp_path, silent, facts)
    state = (tmp_path / "state.pt").read_bytes()
    for changed, message in (
        ({"optimizer.heads": "4"}, "optimizer.heads was 8, is 4. Set"),
        ({"the weights of models.base": "77"}, "the weights of models.base was 12ab, is 77"),
        ({"run.seed": "1"}, "run.seed was not noted, is 1"),
    ):
        with pytest.raises(ValueError, match=message):
            engine.fit(line(), settings(), tmp_path, silent, facts | changed)
        with pytest.raises(ValueError, match=message):
            checkpoint.check(tmp_path, facts | changed)
    assert (tmp_path / "state.pt").read_bytes() == state
    checkpoint.check(tmp_path, facts)
    said = []
    engine.fit(line(), settings(learning_rate=0.01, gradient_norm=2.0), tmp_path, said.append, facts)
    changes = "from here on run.gradient_norm 2.0 (was 1.0), run.learning_rate 0.01 (was 0.001), run.steps 20 (was 3)"
    assert said[0] == f"resumed at step 3 of 20; {changes}"


def test_fewer_steps_than_were_done_are_refused(line, tmp_path):
    checkpoint_of(line(), tmp_path)
    with pytest.raises(ValueError, match=r"trained for 3 steps already, more than run\.steps = 2"):
        engine.fit(line(), settings(steps=2), tmp_path, silent)


def test_what_cannot_be_read_stops_the_run_with_its_own_error(line, tmp_path):
    class Broken(line):
        def fetch(self, share):  # in the thread that reads ahead
            if share["step"][0] == 5:
                raise OSError("triplet 7 cannot be read")
            return share

    with pytest.raises(OSError, match="triplet 7"):
        engine.fit(Broken(), settings(), tmp_path, silent)
    rows = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["step"] == 5  # all that came before it was done


def test_a_full_disk_is_said_clearly_and_leaves_the_old_checkpoint(line, tmp_path):
    disk = tmp_path / "disk"
    with full_disk(disk, free=300_000) as make_room:
        state = checkpoint_of(line(), disk)
        before = state.read_bytes()
        (disk / "more ballast").write_bytes(bytes(shutil.disk_usage(disk).free))
        with pytest.raises(OSError, match="No space left on device|could not be written .* Free some space"):
            engine.fit(line(), settings(), disk, silent)
        assert state.read_bytes() == before and not list(disk.glob("*.part"))
        make_room()
        assert engine.fit(line(), settings(), disk, silent).history[-1]["step"] == 20


@pytest.mark.parametrize("left", [0, 100, 0.5, 0.99])
def test_a_damaged_checkpoint_is_refused(line, tmp_path, left):
    state = checkpoint_of(line(), tmp_path)
    whole = state.read_bytes()
    state.write_bytes(whole[: int(left * len(whole)) if isinstance(left, float) else left])
    with pytest.raises(ValueError, match="state.pt cannot be gone on from.* or delete the file to start anew"):
        engine.fit(line(), settings(), tmp_path, silent)


def test_a_checkpoint_of_other_networks_is_refused(line, tmp_path):
    checkpoint_of(line(), tmp_path)
    with pytest.raises(ValueError, match="belongs to other networks"):
        engine.fit(line(width=9), settings(), tmp_path, silent)


def test_a_checkpoint_of_other_trained_parts_is_refused(line, tmp_path):
    checkpoint_of(line(), tmp_path)
    task = line()
    task.net[0].requires_grad_(False)
    with pytest.raises(ValueError, match="other parts of them were trained"):
        engine.fit(task, settings(), tmp_path, silent)


# what is trained


def test_frozen_parameters_stay_and_are_neither_saved_nor_averaged(tmp_path):
    task = bench_exactness.make_task(CHANNELS)
    task.unet.requires_grad_(False)
    for name, parameter in task.unet.named_parameters():
        parameter.requires_grad_(".attn2." in name)
    networks = nn.ModuleDict(task.modules())
    before = {name: parameter.detach().clone() for name, parameter in networks.named_parameters()}
    trained = {name: parameter for name, parameter in networks.named_parameters() if parameter.requires_grad}
    assert 0 < len(trained) < len(before)
    engine.fit(task, settings(steps=3), tmp_path, silent)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["trained"].keys() == trained.keys() | {"embedding_optimizer.null"}
    assert [p.shape for p in state["average"]["shadow_params"]] == [p.shape for p in trained.values()]
    assert len(state["optimizer"]["state"]) == len(trained)
    for name, parameter in networks.named_parameters():
        assert torch.equal(parameter, before[name]) != (name in trained), name


class Recorder(nn.Module):
    """In place of a UNet: it gives its noisy channels back and remembers what it was shown."""

    def forward(self, stacked, time, encoder_hidden_states):
        self.stacked, self.context = stacked, encoder_hidden_states
        return type("Output", (), {"sample": stacked[:, :4] * 0.9})


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weighs_as_its_paper_says(prediction):
    task = bench_exactness.make_task(CHANNELS, weighting=Weighting(min_snr=5.0), dropout=insertion.Dropout(0, 0, 0))
    task.unet = Recorder()
    task.noise_schedule = DDIMScheduler.from_config(task.noise_schedule.config, prediction_type=prediction)
    batch = task.fetch(task.draw(0, torch.Generator().manual_seed(0)))
    batch["time"] = torch.tensor([0, 20, 100, 250, 400, 600, 800, 999])
    clean, noise = batch["target"].double(), batch["noise"].double()
    alpha = task.noise_schedule.alphas_cumprod.double()[batch["time"]][:, None, None, None]
    wanted = noise if prediction == "epsilon" else alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    error = 0.9 * (alpha.sqrt() * clean + (1 - alpha).sqrt() * noise) - wanted
    snr = (alpha / (1 - alpha)).flatten()
    assert snr.min() < 5 < snr.max()
    weight = torch.minimum(snr, torch.tensor(5.0)) / (snr if prediction == "epsilon" else snr + 1)
    found = task.loss(batch)
    assert found["loss"].item() == pytest.approx((weight * error.square().mean((1, 2, 3))).mean().item(), rel=1e-5)
    assert found["plain"].item() == pytest.approx(error.square().mean().item(), rel=1e-5)


class TestAsReleased:
    def task(self, **options):
        dropout = insertion.Dropout(object=0.5, scene=0.0, both=0.0)
        released = insertion.AsReleased(**options)
        task = bench_exactness.make_task(CHANNELS, as_released=released, dropout=dropout)
        nn.init.normal_(task.embedding_optimizer.null)
        task.unet = Recorder()
        return task, task.fetch(task.draw(0, torch.Generator().manual_seed(1)))

    def test_a_dropped_object_is_the_context_of_a_blank_picture(self):
        blank = torch.randn(1, bench_exactness.ENCODER_TOKENS, bench_exactness.ENCODER_WIDTH)
        for options in ({}, {"blank": blank}, {"blank": blank, "random_queries": True}):
            task, batch = self.task(**options)
            task.loss(batch)
            dropped, shown = batch["no_object"], task.unet.context
            assert 0 < dropped.sum() < len(dropped)
            with torch.no_grad():
                null = task.embedding_optimizer.null
                if options:
                    null = task.embedding_optimizer(blank.expand(len(dropped), -1, -1), queries=batch.get("queries"))[
                        dropped
                    ]
                seen = task.embedding_optimizer(batch["features"], queries=batch.get("queries"))[~dropped]
            assert torch.allclose(shown[~dropped], seen, atol=1e-6)
            assert torch.allclose(shown[dropped], null.expand_as(shown[dropped]), atol=1e-6)

    def test_random_queries_are_drawn_with_the_batch_and_take_the_place_of_learned_ones(self):
        task, batch = self.task(random_queries=True)
        queries, learned = batch["queries"], task.embedding_optimizer.queries
        assert queries.shape == (bench_exactness.BATCH, *learned.shape)
        assert queries.std().item() == pytest.approx(task.embedding_optimizer.spread, rel=0.05)
        again = task.draw(0, torch.Generator().manual_seed(1))["queries"]
        other = task.draw(0, torch.Generator().manual_seed(2))["queries"]
        assert torch.equal(queries, again) and not torch.equal(queries, other)
        task.loss(batch)
        shown = task.unet.context
        shown.sum().backward()
        assert learned.grad is None
        task.loss(batch | {"queries": other})
        assert not torch.allclose(shown, task.unet.context)

    def test_without_them_nothing_is_drawn(self):
        _, batch = self.task()
        assert "queries" not in batch


# shards


def test_shards_are_read_like_one_tensor():
    whole = torch.randn(23, 3, 2, 5)
    shards = Shards(whole.split([4, 1, 0, 11, 7]))
    assert len(shards) == 23 and shards.shape == whole.shape
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.arange(23), torch.randint(23, (20,), generator=generator)])
    inner = torch.randint(3, rows.shape, generator=generator)
    innermost = torch.randint(2, rows.shape, generator=generator)
    assert torch.equal(shards[rows], whole[rows])
    assert torch.equal(shards[rows, inner], whole[rows, inner])
    assert torch.equal(shards[rows, inner, innermost], whole[rows, inner, innermost])
    for outside in (23, -1):
        with pytest.raises(IndexError):
            shards[torch.tensor([outside])]


def test_shards_train_like_one_tensor():
    task, sharded = bench_exactness.make_task(CHANNELS), bench_exactness.make_task(CHANNELS)
    for name in ("target", "scene", "features", "region"):
        parts = getattr(task.data, name).split(27)
        setattr(sharded.data, name, Shards(parts))
    batches = [t.fetch(t.draw(0, torch.Generator().manual_seed(0))) for t in (task, sharded)]
    assert bench_exactness.equal(*batches)


def test_shards_of_a_file_are_read_when_they_are_asked_for(tmp_path):
    shape, last, path = (100, 2, 250_000), 199 * 250_000 * 4, tmp_path / "shard.safetensors"
    size = last + 250_000 * 4  # 200 MB
    header = json.dumps({"features": {"dtype": "F32", "shape": list(shape), "data_offsets": [0, size]}}).encode()
    header = header.ljust(-len(header) % 8 + len(header))
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(file.tell() + size)
        file.seek(8 + len(header) + last)
        file.write(torch.arange(250_000).float().numpy().tobytes())
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    shards = Shards([load_file(path)["features"]] * 2)
    rows = shards[torch.tensor([3, 99, 199]), torch.tensor([0, 1, 1])]
    grown = process.memory_info().rss - before
    assert torch.equal(rows[0], torch.zeros(250_000))
    assert torch.equal(rows[1], torch.arange(250_000).float()) and torch.equal(rows[1], rows[2])
    assert grown < 0.25 * size
    del shards  # or Windows could not delete the file
