"""The JSON files beside weights, and networks drawn from them before any memory is spent on one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from textwrap import shorten
from threading import get_ident
from typing import Any

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

CONFIG = "config.json"
PIXELS = "preprocessor_config.json"
MOST_PIXEL = 1000  # mean and deviation of pixels in 0..1 or 0..255
DEEPEST = 20  # tables in tables of a config; published ones have up to 4
SPARE = 1000  # parameters a network may have beyond twice its file's tensors, so that the missing ones can be named


def read_json(path: Path) -> dict[str, Any]:
    """Content of a config file. Raises FileNotFoundError or ValueError naming the file."""
    return parse_table(path.read_bytes(), str(path))


def parse_table(text: bytes | str, where: str) -> dict[str, Any]:
    """The table in a JSON text. Raises ValueError saying `where` it was."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{where} is not valid JSON: {error}. It may be cut off, or a web page saved under its name: download it "
            "again."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{where} is not valid JSON for a config: it holds no table of settings.")
    if _is_deep(content):
        raise ValueError(f"{where} is not valid JSON for a config: its settings are nested more than {DEEPEST} times.")
    return content


def _is_deep(content: dict[str, Any]) -> bool:
    """Whether tables and rows lie in each other more than DEEPEST times, which would exhaust who looks into them."""
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        rows = (list(one.values()) if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [inner for row in rows for inner in row]
    return any(isinstance(one, dict | list) for one in level)


def check_like(config: Mapping[str, Any], kind: Any, path: Path) -> None:
    """Raise ValueError, naming the file, for settings of another type than the defaults of `kind`, a class, have."""
    for name, parameter in signature(kind.__init__).parameters.items():
        value = config.get(name)
        if value is None:
            continue
        default = parameter.default
        single = isinstance(default, bool | int | float | str) and not isinstance(value, list)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if single and not (number if isinstance(default, float) else type(value) is type(default)):
            raise ValueError(f"{path} is not the config of a {kind.__name__}: '{name}' is {value!r}.")
        if not _can_count(value):
            raise ValueError(f"{path} is not the config of a {kind.__name__}: '{name}' is {value!r}, which cannot be.")


def check_counts_in(config: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError, naming the file, for a number in a config that is negative and whole, or not finite."""
    for name, value in config.items():
        if not name.endswith("_token_id") and not isinstance(value, list) and not _can_count(value):
            raise ValueError(f"{path}: '{name}' is {value!r}, which cannot be.")


def _can_count(value: Any) -> bool:
    """Whether whole numbers in a setting are not negative, and others are finite."""
    if isinstance(value, list):
        return all(map(_can_count, value))
    return value >= 0 if isinstance(value, int) else not isinstance(value, float) or math.isfinite(value)


def pixel_statistics(path: Path) -> tuple[list[float], list[float]]:
    """Mean and standard deviation [3] of what a vision encoder sees. Raises FileNotFoundError, ValueError."""
    facts = read_json(path)
    for name in ("image_mean", "image_std"):
        values = facts.get(name)
        if not isinstance(values, list) or len(values) != 3 or not all(type(one) in (int, float) for one in values):
            raise ValueError(f"{path}: '{name}' must be three numbers, not {shorten(repr(values), 80)}.")
        if not all(abs(one) < MOST_PIXEL and (one > 0 or name == "image_mean") for one in values):
            raise ValueError(f"{path}: '{name}' must be three numbers of a picture, not {shorten(repr(values), 80)}.")
    return facts["image_mean"], facts["image_std"]


def count_in(config: Mapping[str, Any], name: str, path: Path, most: int | None = None) -> int:
    """A whole number above 0 in a config. Raises ValueError naming the file."""
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most and value > most):
        limit = f"from 1 to {most:,}" if most else "above 0"
        raise ValueError(f"{path}: '{name}' must be a whole number {limit}, not {shorten(repr(value), 80)}.")
    return value


def counts_in(config: Mapping[str, Any], name: str, path: Path) -> list[int]:
    """A row of whole numbers above 0 in a config. Raises ValueError naming the file."""
    values = config.get(name)
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"{path}: '{name}' must be a row of whole numbers, not {shorten(repr(values), 80)}.")
    return [count_in({name: value}, name, path) for value in values]


def check_choice(config: Mapping[str, Any], name: str, choices: Sequence[str], path: Path) -> None:
    """Raise ValueError, naming the file, for a setting that is there and none of the choices."""
    if config.get(name, choices[0]) not in choices:
        raise ValueError(f"{path} asks for {name} '{config[name]}'; known are {', '.join(choices)}.")


@contextmanager
def blueprint(settings: str, tensors: int) -> Iterator[None]:
    """Networks that are built inside have shapes and no memory, and about as many `tensors` as their weights have.

    Raises ValueError, saying where the `settings` are from, for whatever goes wrong.
    """
    thread = get_ident()
    most = 2 * tensors + SPARE
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += get_ident() == thread
        if count > most:
            raise ValueError(f"it asks for more than {most:,} tensors, its weights are {tensors:,}")

    hook = register_module_parameter_registration_hook(counted)
    try:
        with torch.device("meta"):
            yield
    except Exception as error:  # each library fails in its own way over a number it did not expect
        detail = shorten(str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}", 300)
        raise ValueError(f"{settings} does not describe a network that can be built: {detail}") from error
    finally:
        hook.remove()
