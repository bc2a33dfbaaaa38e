"""An object learned in memory: from views of it to a `LearnedObject`, with callbacks for whoever waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import cast

import torch
from PIL import Image

from ...training.one_process import OneProcess
from ...training.precision import autocast
from ...training.task import Batch
from ...training.trainer import Settings, Trainer
from ..attention_changes import AttentionChanges, chosen_layers
from ..learned_object import LearnedObject
from .examples import LearningModel, ObjectExamples, Tokens, encode_examples, view_tokens
from .learning_task import LearningTask
from .memory import check_memory
from .views import View

TRAINED = ("tokens", "low-rank", "kv", "attn2", "views")
ATTENTION = ("low-rank", "kv", "attn2")  # of TRAINED: what changes it
MOST_VIEWS = 16
TIMES = (150, 350, 550, 750, 950)  # of 1000, at which what is learned is looked at
RATES = {"tokens": 1e-2, "low-rank": 2e-3, "kv": 4e-4, "attn2": 2e-4}  # at a batch of 8


@dataclass(frozen=True)
class LearningSettings:
    """What is learned, and for how long.

    `train`: the object's own "tokens"; its pictures as tokens and a "low-rank" change of keys and values; the same
    with whole matrices ("kv", published for real objects) or all of cross-attention ("attn2", for drawn ones); or
    nothing ("views"): the pictures as tokens.
    """

    train: str = TRAINED[0]
    steps: int = 150
    rank: int = 8
    seed: int = 0
    minutes: float = 0.0  # 0 is no limit
    batch: int = 0  # pictures in a step; 0 is 8 for pictures of up to 256 px, 2 at 512
    own_tokens: bool = False  # learn the tokens beside a change as well
    detach_exemplar: bool = False  # keys and values learn from the object's own tokens alone, as published
    size: int = 0  # px of the training's pictures; 0 is the model's own
    examples: int = 12  # of each view
    look_every: int = 25  # steps between looks at what is best so far
    rate: float = 1.0  # times the learning rates

    def pictures(self, size: int) -> int:
        """How many pictures of so many px a side are in a step."""
        return self.batch or max(1, min(8, 8 * 256**2 // size**2))

    def __post_init__(self):
        if self.train not in TRAINED:
            raise ValueError(f"Unknown way to learn '{self.train}'; use {', '.join(TRAINED)}.")
        for name, least in (("steps", 0), ("rank", 1), ("batch", 0), ("examples", 1), ("look_every", 1), ("size", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}.")
        if not 0 <= self.minutes < float("inf"):
            raise ValueError(f"minutes must be 0 (no limit) or more, not {self.minutes}.")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be from 0 to 2^64 - 1, not {self.seed}.")
        if self.size % 8:
            raise ValueError(f"size must be a multiple of 8 px, not {self.size}.")


@dataclass(frozen=True)
class Look:
    """What is learned so far, as a callback is told."""

    step: int
    loss: float  # on examples that are held out, always with the same noise
    best: bool  # whether it is the lowest yet
    learned: LearnedObject


@dataclass(frozen=True)
class Learning:
    """What came of it."""

    learned: LearnedObject  # the best look
    losses: list[float]  # of each step
    looks: list[tuple[int, float]]  # steps and losses of the looks
    seconds: float
    stopped: bool  # before all steps were made
    diverged: bool = False  # because the gradients were not finite any more
    late: bool = False  # because the time was over


@dataclass
class _Run:
    """A run under way, and what it has found."""

    model: LearningModel
    settings: LearningSettings
    tokens: Tokens
    changes: AttentionChanges | None
    facts: dict[str, str]
    thumbnail: Image.Image
    losses: list[float] = field(default_factory=list)
    looks: list[tuple[int, float]] = field(default_factory=list)

    def learned(self) -> LearnedObject:
        """What the parameters are now."""
        tokens = self.tokens.tokens.detach().cpu().clone()
        patch = {} if self.changes is None else self.changes.tensors()
        return LearnedObject(
            tokens=tokens,
            null=self.model.null[0].detach().float().cpu(),
            patch=patch,
            base=self.model.base,
            facts=self.facts,
            thumbnail=self.thumbnail,
            shown=self.model.shown,
        )


def learn(
    model: LearningModel,
    views: Sequence[View],
    settings: LearningSettings,
    *,
    others: Sequence[View] = (),
    facts: dict[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    look: Callable[[Look], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Learning:
    """The object of some views, learned; `others` are pictures of the same kind of thing, as regularisation.

    `progress(done, total)` is called after each step, `look` when what is learned was measured. When `stop` says so,
    the time is over, or the gradients are not finite any more, the best so far is the result; KeyboardInterrupt counts
    as `stop`. On a CPU the same seed gives the same result to the bit, but for a limit of time. Raises ValueError for
    too many views, a rank that is not possible, a size that the model cannot have and an exemplar to detach where there
    is none, MemoryError, before a step is made, where the device has too little memory.
    """
    if not 1 <= len(views) <= MOST_VIEWS:
        raise ValueError(f"An object is learned from 1 to {MOST_VIEWS} pictures, not {len(views)}.")
    if settings.detach_exemplar and not (model.shown and settings.train in ATTENTION):
        raise ValueError(
            "There is no exemplar to detach: only Paint by Example has one, and only a change of attention learns from "
            f"it ({', '.join(ATTENTION)}). Leave --detach-exemplar out."
        )
    started = time.monotonic()
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        run, trainer, held_out = _begin(model, views, settings, others, facts or {})
        best = run.learned()
        lowest = float("inf")
        stopped = diverged = late = False
        if trainer is None or held_out is None:
            return Learning(best, [], [], time.monotonic() - started, False)
        attached = nullcontext()
        if run.changes is not None:
            attached = run.changes.attached(model.layers, detach_first=settings.detach_exemplar)
        with attached, torch.enable_grad(), _enough(run):
            check_memory(cast(LearningTask, trainer.task), settings.size or model.size)
            try:
                while True:
                    if trainer.done % settings.look_every == 0 or trainer.done == settings.steps:
                        loss = _measure(cast(LearningTask, trainer.task), held_out)
                        run.looks.append((trainer.done, loss))
                        learned = run.learned()
                        if loss < lowest:
                            best = learned
                        if look:
                            look(Look(trainer.done, loss, loss < lowest, learned))
                        lowest = min(loss, lowest)
                    late = 0 < 60 * settings.minutes < time.monotonic() - started
                    stopped = trainer.done < settings.steps and (late or stop())
                    if stopped or trainer.done >= settings.steps:
                        break
                    run.losses.append(float(trainer.step()["loss"]))
                    if progress:
                        progress(trainer.done, settings.steps)
            except (KeyboardInterrupt, FloatingPointError) as error:
                stopped = True
                diverged = isinstance(error, FloatingPointError)
            finally:
                trainer.close()
    return Learning(best, run.losses, run.looks, time.monotonic() - started, stopped, diverged, late)


def _begin(
    model: LearningModel, views: Sequence[View], settings: LearningSettings, others: Sequence[View], facts
) -> tuple[_Run, Trainer | None, ObjectExamples | None]:
    """The run, what steps it, and the examples that are held out; the last two only where something is trained."""
    generator = torch.Generator().manual_seed(settings.seed)
    shown_views = view_tokens(model, views)
    own = shown_views[:, 0] if model.shown else shown_views.mean(0)
    trains_tokens = settings.train == "tokens" or settings.own_tokens
    tokens = Tokens(own, trains_tokens).to(model.device)
    changes = None
    if settings.train in ATTENTION:
        layers = chosen_layers(model.layers, "attn2" if settings.train == "attn2" else "kv")
        rank = settings.rank if settings.train == "low-rank" else None
        changes = AttentionChanges.zero(layers, rank, generator).to(model.device)
    thumbnail = Image.fromarray(views[0].crop.movedim(0, -1).contiguous().numpy())
    run = _Run(model, settings, tokens, changes, facts, thumbnail)
    if settings.train == "views" or not settings.steps:
        return run, None, None
    size = settings.size or model.size
    examples = encode_examples(model, views, settings.examples, generator, size)
    held_out = encode_examples(model, views, max(1, 4 // len(views)), generator, size)
    regular = encode_examples(model, others, max(1, settings.examples // 4), generator, size) if others else None
    rates = {"tokens": RATES["tokens"] * (0.1 if changes is not None else 1.0)}
    if changes is not None:
        rates["attention"] = RATES[settings.train]
    task = LearningTask(model, examples, tokens, changes, settings.pictures(size), others=regular, rates=rates)
    how = Settings(
        settings.steps,
        settings.rate,
        warmup=max(1, settings.steps // 15),
        weight_decay=0.0,
        ema=0.0,
        precision="fp32" if model.device.type == "cpu" else "bf16",
        seed=settings.seed % 2**31,
    )
    return run, Trainer(task, how, OneProcess(model.device)), held_out


@torch.no_grad()
def _measure(task: LearningTask, examples: ObjectExamples) -> float:
    """The loss on held-out examples, each at every one of TIMES, with the same noise every time."""
    device = task.tokens.tokens.device
    count = len(examples)
    losses = []
    for seed, moment in enumerate(TIMES):
        index = torch.arange(count)
        noise = torch.randn((count, *examples.shape), generator=torch.Generator().manual_seed(seed))
        time = torch.full((count,), moment * task.noise_schedule.config.num_train_timesteps // 1000)
        batch: Batch = examples.fetch({"index": index, "exemplar": index.roll(1)})
        batch |= {"noise": noise, "time": time, "other": torch.zeros(count, dtype=torch.bool)}
        with autocast(device, "fp32" if device.type == "cpu" else "bf16"):
            losses.append(float(task.loss({name: values.to(device) for name, values in batch.items()})["loss"]))
    return sum(losses) / len(losses)


@contextmanager
def _enough(run: _Run) -> Iterator[None]:
    """Raise MemoryError, saying what would fit, where the device runs out of memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        device = run.model.device
        peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
        size = run.settings.size or run.model.size
        count = run.settings.pictures(size)
        raise MemoryError(
            f"There is not enough memory to learn {count} pictures of {size} px at once: {peak:.1f} GiB were in use "
            f"when it ran out. A batch of {max(1, count // 2)}, or a size of {size // 16 * 8} px, needs about half."
        ) from error
