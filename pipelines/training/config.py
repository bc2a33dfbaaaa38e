"""The configuration of a training run: a YAML file as dataclasses, read strictly by pydantic."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError

T = TypeVar("T")
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]  # may begin with ~
METHOD = "method"  # the entry that says whose configuration it is
UNKNOWN = "unexpected_keyword_argument"  # pydantic's name for an entry that a dataclass does not have
KINDS = {"int": "int", "float": "float", "string": "str", "bool": "bool", "path": "Path"}  # pydantic's names and ours


class _Loader(yaml.SafeLoader):
    """YAML that reads 1e-4 as a number, which the YAML of 2005 takes for a text."""


EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))


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
    try:
        table: Any = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
        for change in changes:
            name, equals, value = change.partition("=")
            if not equals:
                raise ValueError(f"'{change}' is not of the form name=value")
            _set(table, name.split("."), yaml.load(value, _Loader))
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


def build(kind: type[T], table: Any) -> T:
    """A dataclass from a table; types are those of the fields. Raises ValueError naming the first wrong entry."""
    forbid_unknown_entries(kind)
    try:
        # By way of JSON, where a list may be a tuple and a text a path, and nothing else is taken for another type.
        return TypeAdapter(kind).validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        raise ValueError(_sentence(kind, error)) from error


def forbid_unknown_entries(kind: type) -> None:
    """Let pydantic refuse entries that a dataclass, or one inside of it, does not have."""
    kind.__pydantic_config__ = ConfigDict(extra="forbid")  # pyright: ignore
    for annotation in get_type_hints(kind).values():
        for inner in (annotation, *get_args(annotation)):
            if is_dataclass(inner):
                forbid_unknown_entries(inner)  # pyright: ignore


def _sentence(kind: type, error: ValidationError) -> str:
    """What is wrong first, as a sentence without its full stop."""
    unknown = [wrong for wrong in error.errors() if wrong["type"] == UNKNOWN]
    wrong = min(unknown, key=lambda one: (len(one["loc"]), one["loc"])) if unknown else error.errors()[0]
    entry = ".".join(map(str, wrong["loc"]))
    problem = wrong["type"]
    if problem == UNKNOWN:
        return f"unknown entry '{entry}'; known there: {_entries(kind, wrong['loc'][:-1])}"
    if problem == "missing":
        return f"the entry '{entry}' is missing"
    if problem == "dataclass_type":
        return f"'{entry}' must be a table of {_entries(kind, wrong['loc'])}"
    if problem == "value_error":
        return f"{entry or 'configuration'}: {wrong['msg'].removeprefix('Value error, ')}"
    expected = KINDS.get(problem.removesuffix("_type"))
    if expected:
        return f"'{entry}' must be of type {expected}, not {wrong['input']!r}"
    return f"'{entry}': {wrong['msg']}, not {wrong['input']!r}"


def _entries(kind: type, location: tuple[int | str, ...]) -> str:
    """The names of the entries that the dataclass at a location has."""
    for name in location:
        kind = get_type_hints(kind)[str(name)]
    return ", ".join(entry.name for entry in fields(kind))  # pyright: ignore
