"""The configuration of a training run: a YAML file, read strictly."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from ...training.trainer import Settings
from .augmentation import Augmentation
from .insertion import Dropout, Weighting
from .preparation import PictureSettings

T = TypeVar("T")
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class ModelFolders:
    base: Path  # a diffusers InstructPix2Pix folder: unet, vae, scheduler; text_encoder and tokenizer for its null
    image_encoder: Path | None = None  # a transformers CLIP vision folder; default: the one in `base`
    detail_encoder: Path | None = None  # a transformers DINOv2 folder, read beside CLIP


@dataclass(frozen=True)
class TrainingData:
    train: Path  # a folder with metadata.jsonl, see triplet_folder
    validation: Path | None = None
    cache: Path | None = None  # where encodings go; default: `cache` in the run's folder
    pictures: PictureSettings = field(default_factory=PictureSettings)
    augment: bool = True  # the objects' pictures; without it vision tokens are cached
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class OptimizerPart:
    variant: str = "resampler"
    blocks: int = 4
    heads: int = 8
    start: Path | None = None  # an embedding optimizer file to go on from
    no_object: str = "empty prompt"  # the null: of the base model's text encoder; "zeros"; "released", the authors' mix
    random_queries: bool = False  # noise in every forward, as in the authors' code


@dataclass(frozen=True)
class UNetPart:
    train: str = "none"  # "none", "kv" (keys and values of the cross-attention) or "attn2" (all of it)
    rate: float = 1.0  # times the learning rate
    tensors: int | None = None  # what `train` must match, counted; None takes what it matches
    parameters: int | None = None
    checkpointing: bool = False  # recompute activations in the backward pass: slower, much less memory


@dataclass(frozen=True)
class TrainingConfig:
    folder: Path  # of the run: checkpoint, logs, sheets, results
    models: ModelFolders
    data: TrainingData
    batch: int  # over all processes and accumulation steps
    run: Settings
    optimizer: OptimizerPart = field(default_factory=OptimizerPart)
    unet: UNetPart = field(default_factory=UNetPart)
    dropout: Dropout = field(default_factory=Dropout)
    weighting: Weighting = field(default_factory=Weighting)
    licence: str = "not stated"  # of the weights that come out; goes into their metadata


def read_config(path: Path, changes: list[str] | None = None) -> TrainingConfig:
    """The configuration in a YAML file, or of a shipped recipe's name, with `changes` such as "run.steps=100".

    Raises FileNotFoundError, or ValueError for anything a configuration does not know, naming it.
    """
    import yaml

    shipped = RECIPES / f"{path.name.removesuffix('.yaml')}.yaml"
    if not path.is_file() and path.parent == Path() and shipped.is_file():
        path = shipped
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
        raise FileNotFoundError(f"{path} does not exist. Shipped recipes are: {known}.")
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for change in changes or []:
            name, equals, value = change.partition("=")
            if not equals:
                raise ValueError(f"'{change}' is not of the form name=value")
            *parents, last = name.split(".")
            table = content
            for parent in parents:
                table = table.setdefault(parent, {})
            table[last] = yaml.safe_load(value)
        return _build(TrainingConfig, content, "")
    except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not a usable configuration: {error}.") from error


def _build(kind: type[T], content: Any, where: str) -> T:
    """A dataclass from a table; types are those of the fields."""
    known: Any = fields(kind)  # pyright: ignore
    if not isinstance(content, dict):
        raise ValueError(f"'{where}' must be a table of {', '.join(f.name for f in known)}")
    if unknown := content.keys() - {f.name for f in known}:
        names = ", ".join(f.name for f in known)
        raise ValueError(f"unknown entry '{_join(where, min(unknown))}'; known there: {names}")
    types, values = get_type_hints(kind), {}
    for entry in known:
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
        return _build(kind, value, name)  # pyright: ignore
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
