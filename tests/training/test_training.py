"""The training engine: it learns, averages, stops and goes on as if nothing had happened."""

import json

import pytest
import torch
from torch import nn

from visual_insertion_pack.pipelines.playroom import models
from visual_insertion_pack.pipelines.playroom.visual_insertion import recipe, tasks
from visual_insertion_pack.pipelines.playroom.world import dataset
from visual_insertion_pack.pipelines.training import engine
from visual_insertion_pack.pipelines.training.denoising import Weighting
from visual_insertion_pack.pipelines.training.task import Task
from visual_insertion_pack.pipelines.visual_insertion import optimizer_files as embedding_optimizer
from visual_insertion_pack.pipelines.visual_insertion.training import insertion_task as insertion


@pytest.fixture
def line():
    """A task to fit y = 2 x - 1: the least a task can be."""

    class Line(Task):
        def __init__(self):
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
            self.stop_at = None

        def modules(self):
            return {"net": self.net}

        def draw(self, step, generator):
            if step == self.stop_at:
                raise KeyboardInterrupt
            return {"x": torch.rand(16, 1, generator=generator)}

        def loss(self, batch):
            return {"loss": (self.net(batch["x"]).float() - (2 * batch["x"] - 1)).square().mean()}

    return Line


def settings(**changes):
    plain = dict(steps=60, learning_rate=0.02, warmup=5, precision="fp32", log_every=10, save_every=10_000)
    return engine.Settings(**{**plain, **changes})


def silent(_):
    pass


def test_it_learns_and_logs(line, tmp_path):
    result = engine.fit(line(), settings(steps=200), tmp_path, silent)
    assert result.history[-1]["loss"] < 0.1 * result.history[0]["loss"]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(10, 201, 10))
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(line, tmp_path):
    whole = engine.fit(line(), settings(), tmp_path / "whole", silent)
    broken = line()
    broken.stop_at = 37
    with pytest.raises(KeyboardInterrupt):
        engine.fit(broken, settings(), tmp_path / "parts", silent)
    resumed = engine.fit(line(), settings(), tmp_path / "parts", silent)
    for a, b in zip(whole.modules["net"].parameters(), resumed.modules["net"].parameters(), strict=True):
        assert torch.equal(a, b)
    assert [row["step"] for row in resumed.history] == [row["step"] for row in whole.history]


def test_a_finished_run_is_read_back_and_not_trained_again(line, tmp_path):
    first = engine.fit(line(), settings(), tmp_path, silent)
    task = line()
    task.stop_at = 0
    again = engine.fit(task, settings(), tmp_path, silent)
    assert torch.equal(first.modules["net"][0].weight, again.modules["net"][0].weight)


def test_a_cut_off_checkpoint_write_leaves_the_old_one(line, tmp_path, monkeypatch):
    engine.fit(line(), settings(steps=20), tmp_path, silent)
    before = (tmp_path / "state.pt").read_bytes()

    def full_disk(state, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        engine.fit(line(), settings(steps=40), tmp_path, silent)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_the_rate_warms_up_and_falls_to_its_floor():
    plan = settings(steps=100, warmup=10, learning_rate=1.0, final_rate=0.1)
    rates = [engine.learning_rate(plan, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(rates[10], rel=0.03)
    assert rates[100] == pytest.approx(0.1) and all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_the_result_is_the_average_and_not_the_last_step(line, tmp_path):
    last = engine.fit(line(), settings(ema=0.0), tmp_path / "last", silent).modules["net"][0].weight
    averaged = engine.fit(line(), settings(ema=0.9), tmp_path / "averaged", silent).modules["net"][0].weight
    assert not torch.equal(last, averaged) and (last - averaged).abs().max() < 0.5


class TestInsertionLoss:
    @pytest.fixture
    def parts(self):
        torch.manual_seed(0)
        data = insertion.EncodedTriplets(
            target=torch.randn(6, 1, 4, 16, 16),
            scene=torch.randn(6, 1, 4, 16, 16),
            features=torch.randn(6, 2, 65, models.ENCODER_WIDTH).half(),
            region=torch.rand(6, 1, 1, 16, 16) > 0.8,
        )
        optimizer, unet = models.make_embedding_optimizer(), models.make_unet()
        schedule = recipe.noise_schedule()
        weighting = Weighting(region=3.0)
        return insertion, insertion.InsertionTask(unet, optimizer, data, schedule, batch=6, weighting=weighting)

    def loss(self, task, seed):
        return task.loss(task.fetch(task.draw(0, torch.Generator().manual_seed(seed))))

    def test_it_is_the_same_for_the_same_step_and_reaches_every_weight(self, parts):
        _, task = parts
        losses = [self.loss(task, 5)["loss"] for _ in range(2)]
        assert torch.equal(*losses)
        losses[0].backward()
        for network in task.modules().values():
            assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())

    def test_dropout_drops_each_condition_at_its_share(self, parts):
        training, _ = parts
        no_object, no_scene = training.Dropout().draw(40_000, torch.Generator().manual_seed(0))
        assert no_object.float().mean() == pytest.approx(0.10, abs=0.006)
        assert no_scene.float().mean() == pytest.approx(0.10, abs=0.006)
        assert (no_object & no_scene).float().mean() == pytest.approx(0.05, abs=0.005)

    def test_the_region_counts_more_at_low_noise_only(self, parts):
        training, task = parts
        weighted = self.loss(task, 3)
        assert weighted["noise"].item() != pytest.approx(weighted["plain"].item(), rel=1e-3)
        task.weighting = Weighting(region=3.0, region_until=0)
        plain = self.loss(task, 3)
        assert plain["noise"].item() == pytest.approx(plain["plain"].item(), rel=1e-5)


def test_the_whole_recipe_runs_small_resumes_and_its_models_load(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "SHARD", 40)
    monkeypatch.setattr(dataset, "VALIDATION_SEEDS", range(dataset.HELD_OUT_SEED, dataset.HELD_OUT_SEED + 40))
    monkeypatch.setattr(tasks, "BASIS_PICTURES", 40)
    small = recipe.Recipe(triplets=40, views=1, vae=4, vision=4, judge=4, insertion=4, decoder=4, polish=2)
    monkeypatch.setattr(recipe, "DRAWN", 2)
    monkeypatch.setattr(recipe, "POLISH_BATCH", 2)
    monkeypatch.setattr(recipe, "SHEET_CASES", 4)
    recipe.build(small, tmp_path / "work", tmp_path / "models", "cpu")
    first = (tmp_path / "models" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    recipe.build(small, tmp_path / "work", tmp_path / "models", "cpu")  # every stage is read back
    assert (tmp_path / "models" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == first
    optimizer = embedding_optimizer.load(tmp_path / "models" / "embedding_optimizer.safetensors")
    assert optimizer.settings.context_tokens == 16
    facts = json.loads((tmp_path / "models" / "playroom.json").read_text())
    assert facts["recipe"]["insertion"] == 4 and len(facts["latent_rgb_factors"]) == 4
    assert (tmp_path / "work" / "insertion" / "sheet.png").exists()
