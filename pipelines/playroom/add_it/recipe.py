"""The small FLUX from nothing within so many seconds, on a GPU or, slower, on a CPU.

    scenes (in the background) -> VAE -> detector -> latents -> both VAEs tried for the same time -> the better one on

    python3 -m pipelines.playroom.add_it.recipe --seconds 480 --output RUN

Weights, report and sheet lie in the output folder from the first minute of the last stage on, and are written anew each
minute: a run that is cut off leaves the last ones. `export.py` makes the public folders of them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from ...training.precision import autocast
from ...weights.pretrained import load_model, load_whole
from ..pictures import grid, to_pictures
from ..world.dataset import Arrays
from . import compiling
from .columns import Scenes, signed
from .detector import Detector, train_detector
from .evaluation import HeldOut, first, judged, samples, score
from .export import save_report, save_run
from .limits import Limits
from .models import Networks, Size
from .scenes import SHARD, TEST_SEEDS, VALIDATION_SEEDS, Renderer, join, rendering
from .tokenizer import read_words
from .training import Trainer, TrainingData
from .vae_training import decode, encode, reconstruction_figures, train_vae

SHIPPED = Path(__file__).resolve().parents[3] / "playroom_models"
SHEET_CASES = 24
CLEARLY = 0.05  # of three shares summed, each with a standard error of about .02
SUMMARY = ("truth", "vae16", "vae4", "trial", "chosen", "text_to_picture", "picture_to_picture", "training", "seconds")


@dataclass(frozen=True)
class Recipe:
    """How much of everything. The shares are of `seconds`; what they leave is for latents and the last stage."""

    seconds: float = 480.0
    vae: float = 0.16
    detector: float = 0.05
    trial: float = 0.07  # for each of the two VAEs
    ending: float = 0.06  # kept free for the last figures
    cool: float = 0.45  # of the last stage
    scenes: int = 160_000  # as many as are ready when the latents are made
    first_scenes: int = 8000  # with which the VAE begins
    trial_scenes: int = 40_000  # that are encoded with both VAEs
    held_out: int = 256
    batch: int = 512
    vae_batch: int = 128
    detector_batch: int = 192
    rate: float = 2e-3
    workers: int = 0  # 0: all processors but two
    steps: int | None = None  # of each stage, for a try on a slow machine
    size: Size = Size()
    compiled: bool = True  # where there is a GPU
    seed: int = 0

    def miniature(self) -> Recipe:
        """A recipe for a CPU that ends within a minute or two, to see that everything works."""
        return replace(
            self,
            scenes=48,
            first_scenes=24,
            trial_scenes=24,
            held_out=6,
            batch=4,
            vae_batch=4,
            detector_batch=4,
            workers=1,
            steps=2,
            size=Size(heads=2, double_blocks=1, single_blocks=1),
        )


class Run:
    """One run of the recipe: its clock, its log, its report, its folder."""

    def __init__(self, recipe: Recipe, folder: Path, device: torch.device):
        self.recipe = recipe
        self.folder = folder
        self.device = device
        self.started = time.monotonic()
        self.report: dict[str, Any] = {"recipe": asdict(recipe), "seconds": {}}
        folder.mkdir(parents=True, exist_ok=True)
        self._log = open(folder / "log.txt", "w", encoding="utf-8")

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def say(self, line: str) -> None:
        """A line on the screen and in log.txt, with the seconds since the start."""
        line = f"{self.elapsed:7.1f} {line}"
        print(line, flush=True)
        self._log.write(line + "\n")
        self._log.flush()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = self.elapsed
        self.say(f"--- {name}")
        yield
        self.report["seconds"][name] = round(self.elapsed - begun, 1)

    def limits(self, share: float) -> Limits:
        return Limits(share * self.recipe.seconds, self.recipe.steps)

    def optional(self, what: str, work: Callable[[], Any]) -> Any:
        """The result of work that the run can do without; its error is told and None returned."""
        try:
            return work()
        except Exception as error:  # whatever it is, the weights are worth more
            self.say(f"{what} failed: {type(error).__name__}: {error}")
            self.say(traceback.format_exc())
            return None


def load_vision_encoder(device: torch.device) -> CLIPVisionModelWithProjection:
    """The playroom's shipped vision encoder, frozen."""
    encoder, _ = load_whole(CLIPVisionModelWithProjection, SHIPPED / "image_encoder", "The image encoder")
    return encoder.to(device)


@torch.no_grad()
def vision_tokens(encoder: CLIPVisionModelWithProjection, views: Tensor, batch: int = 1024) -> Tensor:
    """Vision tokens [T,65,128] in float16 of toys' pictures uint8 [T,3,64,64]."""
    tokens = [torch.zeros(0, 65, 128, dtype=torch.float16, device=views.device)]
    for part in views.split(batch):
        with autocast(views.device):
            tokens.append(encoder(pixel_values=signed(part)).last_hidden_state.half())
    return torch.cat(tokens)


