"""What `bench_add_it` compares, and how one batch of cases goes through an arm: all arms on one loop, one noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..pipelines.add_it.blending import refined_mask
from ..pipelines.add_it.extended_attention import Sharing
from ..pipelines.add_it.sampling import Addition, Prompt, Scene, Target, add, inverted_scene, joined, own_mask, sdedit
from ..pipelines.add_it.subject_map import rough_mask, token_columns
from ..pipelines.add_it.subject_tokens import subject_tokens
from ..pipelines.add_it.windows import AddItSettings, flux_percent_to_sigma
from ..pipelines.pictures.resizing import resize_mask
from ..pipelines.playroom.add_it import detector as judging
from ..pipelines.playroom.add_it.additions import AdditionCase, judge_all, pictures_as_detected
from ..pipelines.playroom.add_it.captions import LENGTH
from ..pipelines.playroom.add_it.detector import Detector
from ..pipelines.playroom.add_it.toy_model import ToyModel
from ..pipelines.sampling.latents import decode, encode

GUIDANCE = 3.0  # as the model's own figures
ALL = dict(double_until=1.0, single_until=1.0)
OURS = AddItSettings(gamma=1.1, start=0.1, blend=None, **ALL)  # chosen in the trial, on validation scenes
PLAIN = sdedit(OURS)
BLEND = 0.6


@dataclass(frozen=True)
class Arm:
    """One way to add a toy."""

    settings: AddItSettings
    sharing: Sharing = "extended"
    said: str = "told"  # or "shown", or "other": another toy shown
    hidden: str = "own"  # or "other": the hidden row is another case's scene
    inverted: bool = False  # the hidden row is inverted
    one_noise: bool = False  # and the target begins with its noise
    refined: bool = False  # the blend's mask, by the change map


def _sdedit(start: float) -> Arm:
    return Arm(replace(PLAIN, start=start))


def _ours(**changes: Any) -> Arm:
    return Arm(replace(OURS, **changes))


def _prompt_to_prompt(until: float) -> Arm:
    settings = replace(OURS, start=0.0, double_until=until, single_until=until)
    return Arm(settings, sharing="prompt_to_prompt", inverted=True, one_noise=True)


MAIN = {  # on all cases, with every sampling seed
    "text to picture": Arm(replace(PLAIN, start=0.0)),
    "attention alone": _ours(start=0.0),
    "attention alone, another scene": Arm(replace(OURS, start=0.0), hidden="other"),
    "Add-it": _ours(),
    "Add-it, blended": _ours(blend=BLEND),
    "SDEdit .2": _sdedit(0.2),
    "SDEdit .3": _sdedit(0.3),
    "SDEdit .4": _sdedit(0.4),
    "SDEdit .5": _sdedit(0.5),
    "SDEdit .3, blended": Arm(replace(PLAIN, start=0.3, blend=BLEND)),
    "Prompt-to-Prompt .4": _prompt_to_prompt(0.4),
    "shown": Arm(replace(OURS, blend=BLEND), said="shown"),
    "another shown": Arm(replace(OURS, blend=BLEND), said="other"),
}
SWEEP = {  # on the first cases, with the first seed
    "Add-it, gamma 1": _ours(gamma=1.0),
    "Add-it, gamma 1.05": _ours(gamma=1.05),
    "Add-it, gamma 1.2": _ours(gamma=1.2),
    "Add-it, gamma 1.4": _ours(gamma=1.4),
    "Add-it, gamma balanced": _ours(gamma=None),
    "Add-it, start .2": _ours(start=0.2),
    "Add-it, start .3": _ours(start=0.3),
    "Add-it, published windows": Arm(AddItSettings(gamma=1.05, start=2 / 30, blend=None)),
    "Add-it, blended, refined mask": Arm(replace(OURS, blend=BLEND), refined=True),
    "Add-it, inverted": Arm(OURS, inverted=True),
    "SDEdit .1": _sdedit(0.1),
    "SDEdit .6": _sdedit(0.6),
    "Prompt-to-Prompt .2": _prompt_to_prompt(0.2),
    "Prompt-to-Prompt .7": _prompt_to_prompt(0.7),
}
GAMMAS = {1.0: "Add-it, gamma 1", 1.05: "Add-it, gamma 1.05", 1.1: "Add-it", 1.2: "Add-it, gamma 1.2"}
GAMMAS[1.4] = "Add-it, gamma 1.4"
STARTS = {0.0: "attention alone", 0.1: "Add-it", 0.2: "Add-it, start .2", 0.3: "Add-it, start .3"}
SDEDITS = {start / 10: f"SDEdit .{start}" for start in range(1, 7)}


def levels(steps: int) -> list[float]:
    """Even noise levels from 1 to 0."""
    return [1 - step / steps for step in range(steps)] + [0.0]


def noise_of(cases: Sequence[AdditionCase], seed: int, shape: torch.Size, stream: int) -> Tensor:
    """Noise [B,C,h,w] of each case by its own seed, so that batches do not matter."""
    rows = []
    for case in cases:
        generator = torch.Generator().manual_seed(4 * (case.seed + 1000 * seed) + stream)
        rows.append(torch.randn(shape, generator=generator))
    return torch.stack(rows)


@dataclass
class Workshop:
    """The networks and what is common to all arms."""

    model: ToyModel
    detector: Detector
    device: torch.device
    steps: int

    @torch.no_grad()
    def scenes(self, pictures: np.ndarray) -> Tensor:
        """Latents [B,4,16,16] of scenes [B,128,128,3] uint8, on the device."""
        return encode(self.model.vae, torch.from_numpy(pictures).to(self.device).float() / 255)

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> np.ndarray:
        """Pictures [B,128,128,3] uint8."""
        return (decode(self.model.vae, latents) * 255).round().byte().cpu().numpy()

    def prompt(self, cases: Sequence[AdditionCase], arm: Arm) -> Prompt:
        """The target's prompts."""
        if arm.said == "told":
            return self.model.prompt([str(case.target) for case in cases])
        views = np.stack([case.view for case in cases])
        if arm.said == "other":
            views = np.roll(views, 1, 0)
        pictures = torch.from_numpy(views).float() / 255
        rows = []
        for case, picture in zip(cases, pictures, strict=True):
            prompt, _ = self.model.shown_prompt(str(case.target), self.positions(case), picture[None])
            rows.append(prompt)
        return joined(rows)

    def positions(self, case: AdditionCase) -> list[int]:
        """The tokens of the new toy's phrase: of several like it the last."""
        text = str(case.target)
        times = f" {text} ".count(f" {case.subject} ")
        return subject_tokens(text, case.subject, self.model.tokens, occurrence=times)

    def columns(self, cases: Sequence[AdditionCase]) -> Tensor:
        """The subject's tokens [B,1,32] bool."""
        return token_columns([self.positions(case) for case in cases], LENGTH, self.device)

    def run(
        self, cases: Sequence[AdditionCase], arm: Arm, seed: int, scenes: Tensor, *, two_passes: bool = False
    ) -> Addition:
        """An arm's additions to scenes' latents."""
        shape = scenes.shape[1:]
        noise = noise_of(cases, seed, shape, 0).to(self.device)
        sources = [str(case.source) for case in cases]
        source_latents = scenes
        if arm.hidden == "other":
            sources = sources[-1:] + sources[:-1]
            source_latents = scenes.roll(1, 0)
        hidden = noise_of(cases, seed, shape, 1).to(self.device)
        scene = Scene(source_latents, hidden, self.model.prompt(sources))
        if arm.inverted:
            scene = inverted_scene(self.model.flow, scene, levels(self.steps))
        if arm.one_noise:
            noise = scene.noise
        target = Target(
            self.prompt(cases, arm),
            noise,
            null=self.model.prompt([""]),
            guidance=GUIDANCE,
            subject=self.columns(cases),
        )
        return add(
            self.model.flow,
            target,
            scene,
            sigmas=levels(self.steps),
            percent_to_sigma=flux_percent_to_sigma(0),
            settings=arm.settings,
            sharing=arm.sharing,
            two_passes=two_passes,
            make_mask=self._refine(scenes) if arm.refined else own_mask,
        )

    def _refine(self, scenes: Tensor) -> Any:
        originals = torch.from_numpy(self.pictures(scenes)).float() / 255

        def masks(maps: Tensor, estimate: Tensor) -> Tensor:
            edits = torch.from_numpy(self.pictures(estimate)).float() / 255
            rough = resize_mask(rough_mask(maps).float().cpu(), 128, 128) > 0.5
            rows = zip(rough, originals, edits, strict=True)
            return torch.stack([refined_mask(*row) for row in rows]).to(maps.device)

        return masks

    def rows(self, cases: Sequence[AdditionCase], arm: Arm, seed: int) -> tuple[list[dict[str, Any]], np.ndarray]:
        """The findings of a batch as JSON, and its pictures."""
        scenes = self.scenes(np.stack([case.scene for case in cases]))
        addition = self.run(cases, arm, seed, scenes)
        pictures = self.pictures(addition.latents)
        shown = list(cases)
        if arm.said == "other":  # judged by the toy that was shown
            labels = [case.label for case in cases]
            labels = labels[-1:] + labels[:-1]
            shown = [
                replace(case, labels=(*case.labels[:-1], label)) for case, label in zip(cases, labels, strict=True)
            ]
        findings = judge_all(shown, pictures, self.pictures(scenes), self.detector)
        finds = self.detector.find(pictures_as_detected(pictures))
        own = (addition.latents - scenes).square().mean((1, 2, 3)).tolist()
        other = (addition.latents - scenes.roll(1, 0)).square().mean((1, 2, 3)).tolist()
        rows = []
        for index, (case, finding) in enumerate(zip(cases, findings, strict=True)):
            matches = judging.matches(finds[index], case.labels)
            row = {"seed": case.seed, "toys": case.toys, **asdict(finding)}
            row |= {"to_own": own[index], "to_other": other[index]}
            row["all_shapes"] = float(np.mean([match[2] for match in matches]))
            row["row_forwards"] = addition.row_forwards / len(cases)
            if addition.mask is not None:
                row["mask"] = float(addition.mask[index].mean())
                row["map_in_box"] = _map_in_box(addition.subject_map, index, finding.box)
            if addition.gamma is not None:
                row["gamma"] = float(addition.gamma[index])
            rows.append(row)
        return rows, pictures


def _map_in_box(maps: Tensor | None, index: int, box: Sequence[float] | None) -> float:
    """Whether the map's highest point lies in the new toy's box, give or take half a token; nan without either."""
    if maps is None or box is None:
        return float("nan")
    row, column = divmod(int(maps[index].argmax()), maps.shape[2])
    x = 16 * column + 8
    y = 16 * row + 8
    return float(box[0] - 8 <= x <= box[2] + 8 and box[1] - 8 <= y <= box[3] + 8)
