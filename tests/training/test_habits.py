"""What trainers are used to: exports in mid-run, the best by validation, precision, optimizers and trackers."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from visual_insertion_pack.pipelines.training import engine
from visual_insertion_pack.pipelines.training.task import Task

ERRORS = {10: 0.5, 20: 0.2, 30: 0.4, 40: 0.1, 50: 0.3}


class Line(Task):
    """A task to fit y = 2 x - 1, whose validation errors are those of ERRORS."""

    def __init__(self, scale=1.0):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.scale = scale
        self.stop_at = None
        self.step = 0

    def modules(self):
        return {"net": self.net}

    def draw(self, step, generator):
        return {"x": torch.rand(16, 1, generator=generator), "step": torch.full((16,), step)}

    def loss(self, batch):
        self.step = int(batch["step"][0]) + 1
        if self.step == self.stop_at:
            raise KeyboardInterrupt
        return {"loss": (self.net(batch["x"]).float() - (2 * batch["x"] - 1)).square().mean() * self.scale}

    def validate(self, modules):
        return {"error": ERRORS.get(self.step, 1.0)}


def settings(**changes):
    plain = dict(steps=50, learning_rate=0.02, warmup=5, precision="fp32", log_every=10, save_every=10_000)
    return engine.Settings(**{**plain, **changes})


def silent(_):
    pass


def export(networks, folder, step):
    torch.save([parameter.clone() for parameter in networks["net"].parameters()], folder / "weights.pt")
    (folder / "step.txt").write_text(str(step))


def steps_of(folder):
    return sorted(int((entry / "step.txt").read_text()) for entry in folder.iterdir())


def weights_of(folder):
    return torch.load(folder / "weights.pt", weights_only=True)


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# exports


def test_the_best_by_validation_is_kept_whatever_comes_after(tmp_path):
    said = []
    engine.fit(Line(), settings(validate_every=10), tmp_path, said.append, export=export)
    assert (tmp_path / "best" / "step.txt").read_text() == "40"
    assert [line.split()[1] for line in said if "best so far" in line] == ["10", "20", "40"]


def test_the_best_is_the_average_of_its_step(tmp_path):
    engine.fit(Line(), settings(validate_every=10, final_rate=1.0), tmp_path / "a", silent, export=export)
    until = engine.fit(Line(), settings(steps=40, final_rate=1.0), tmp_path / "b", silent).modules["net"]
    assert equal(weights_of(tmp_path / "a" / "best"), list(until.parameters()))


@pytest.mark.parametrize("change", [{"keep_best": False, "validate_every": 10}, {}])
def test_nothing_is_best_where_it_is_not_wanted_or_there_is_no_choice(tmp_path, change):
    engine.fit(Line(), settings(**change), tmp_path, silent, export=export)
    assert not (tmp_path / "best").exists()


def test_the_last_exports_are_kept(tmp_path):
    engine.fit(Line(), settings(export_every=10, keep_last=2), tmp_path, silent, export=export)
    assert steps_of(tmp_path / "exports") == [40, 50]


def test_a_run_that_was_stopped_exports_what_an_undisturbed_one_does(tmp_path):
    plan = settings(export_every=10, keep_last=3, validate_every=10)
    engine.fit(Line(), plan, tmp_path / "whole", silent, export=export)
    for stop in (13, 34):
        task = Line()
        task.stop_at = stop
        with pytest.raises(KeyboardInterrupt):
            engine.fit(task, plan, tmp_path / "parts", silent, export=export)
    engine.fit(Line(), plan, tmp_path / "parts", silent, export=export)
    for name in ("best", "exports/step_0000030", "exports/step_0000040", "exports/step_0000050"):
        assert equal(weights_of(tmp_path / "whole" / name), weights_of(tmp_path / "parts" / name))
    assert steps_of(tmp_path / "parts" / "exports") == [30, 40, 50]


def test_exporting_does_not_change_the_run(tmp_path):
    plain = engine.fit(Line(), settings(), tmp_path / "plain", silent).modules["net"]
    plan = settings(export_every=7, validate_every=10)
    exported = engine.fit(Line(), plan, tmp_path / "exported", silent, export=export).modules["net"]
    assert equal(list(plain.parameters()), list(exported.parameters()))


# precision and optimizers


def test_float16_learns_and_goes_on_to_the_bit(tmp_path):
    plan = settings(precision="fp16", steps=30, validate_every=0)
    whole = engine.fit(Line(), plan, tmp_path / "whole", silent)
    losses = [row["loss"] for row in whole.history if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]
    task = Line()
    task.stop_at = 17
    with pytest.raises(KeyboardInterrupt):
        engine.fit(task, plan, tmp_path / "parts", silent)
    resumed = engine.fit(Line(), plan, tmp_path / "parts", silent)
    assert equal(list(whole.modules["net"].parameters()), list(resumed.modules["net"].parameters()))


def test_a_step_that_overflows_in_float16_changes_nothing_and_lowers_the_scale():
    trainer = engine.Trainer(Line(scale=1e36), settings(precision="fp16"))
    before = [parameter.detach().clone() for parameter in trainer.parameters]
    scale = trainer.scaler.get_scale()
    trainer.step()
    assert equal(before, trainer.parameters) and trainer.done == 1
    assert trainer.scaler.get_scale() == scale / 2 and not trainer.optimizer.state
    trainer.close()


def test_adam_with_8_bits_is_asked_of_its_package_and_missed_by_name(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match=r"run\.optimizer = adamw8bit needs the package bitsandbytes.*=adamw\."):
        engine.fit(Line(), settings(optimizer="adamw8bit"), tmp_path, silent)

    class AdamW8bit(torch.optim.AdamW):
        pass

    package = ModuleType("bitsandbytes")
    package.optim = ModuleType("bitsandbytes.optim")
    package.optim.AdamW8bit = AdamW8bit
    monkeypatch.setitem(sys.modules, "bitsandbytes", package)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", package.optim)
    trainer = engine.Trainer(Line(), settings(optimizer="adamw8bit"))
    assert isinstance(trainer.optimizer, AdamW8bit)
    trainer.close()
    engine.fit(Line(), settings(optimizer="adamw8bit", steps=2), tmp_path, silent)
    with pytest.raises(ValueError, match=r"run\.optimizer was adamw8bit"):
        engine.fit(Line(), settings(), tmp_path, silent)


def test_what_accelerate_is_set_to_does_not_scale_the_steps(monkeypatch):
    plain = engine.Trainer(Line(), settings())
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    other = engine.Trainer(Line(), settings())
    for trainer in (plain, other):
        trainer.step()
        trainer.close()
    grads = [[parameter.grad for parameter in trainer.parameters] for trainer in (plain, other)]
    assert equal(*grads)


# trackers


class Recorder:
    """A tracker package that remembers what it is told."""

    def __init__(self, monkeypatch, name):
        self.rows, self.pictures, self.config, self.options = [], [], {}, {}
        self.finished = False
        package = ModuleType(name)
        package.__spec__ = SimpleNamespace(name=name)
        package.init = self.init
        package.Image = lambda picture, **_: picture
        package.config = SimpleNamespace(update=lambda values, **_: self.config.update(values))
        monkeypatch.setitem(sys.modules, name, package)

    def init(self, **options):
        self.options = options
        return self

    def log(self, values, step=None, **_):
        (self.pictures if "sheet" in values else self.rows).append((step, values))

    def finish(self):
        self.finished = True


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_is_told_what_the_log_says(monkeypatch, tmp_path, name):
    tracker = Recorder(monkeypatch, name)
    plan = settings(trackers=(name, "tensorboard"), project="mine", validate_every=10)
    engine.fit(Line(), plan, tmp_path / "run", silent, configuration={"batch": 16})
    assert tracker.options["project"] == "mine" and tracker.options["name"] == "run"
    assert tracker.config == {"batch": 16} and tracker.finished
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [step for step, _ in tracker.rows] == [row["step"] for row in rows] and len(rows) == 10
    assert all(values[key] == row[key] for (_, values), row in zip(tracker.rows, rows, strict=True) for key in values)
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_a_tracker_that_is_not_installed_is_missed_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"run\.trackers names wandb, which is not installed"):
        engine.fit(Line(), settings(trackers=("wandb",)), tmp_path, silent)
    assert not (tmp_path / "state.pt").exists()


def test_a_run_without_trackers_has_its_log(tmp_path):
    engine.fit(Line(), settings(trackers=()), tmp_path, silent)
    assert (tmp_path / "log.jsonl").is_file() and not (tmp_path / "tensorboard").exists()
