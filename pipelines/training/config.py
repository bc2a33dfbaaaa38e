"""The configuration of a training run: a YAML file as dataclasses, read strictly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

T = TypeVar("T")
METHOD = "method"  # the entry that says whose configuration it is


def find_config(path: Path, recipes: Iterable[Path]) -> Path:
    """A configuration's file, which `path` is or, in one of the folders `recipes`, has the name of.

    Raises FileNotFoundError, naming the recipes there are.
    """
    shipped = {recipe.stem: recipe for folder in recipes for recipe in folder.glob("*.yaml")}
    if path.is_file():
        return path
    name = path.name.removesuffix(".yaml")
    if path.parent != Path() or name not in shipped:
        raise FileNotFoundError(f"{path} does not exist. Shipped recipes are: {', '.join(sorted(shipped))}.")
    return shipped[name]


def read_config(path: Path, kinds: Mapping[str, Callable[[], type]], changes: Iterable[str] = ()) -> tuple[str, Any]:
    """The method that the configuration in a YAML file is of, and its content with `changes` like "run.steps=100".

    `kinds` gives each method's dataclass when it is needed; the first one's is that of a file which names no method.
    Raises ValueError for anything a configuration does not know, naming it.
    """
    import yaml

    try:
        table: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for change in changes:
            name, equals, value = change.partition("=")
            if not equals:
                raise ValueError(f"'{change}' is not of the form name=value")
            _set(table, name.split("."), yaml.safe_load(value))
        method = table.pop(METHOD, next(iter(kinds)))
        if method not in kinds:
            raise ValueError(f"there is no {METHOD} '{method}'; known: {', '.join(kinds)}")
        return method, build(kinds[method](), table)
    except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not a usable configuration: {error}.") from error


def _set(table: Any, names: list[str], value: Any) -> None:
    *parents, last = names
    for parent in parents:
        table = table.setdefault(parent, {})
    table[last] = value


def build(kind: type[T], content: Any, where: str = "") -> T:
    """A dataclass from a table; types are those of the fields. Raises ValueError naming what does not fit."""
    entries: Any = fields(kind)  # pyright: ignore
    known = ", ".join(entry.name for entry in entries)
    if not isinstance(content, dict):
        raise ValueError(f"'{where}' must be a table of {known}")
    unknown = content.keys() - {entry.name for entry in entries}
    if unknown:
        raise ValueError(f"unknown entry '{_join(where, min(unknown))}'; known there: {known}")
    types = get_type_hints(kind)
    values = {}
    for entry in entries:
        name = _join(where, entry.name)
        if entry.name in content:
            values[entry.name] = _value(types[entry.name], content[entry.name], name)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"the entry '{name}' is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where or 'configuration'}: {error}") from error


def _value(kind: Any, value: Any, name: str) -> Any:
    if is_dataclass(kind):
        return build(kind, value, name)  # pyright: ignore
    choices = get_args(kind)
    if type(None) in choices:
        return None if value is None else _value(choices[0], value, name)
    if choices:  # a tuple of numbers
        if not isinstance(value, list) or len(value) != len(choices):
            raise ValueError(f"'{name}' must be a list of {len(choices)} numbers")
        return tuple(_value(choice, item, name) for choice, item in zip(choices, value, strict=True))
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):  # YAML reads 1e-4 as text
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    if type(value) is not kind:
        raise ValueError(f"'{name}' must be of type {kind.__name__}, not {value!r}")
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
