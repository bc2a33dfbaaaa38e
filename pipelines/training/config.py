"""The configuration of a training run: a YAML file as dataclasses, read strictly by pydantic."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError

T = TypeVar("T")
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]  # may begin with ~
SHIPPED = Path(__file__).resolve().parents[2] / "playroom_models"  # comes with the pack
METHOD = "method"  # the entry that says whose configuration it is
UNKNOWN = "unexpected_keyword_argument"  # pydantic's name for an entry that a dataclass does not have
KINDS = {"int": "int", "float": "float", "string": "str", "bool": "bool", "path": "Path"}  # pydantic's names and ours

RANGES = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "literal_error": "one of {expected}",
    "finite_number": "a finite number",
}  # pydantic's names, in our words


def _or_shipped(path: Path) -> Path:
    path = path.expanduser()
    return SHIPPED if path == Path(SHIPPED.name) and not path.exists() else path


ModelPath = Annotated[Path, AfterValidator(_or_shipped)]  # the models that ship may be named anywhere by their name


class _Loader(yaml.SafeLoader):
    """YAML that reads 1e-4 as a number, which the YAML of 2005 takes for a text, and refuses what hides a mistake.

    That is an entry given twice; and references, with which a small file can stand for an endless one.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError(f"references (*{self.peek_event().anchor}) are not supported; write the values out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [name for name, count in Counter(map(str, names)).items() if count > 1]
        if twice:
            raise ValueError(f"the entry '{twice[0]}' is there twice (line {node.start_mark.line + 1} and below)")
        return super().construct_mapping(node, deep)


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
        if not isinstance(table, dict):
            raise ValueError("it is no table of entries")
        for change in changes:
            name, equals, value = change.partition("=")
            if not equals:
                raise ValueError(f"'{change}' is not of the form name=value")
            _set(table, name.split("."), yaml.load(value, _Loader))
        method = table.pop(METHOD, next(iter(kinds)))
        if method not in kinds:
            raise ValueError(f"there is no {METHOD} '{method}'; known: {', '.join(kinds)}")
        return method, build(kinds[method](), table)
    except (yaml.YAMLError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a usable configuration: {str(error).removesuffix('.')}.") from error


def _set(table: Any, names: list[str], value: Any) -> None:
    *parents, last = names
    for parent in parents:
        table = table.setdefault(parent, {})
    table[last] = value


def build(kind: type[T], table: Any) -> T:
    """A dataclass from a table; types and ranges are those of the fields. Raises ValueError, naming what is wrong."""
    forbid_unknown_entries(kind)
    try:
        # By way of JSON, where a list may be a tuple and a text a path, and nothing else is taken for another type.
        return TypeAdapter(kind).validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        raise ValueError("; ".join(_sentences(kind, error))) from error


def entries(config: Any, free: Collection[str], prefix: str = "") -> dict[str, str]:
    """What a configuration says, by the entries' names, but for those in `free`, which may be tables, and for paths."""
    said: dict[str, str] = {}
    for entry in fields(config):
        name = f"{prefix}{entry.name}"
        value = getattr(config, entry.name)
        if name in free or isinstance(value, Path):
            continue
        said |= entries(value, free, f"{name}.") if is_dataclass(value) else {name: str(value)}
    return said


def forbid_unknown_entries(kind: type) -> None:
    """Let pydantic refuse entries that a dataclass, or one inside of it, does not have."""
    kind.__pydantic_config__ = ConfigDict(extra="forbid")  # pyright: ignore
    for annotation in get_type_hints(kind).values():
        for inner in (annotation, *get_args(annotation)):
            if is_dataclass(inner):
                forbid_unknown_entries(inner)  # pyright: ignore


def _sentences(kind: type, error: ValidationError) -> list[str]:
    """What is wrong, an entry each, what is unknown first: a mistyped name is often why another one is missing."""
    by_place = sorted(error.errors(), key=lambda one: (one["type"] != UNKNOWN, len(one["loc"]), str(one["loc"])))
    return list(dict.fromkeys(_sentence(kind, wrong) for wrong in by_place))


def _sentence(kind: type, wrong: Any) -> str:
    """What is wrong with an entry, without a full stop."""
    entry = ".".join(map(str, wrong["loc"]))
    problem = wrong["type"]
    if problem == UNKNOWN:
        return f"unknown entry '{entry}'; known there: {_entries(kind, wrong['loc'][:-1])}"
    if problem == "missing":
        return f"the entry '{entry}' is missing"
    if problem == "dataclass_type":
        return f"'{entry}' must be a table of {_entries(kind, wrong['loc'])}"
    if problem == "value_error":
        reason = wrong["msg"].removeprefix("Value error, ")
        return f"'{entry}' {reason}" if reason.startswith("must") else f"{entry or 'configuration'}: {reason}"
    if problem in RANGES:
        return f"'{entry}' must be {RANGES[problem].format(**wrong.get('ctx', {}))}, not {wrong['input']!r}"
    expected = KINDS.get(problem.removesuffix("_type"))
    if expected:
        return f"'{entry}' must be of type {expected}, not {wrong['input']!r}"
    return f"'{entry}': {wrong['msg']}, not {wrong['input']!r}"


def _entries(kind: type, location: tuple[int | str, ...]) -> str:
    """The names of the entries that the dataclass at a location has."""
    for name in location:
        kind = get_type_hints(kind)[str(name)]
    return ", ".join(entry.name for entry in fields(kind))  # pyright: ignore
