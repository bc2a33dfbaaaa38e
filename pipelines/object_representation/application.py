"""Learned objects applied to a stand-alone pipeline, for as long as something is painted or inserted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from . import learned_object
from .learned_object import LearnedObject, check_strength, check_width
from .training.of_pipeline import attention_layers


@dataclass(frozen=True)
class Applied:
    """A learned object, how strong it is, and where it came from."""

    learned: LearnedObject
    strength: float
    path: Path


def read_applied(text: str) -> Applied:
    """The object of FILE or FILE:STRENGTH. Raises what `learned_object.load` does, and ValueError for a bad number."""
    name = text
    strength = 1.0
    front, colon, number = text.rpartition(":")
    if colon and _is_number(number) and not Path(text).exists():
        name = front
        strength = float(number)
    check_strength(strength)
    return Applied(learned_object.load(Path(name)), strength, Path(name))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_applied(unet: Any, objects: Sequence[Applied]) -> None:
    """Raise ValueError, naming the file, for an object that was not learned on this diffusers UNet."""
    layers = attention_layers(unet)
    for one in objects:
        try:
            check_width(one.learned, unet.config["cross_attention_dim"])
            one.learned.check_base(layers)
        except ValueError as error:
            raise ValueError(f"{one.path}: {error}.") from error


@contextmanager
def applied(unet: Any, objects: Sequence[Applied]) -> Iterator[None]:
    """Let the changes of objects count in a diffusers UNet while inside; those of strength 0 leave every bit.

    Raises what `check_applied` does, and ValueError, naming the file, for changes that are damaged.
    """
    check_applied(unet, objects)
    layers = attention_layers(unet)
    with ExitStack() as stack:
        for one in objects:
            try:
                changes = one.learned.changes(layers)
            except ValueError as error:
                raise ValueError(f"{one.path}: {error}.") from error
            stack.enter_context(changes.to(unet.device).attached(layers, one.strength))
        yield


def contexts_of(one: Applied, null: Tensor, exemplar: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Contexts (object, null) [B,N,C], behind those [B,M,C] of an exemplar or of the stored one, for a null [Q,C].

    Raises ValueError, naming the file, for an object that takes no exemplar.
    """
    try:
        shown = None if exemplar is None else exemplar.float().cpu()
        return one.learned.contexts(one.strength, shown, null.detach().float().cpu())
    except ValueError as error:
        raise ValueError(f"{one.path}: {error}.") from error
