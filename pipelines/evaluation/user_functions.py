"""A method that a user wrote: a Python function from a case to a picture, in a file of theirs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from PIL import Image

from ..provenance import sha256_of_files
from .cases import FILE_SAFE, Case
from .inserters import Inserter

FORM = "NAME=FILE.py:FUNCTION is needed, each name once, of letters, digits, - and _"


def read_functions(texts: list[str], taken: list[str]) -> dict[str, tuple[Inserter, dict[str, Any]]]:
    """NAME=FILE.py:FUNCTION, each as an inserter and the facts that its pictures depend on, by name.

    The files are run, as a script would be. A picture depends on what is in the file; on what else the function reads,
    its author must keep an eye. Raises ValueError for another form, a name in `taken`, a file without the function or
    one that cannot be imported; FileNotFoundError.
    """
    methods: dict[str, tuple[Inserter, dict[str, Any]]] = {}
    for text in texts:
        name, _, place = text.partition("=")
        file, _, function = place.rpartition(":")
        if not file or not function or not FILE_SAFE.fullmatch(name) or name in (*taken, *methods):
            raise ValueError(f"--function {text}: {FORM}.")
        path = Path(file)
        facts = {"function": function, "source_sha256": sha256_of_files(path).get(path.name)}
        methods[name] = (_checked(name, _function(path, function)), facts)
    return methods


def _function(path: Path, name: str) -> Callable[[Case], Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file.")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file fails in many ways
        raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{path} has no function {name}.")
    return function


def _checked(name: str, function: Callable[[Case], Any]) -> Inserter:
    """The function, with a ValueError for what is no picture in its place."""

    def insert(case: Case) -> Image.Image:
        picture = function(case)
        if not isinstance(picture, Image.Image):
            kind = type(picture).__name__
            raise ValueError(f"--function {name} gave a {kind} for case {case.name}; a PIL picture is needed.")
        return picture.convert("RGB")

    return insert
