"""A small task for processes that divide its network, and the run of one of them: `--help` says what can be asked.

accelerate launch ... devtools/pack.py tests.training.sharded_line FOLDER --steps 30
"""

import argparse
import json
import os
from pathlib import Path

import torch
from torch import nn

from visual_insertion_pack.pipelines.training import engine
from visual_insertion_pack.pipelines.training.task import Task

WIDTH = 33  # which two processes cannot halve


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + torch.tanh(self.inner(x))


class Net(nn.Module):
    _no_split_modules = ("Block",)

    def __init__(self):
        super().__init__()
        self.begin, self.end = nn.Linear(1, WIDTH), nn.Linear(WIDTH, 1)
        self.blocks = nn.Sequential(Block(), Block())
        self.null = nn.Parameter(torch.zeros(1, 1))  # used outside of its module's forward

    def forward(self, x):
        return self.end(self.blocks(self.begin(x)))


class Line(Task):
    """Fits y = 2 x; the loss of step `spoiled` is not a number, and the processes `fail` do not end step `broken`."""

    def __init__(self, spoiled=None, broken=None, fail="1"):
        torch.manual_seed(0)
        self.net = Net()
        self.seen = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)).requires_grad_(False).bfloat16().eval()
        self.spoiled, self.broken, self.fail = spoiled, broken, fail

    def modules(self):
        return {"net": self.net, "seen": self.seen}

    def draw(self, step, generator):
        return {"x": torch.rand(16, 1, generator=generator), "step": torch.full((16,), step)}

    def loss(self, batch):
        step = int(batch["step"][0])
        if step == self.broken and os.environ.get("RANK", "0") in self.fail:
            raise OSError("triplet 7 cannot be read")
        seen = self.seen(batch["x"].bfloat16()).float()
        error = (self.net(batch["x"] + seen) + self.net.null - 2 * batch["x"]).square().mean()
        return {"loss": error * (float("nan") if step == self.spoiled else 1)}

    def validate(self, modules):
        assert modules["net"] is self.net
        x = torch.linspace(0, 1, 8)[:, None]
        return {"error": self.loss({"x": x, "step": torch.zeros(8)})["loss"].item()}


def export(networks, folder, step):
    torch.save({name: network.state_dict() for name, network in networks.items()}, folder / "weights.pt")


def settings(**changes):
    plain = dict(learning_rate=0.02, warmup=5, final_rate=1.0, ema=0.9, precision="fp32", trackers=())
    return engine.Settings(**{**plain, "log_every": 1, "validate_every": 10, "export_every": 10, **changes})


def train(folder, steps, task=None, report=print, **changes):
    """A run to its end, whose networks are written as an export is."""
    task = task or Line()
    result = engine.fit(task, settings(steps=steps, **changes), folder, report, export=export)
    if os.environ.get("RANK", "0") == "0":
        export(result.modules, folder, steps)


def held(tensors):
    """How many elements of tensors are in the memory of this process."""
    local = [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() // t.element_size() for t in local}
    return sum(storages.values())


def count(folder):
    """Write what this process holds after a step."""
    trainer = engine.Trainer(Line(), settings(steps=5))
    trainer.step()
    states = trainer.optimizer.state.values()
    counts = {
        "trained": sum(parameter.numel() for parameter in trainer.parameters),  # by all processes
        "parameters": held(trainer.parameters),
        "gradients": held([parameter.grad for parameter in trainer.parameters]),
        "moments": held([state[name] for state in states for name in ("exp_avg", "exp_avg_sq")]),
        "averages": held(trainer.average.shadow_params),
    }
    trainer.close()
    (folder / f"held{trainer.accelerator.process_index}.json").write_text(json.dumps(counts))


def refuse(folder):
    """Print what is said of settings that do not go with sharding."""
    unknown = {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_TRANSFORMER_CLS_TO_WRAP": "Block,Wall"}
    for changes in ({"optimizer": "adamw8bit"}, {"precision": "fp16"}, {"accumulate": 3}, unknown):
        if changes is unknown:
            os.environ |= unknown
        try:
            train(folder / "refused", 5, **({} if changes is unknown else changes))
        except ValueError as error:
            print(f"refused: {error}", flush=True)


def fail(folder):
    """Let both processes fail in a step, as Ctrl-C would, and say what they say."""
    try:
        train(folder, 5, Line(broken=3, fail="01"))
    except OSError as error:
        print(f"failed: {error}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--do", choices=("train", "count", "fail", "refuse"), nargs="+", default=["train"])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--spoiled", type=int)
    parser.add_argument("--broken", type=int)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if "count" in options.do:
        count(options.folder)
    if "fail" in options.do:
        fail(options.folder / "failed")
    if "refuse" in options.do:
        refuse(options.folder)
    if "train" in options.do:
        task = Line(options.spoiled, options.broken)
        train(options.folder, options.steps, task, accumulate=options.accumulate)