@dataclass
class Candidate:
    """A VAE on trial, and what was trained on its latents."""

    name: str
    vae: AutoencoderKL
    trainer: Trainer
    figures: dict[str, float]


def train(run: Run, renderer: Renderer) -> None:
    """The recipe's stages on the scenes that the renderer makes."""
    recipe = run.recipe
    device = run.device
    torch.manual_seed(recipe.seed)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.enable_cudnn_sdp(False)  # its backward pass fails on heads of 32 in torch 2.11
        run.report["machine"] = torch.cuda.get_device_name()
    run.report["machine"] = f"{run.report.get('machine', platform.machine())}, torch {torch.__version__}"
    compiler = None
    if recipe.compiled and device.type == "cuda":
        compiler = run.optional(
            "starting the compiler", lambda: compiling.start(recipe.batch, recipe.size, str(device))
        )
    generator = torch.Generator(device).manual_seed(recipe.seed)

    with run.stage("first scenes"):
        shipped = load_model(AutoencoderKL, SHIPPED / "vae").requires_grad_(False).to(device)
        encoder = load_vision_encoder(device)
        scenes = Scenes.of(join(renderer.first(-(-recipe.first_scenes // SHARD))), device)
        run.say(f"{len(scenes)} scenes, {len(scenes.view)} toys")
    vaes = {"vae4": shipped}
    with run.stage("vae"):
        limits = run.limits(recipe.vae)
        own = run.optional(
            "the VAE",
            lambda: train_vae(scenes, limits=limits, report=run.say, batch=recipe.vae_batch, generator=generator),
        )
        if own is not None:
            vaes = {"vae16": own, **vaes}
    with run.stage("detector"):
        scenes = Scenes.of(join(renderer.ready()[: recipe.trial_scenes // SHARD + 1]), device)
        detector = train_detector(
            scenes,
            limits=run.limits(recipe.detector),
            report=run.say,
            batch=recipe.detector_batch,
            generator=generator,
        )
    with run.stage("held-out scenes"):
        valid, test = (_held_out(arrays, encoder, device) for arrays in renderer.held_out())
        run.optional("judging the VAEs", lambda: _judge_vaes(run, vaes, detector, test))
    with run.stage("latents"):
        scenes = Scenes.of(join(renderer.ready()), device)
        renderer.stop()
        run.report["scenes"] = len(scenes)
        run.report["toys"] = len(scenes.view)
        vision = vision_tokens(encoder, scenes.view)
        scenes.view = scenes.view[:0]
        run.say(f"{len(scenes)} scenes, {len(vision)} toys seen")
    is_compiled = compiler is not None and compiling.succeeds(compiler, 0.05 * recipe.seconds)
    run.report["compiled"] = is_compiled
    run.say(f"compiled: {is_compiled}")

    candidates: list[Candidate] = []
    run.report["trial"] = {}
    for name, vae in vaes.items():
        with run.stage(f"trial of {name}"):
            tried = run.optional(
                f"the trial of {name}", lambda name=name, vae=vae: _try(run, name, vae, scenes, vision, valid, detector)
            )
        if tried is None:
            continue
        candidates.append(tried)
        run.report["trial"][name] = tried.figures
        if len(candidates) == 1:
            save_run(run.folder, tried.trainer.average, vae, detector, run.report)
    chosen = choose(candidates)
    candidates.clear()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    run.report["chosen"] = chosen.name
    run.say(f"{chosen.name} goes on")

    def save() -> None:
        save_run(run.folder, chosen.trainer.average, chosen.vae, detector, run.report)
        run.say("saved")

    with run.stage("latents of all scenes"):
        chosen.trainer.data = _encoded(chosen.vae, scenes, vision)
    with run.stage("training"):
        left = recipe.seconds * (1 - recipe.ending) - run.elapsed
        chosen.trainer.run(Limits(max(left, 1.0), recipe.steps), run.say, cool=recipe.cool, save=save)
        run.report["training"] = {
            "steps": chosen.trainer.step,
            "samples": chosen.trainer.samples,
            "seconds": chosen.trainer.seconds,
            "samples_per_second": chosen.trainer.samples / chosen.trainer.seconds,
            "batch": chosen.trainer.batch,
        }
        save()
    with run.stage("figures"):
        run.optional("the last figures", lambda: _last_figures(run, chosen, detector, test))


def choose(candidates: list[Candidate]) -> Candidate:
    """The candidate to go on with: the first, which is the sharper one, unless another is clearly better judged."""
    chosen = candidates[0]
    for other in candidates[1:]:
        if score(other.figures) > score(chosen.figures) + CLEARLY:
            chosen = other
    return chosen


def _try(
    run: Run, name: str, vae: AutoencoderKL, scenes: Scenes, vision: Tensor, valid: HeldOut, detector: Detector
) -> Candidate:
    """Train on a VAE's latents of some scenes for as long as on any other's, and have the result judged."""
    recipe = run.recipe
    data = _encoded(vae, first(scenes, recipe.trial_scenes), vision)
    trainer = _trainer(run, vae.config["latent_channels"], data)
    trainer.run(run.limits(recipe.trial), run.say)
    figures = judged(samples(trainer.average, vae, valid), detector, valid.scenes)
    figures |= {"steps": trainer.step, "samples": trainer.samples, "seconds": trainer.seconds}
    run.say(f"{name}: {_short(figures)}")
    return Candidate(name, vae, trainer, figures)


def _trainer(run: Run, channels: int, data: TrainingData) -> Trainer:
    """A trainer from the recipe's seed, compiled where the run's report says that it can be and it is true."""
    recipe = run.recipe
    words = read_words()
    for compiled in (True, False) if run.report["compiled"] else (False,):
        torch.manual_seed(recipe.seed)
        networks = Networks(channels, words.count, words.end, recipe.size)
        trainer = Trainer(networks, data, batch=recipe.batch, rate=recipe.rate, seed=recipe.seed, compiled=compiled)
        if not compiled or run.optional("the compiled step", lambda trainer=trainer: trainer.try_once() or trainer):
            break
        run.report["compiled"] = False
    return trainer


def _encoded(vae: AutoencoderKL, scenes: Scenes, vision: Tensor) -> TrainingData:
    """Scenes and their mirror pictures in a VAE's latents, with the vision tokens of at least their toys."""
    return TrainingData(scenes, encode(vae, scenes.picture), encode(vae, scenes.picture, flip=True), vision)


def _held_out(arrays: Arrays, encoder: CLIPVisionModelWithProjection, device: torch.device) -> HeldOut:
    scenes = Scenes.of(arrays, device)
    return HeldOut(scenes, vision_tokens(encoder, scenes.view))


def _judge_vaes(run: Run, vaes: dict[str, AutoencoderKL], detector: Detector, test: HeldOut) -> None:
    truth = judged(signed(test.scenes.picture), detector, test.scenes)
    run.report["truth"] = truth
    run.say(f"truth: {_short(truth)}")
    for name, vae in vaes.items():
        restored = decode(vae, encode(vae, test.scenes.picture))
        figures = {**reconstruction_figures(vae, test.scenes), **judged(restored, detector, test.scenes)}
        run.report[name] = figures
        run.say(f"{name}: {_short(figures)}")


def _last_figures(run: Run, chosen: Candidate, detector: Detector, test: HeldOut) -> None:
    networks = chosen.trainer.average
    told = samples(networks, chosen.vae, test)
    run.report["text_to_picture"] = judged(told, detector, test.scenes)
    run.say(f"told: {_short(run.report['text_to_picture'])}")
    count = min(SHEET_CASES, len(told))
    truth = signed(test.scenes.picture[:count])
    shown = samples(networks, chosen.vae, test, shown=True)
    sheet = grid([to_pictures(column[:count]) for column in (truth, told, shown)], across=4)
    sheet.save(run.folder / "sheet.png")
    run.report["picture_to_picture"] = judged(shown, detector, test.scenes)
    run.say(f"shown: {_short(run.report['picture_to_picture'])}")


def _short(figures: dict[str, Any]) -> str:
    return " ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
    )


def build(recipe: Recipe, folder: Path, device: str | None = None) -> None:
    """Run the recipe; weights, report, sheet and log are in `folder` afterwards. Device: a GPU if there is one."""
    workers = recipe.workers or max(1, (os.cpu_count() or 2) - 2)
    held_out = [seeds[: recipe.held_out] for seeds in (VALIDATION_SEEDS, TEST_SEEDS)]
    with rendering(range(recipe.scenes), workers, held_out) as renderer:
        run = Run(recipe, folder, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
        try:
            train(run, renderer)
        finally:
            run.report["seconds"]["all"] = round(run.elapsed, 1)
            save_report(folder, run.report)
            run.say("figures: " + json.dumps({name: run.report.get(name) for name in SUMMARY}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="weights, report.json, sheet.png and log.txt")
    parser.add_argument("--seconds", type=float, default=Recipe.seconds, help="wall clock of the whole run")
    parser.add_argument("--device", default=None, help="default: a GPU where there is one")
    parser.add_argument("--miniature", action="store_true", help="a few steps of a tiny model, to see that it works")
    for name in ("scenes", "first_scenes", "trial_scenes", "batch", "vae_batch", "workers", "steps", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=None)
    for name in ("vae", "detector", "trial", "ending", "cool", "rate"):
        parser.add_argument(f"--{name}", type=float, default=None)
    parser.add_argument("--no-compile", action="store_true", help="the training step as it is, on a GPU too")
    options = vars(parser.parse_args())
    recipe = Recipe(seconds=options["seconds"], compiled=not options["no_compile"])
    if options["miniature"]:
        recipe = recipe.miniature()
    names = {field.name for field in fields(Recipe)}
    recipe = replace(recipe, **{name: value for name, value in options.items() if name in names and value is not None})
    build(recipe, options["output"], options["device"])


if __name__ == "__main__":
    sys.exit(main())
