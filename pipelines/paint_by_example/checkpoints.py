"""Paint by Example's published weights: the original LDM checkpoint in one file, and the diffusers folder.

Key names: Fantasy-Studio/Paint-by-Example, ldm/modules/encoders/modules.py and xf.py; diffusers'
`PaintByExampleImageEncoder`. The LDM file has everything; `model.ckpt` comes with 5.24 GB, and with 12.6 GB where the
optimizer's state is inside. What is not needed is not read of either.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..weights.layouts import kind_of
from ..weights.reading import StateDict, describe_non_finite
from ..weights.unets import CONFIG, STEM, Stored, UNetFiles, open_unet, read_json, unet_folder
from .exemplar_encoder import ExemplarEncoder, ExemplarSettings, from_state

CHANNELS = 9  # of the UNet's input: noisy latent, latent of the masked scene, mask
ADVICE = (
    "Use Paint by Example's own weights: model.ckpt (5.24 or 12.6 GB), model.safetensors, or the diffusers folder with "
    "unet, vae and image_encoder."
)
UNET, VAE, VISION = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."  # of an LDM file
VISION_DIFFUSERS = "model."  # of a diffusers image encoder
ENCODER_FILES = ("model.fp16.safetensors", "model.safetensors", "pytorch_model.fp16.bin", "pytorch_model.bin")
VAE_FILES = tuple(f"{STEM}{variant}.{kind}" for kind in ("safetensors", "bin") for variant in ("", ".fp16"))

_BLOCK = {  # ours -> (LDM, diffusers), of one block
    "norm_attend": ("ln_1", "norm1"),
    "to_qkv": ("attn.c_qkv", ""),  # diffusers has it in three
    "to_out": ("attn.c_proj", "attn1.to_out.0"),
    "norm_think": ("ln_2", "norm3"),
    "expand": ("mlp.c_fc", "ff.net.0.proj"),
    "contract": ("mlp.c_proj", "ff.net.2"),
}
_ENDS = {"norm": ("cond_stage_model.final_ln", "final_layer_norm"), "project": ("proj_out", "proj_out")}
_NULL = ("learnable_vector", "uncond_vector")
_LDM_BLOCKS, _DIFFUSERS_BLOCKS = "cond_stage_model.mapper.resblocks.", "mapper.blocks."
_QKV = ("attn1.to_q", "attn1.to_k", "attn1.to_v")


# The exemplar encoder's tensors, by name.


def ldm_names(blocks: int) -> dict[str, str]:
    """Our name -> name in an LDM checkpoint, for an exemplar encoder of so many blocks."""
    modules = {ours: theirs for ours, (theirs, _) in _ENDS.items()}
    for block in range(blocks):
        modules |= {f"blocks.{block}.{ours}": f"{_LDM_BLOCKS}{block}.{theirs}" for ours, (theirs, _) in _BLOCK.items()}
    return {"null": _NULL[0]} | _tensors(modules)


def diffusers_names(blocks: int) -> dict[str, str | tuple[str, str, str]]:
    """Our name -> name in diffusers' image encoder; one of ours is three of theirs, joined along the first axis."""
    modules = {ours: theirs for ours, (_, theirs) in _ENDS.items()}
    for block in range(blocks):
        modules |= {
            f"blocks.{block}.{ours}": f"{_DIFFUSERS_BLOCKS}{block}.{theirs}"
            for ours, (_, theirs) in _BLOCK.items()
            if theirs
        }
    names: dict[str, Any] = {"null": _NULL[1]} | _tensors(modules)
    for block in range(blocks):
        for kind in ("weight", "bias"):
            parts = tuple(f"{_DIFFUSERS_BLOCKS}{block}.{part}.{kind}" for part in _QKV)
            names[f"blocks.{block}.to_qkv.{kind}"] = parts
    return names


def _tensors(modules: Mapping[str, str]) -> dict[str, str]:
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in modules.items() for kind in ("weight", "bias")}


def blocks_in(names: Iterable[str]) -> int:
    """How many blocks of an exemplar encoder the names of either layout describe."""
    names = set(names)
    ends = ((_LDM_BLOCKS, ".ln_1.weight"), (_DIFFUSERS_BLOCKS, ".norm1.weight"))
    return sum(name.startswith(start) and name.endswith(end) for name in names for start, end in ends)


def from_ldm(state: Mapping[str, Tensor]) -> StateDict:
    """Our tensors of an LDM checkpoint's; others are left out. Raises ValueError naming one that is missing."""
    names = ldm_names(blocks_in(state))
    _require(names.values(), state)
    return {ours: state[theirs] for ours, theirs in names.items()}


def to_ldm(state: Mapping[str, Tensor]) -> StateDict:
    """The inverse of `from_ldm`."""
    return {theirs: state[ours] for ours, theirs in ldm_names(_blocks_of_ours(state)).items()}


def from_diffusers(state: Mapping[str, Tensor]) -> StateDict:
    """Our tensors of diffusers' image encoder; others are left out. Raises ValueError naming one that is missing."""
    names = diffusers_names(blocks_in(state))
    _require(_flat(names.values()), state)
    return {
        ours: state[theirs] if isinstance(theirs, str) else torch.cat([state[part] for part in theirs])
        for ours, theirs in names.items()
    }


def to_diffusers(state: Mapping[str, Tensor]) -> StateDict:
    """The inverse of `from_diffusers`."""
    found: StateDict = {}
    for ours, theirs in diffusers_names(_blocks_of_ours(state)).items():
        if isinstance(theirs, str):
            found[theirs] = state[ours]
        else:
            found |= {part: piece.contiguous() for part, piece in zip(theirs, state[ours].chunk(3), strict=True)}
    return found


def _blocks_of_ours(state: Mapping[str, Tensor]) -> int:
    return sum(name.endswith(".to_qkv.weight") for name in state)


def _flat(names: Iterable[str | tuple[str, ...]]) -> list[str]:
    return [name for entry in names for name in ([entry] if isinstance(entry, str) else entry)]


def _require(names: Iterable[str], state: Iterable[str]) -> None:
    if absent := sorted(set(names) - set(state)):
        raise ValueError(f"it lacks {len(absent)} tensors of the exemplar encoder (such as {absent[0]})")


# Files of which only what is needed is read.


def _nothing(*_: Any) -> None:
    """Stands for what a training checkpoint carries beside its tensors."""


_HARMLESS: list[Any] = [  # globals in model.ckpt; the functions and classes named are not run, `_nothing` is
    *(
        (_nothing, name)
        for name in (
            "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "_codecs.encode",
        )
    ),
    *(np.dtype, *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64"))),  # of those scalars
]


def map_pickle(path: Path) -> StateDict:
    """The tensors of a pickled checkpoint, mapped: what is not touched is not read.

    Raises ValueError for a file that is cut off, holds more than plain tensors and numbers, or cannot be mapped.
    """
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged or malicious pickle fails in many ways
        raise ValueError(
            f"{path} is a pickle that cannot be read as plain tensors ({type(error).__name__}), and nothing else is "
            f"run from a weight file. It may be cut off ({path.stat().st_size:,} bytes): compare size and sha256, "
            "or take a safetensors file of the same weights."
        ) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError(f"{path} does not hold a table of tensors. {ADVICE}")
    return state


@dataclass(frozen=True)
class TensorFile:
    """The tensors of one weight file by name, safetensors or pickle; what is not asked for is not read."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, torch.dtype]
    pickled: bool

    def read(self, names: Iterable[str]) -> StateDict:
        """These tensors. Raises ValueError for NaN or infinity."""
        if self.pickled:
            mapped = map_pickle(self.path)
            state = {name: mapped[name] for name in names}
        else:
            with safe_open(self.path, framework="pt") as file:
                state = {name: file.get_tensor(name) for name in names}
        if bad := describe_non_finite(state):
            raise ValueError(f"{self.path} holds values that are not finite: {bad}. Fetch another copy.")
        return state

    def read_below(self, prefix: str) -> StateDict:
        """The tensors whose names begin so, by the rest of the name; numbers that are not learned are left out."""
        names = [name for name in self.shapes if name.startswith(prefix) and not name.endswith("position_ids")]
        return {name.removeprefix(prefix): tensor for name, tensor in self.read(names).items()}


def open_tensors(path: Path) -> TensorFile:
    """A weight file by its content, whatever its name. Raises FileNotFoundError, or ValueError for a damaged one."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    with open(path, "rb") as file:
        start = file.read(9)
    if start.startswith((b"PK\3\4", b"\x80")) and start[8:] != b"{":
        state = map_pickle(path)
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        return TensorFile(path, shapes, {name: tensor.dtype for name, tensor in state.items()}, pickled=True)
    kinds = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
    try:
        with safe_open(path, framework="pt") as file:
            pieces = {name: file.get_slice(name) for name in file.keys()}
            shapes = {name: tuple(piece.get_shape()) for name, piece in pieces.items()}
            dtypes = {name: kinds.get(piece.get_dtype(), torch.int8) for name, piece in pieces.items()}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({path.stat().st_size:,} bytes): {error}. It may be cut off, "
            "or a web page saved under that name; download it again and compare its size and sha256."
        ) from error
    return TensorFile(path, shapes, dtypes, pickled=False)


class MappedUNet(UNetFiles):
    """The UNet in a pickled LDM checkpoint: mapped anew for every window, so that no more than one is in memory."""

    def read(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        for window in self._windows(self.stored if names is None else names):
            state = map_pickle(self.where)
            for name in window:
                yield name, self._checked(name, state[self.stored[name].name])


# The model, wherever it lies.


@dataclass(frozen=True)
class PaintByExampleFiles:
    """Paint by Example's weights, not yet read."""

    where: Path  # one LDM file, or a diffusers folder
    encoder: TensorFile  # holds the exemplar encoder and its vision tower

    @property
    def layout(self) -> str:
        return "diffusers" if self.where.is_dir() else "LDM"

    def exemplar_encoder(self, operations: Any = nn) -> ExemplarEncoder:
        """The exemplar encoder, in float32. Raises ValueError for missing tensors, wrong shapes, NaN or infinity."""
        blocks = blocks_in(self.encoder.shapes)
        folder = self.layout == "diffusers"
        names = _flat(diffusers_names(blocks).values()) if folder else list(ldm_names(blocks).values())
        try:
            _require(names, self.encoder.shapes)
            state = (from_diffusers if folder else from_ldm)(self.encoder.read(names))
        except ValueError as error:
            if str(self.encoder.path) in str(error):
                raise
            raise ValueError(f"{self.encoder.path} is not whole: {error}. Fetch it again.") from error
        width, context = state["norm.weight"].shape[0], state["project.weight"].shape[0]
        return from_state(ExemplarSettings(width, context, blocks), state, self.encoder.path, operations)

    def vision(self) -> StateDict:
        """The vision tower by transformers' names, vision_model.*."""
        state = self.encoder.read_below(VISION_DIFFUSERS if self.layout == "diffusers" else VISION)
        if "post_layernorm.weight" in state:  # as transformers 5 writes it
            state = {f"vision_model.{name}": tensor for name, tensor in state.items()}
        if "vision_model.post_layernorm.weight" not in state:
            raise ValueError(f"{self.encoder.path} lacks the vision encoder (vision_model...). {ADVICE}")
        return state

    def unet(self) -> UNetFiles:
        """The UNet. Raises what `open_unet` raises."""
        if self.layout == "diffusers":
            return open_unet(unet_folder(self.where))
        if not self.encoder.pickled:
            return open_unet(self.where)
        stored = {
            name.removeprefix(UNET): Stored(self.where, name, shape, self.encoder.dtypes[name])
            for name, shape in self.encoder.shapes.items()
            if name.startswith(UNET)
        }
        return MappedUNet(self.where, "LDM", stored)

    def vae(self) -> StateDict:
        """The VAE, in LDM's names or in diffusers'. Raises FileNotFoundError or ValueError when there is none."""
        if self.layout == "LDM":
            state = self.encoder.read_below(VAE)
        else:
            state = open_tensors(_first(self.where / "vae", VAE_FILES)).read_below("")
        if not state:
            raise ValueError(f"{self.where} holds no VAE ({VAE}...). {ADVICE}")
        return state

    @property
    def parameters(self) -> int:
        """Of the exemplar encoder alone: what is kept beside the stock parts."""
        blocks = blocks_in(self.encoder.shapes)
        names = _flat(diffusers_names(blocks).values()) if self.layout == "diffusers" else ldm_names(blocks).values()
        return sum(math.prod(self.encoder.shapes[name]) for name in names if name in self.encoder.shapes)


def _first(folder: Path, candidates: Iterable[str]) -> Path:
    candidates = list(candidates)
    for name in candidates:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} holds no weights: none of {', '.join(candidates)} is there.")


def open_paint_by_example(path: Path) -> PaintByExampleFiles:
    """Paint by Example in an LDM checkpoint (.ckpt, .safetensors) or a diffusers folder.

    Raises FileNotFoundError for what is not there, ValueError for a damaged file and for another kind of model.
    """
    path = Path(path)
    if path.is_dir():
        config = unet_folder(path) / CONFIG
        check_channels(path, read_json(config).get("in_channels", 4))
        encoder = open_tensors(_first(path / "image_encoder", ENCODER_FILES))
        if _NULL[1] not in encoder.shapes:
            raise ValueError(
                f"{encoder.path} is a plain vision encoder: it has no exemplar encoder behind it ({_NULL[1]}, mapper). "
                f"{ADVICE}"
            )
        return PaintByExampleFiles(path, encoder)
    file = open_tensors(path)
    if f"{UNET}input_blocks.0.0.weight" not in file.shapes:
        raise ValueError(f"{path} is no LDM checkpoint: it has no UNet ({UNET}...). {ADVICE}")
    if f"{UNET}label_emb.0.0.weight" in file.shapes:
        raise ValueError(f"{path} is of SDXL's family; Paint by Example is of Stable Diffusion 1.4's. {ADVICE}")
    check_channels(path, file.shapes[f"{UNET}input_blocks.0.0.weight"][1])
    if _NULL[0] not in file.shapes or not blocks_in(file.shapes):
        raise ValueError(
            f"{path} is another inpainting model: its UNet takes {CHANNELS} channels as well, but it has no exemplar "
            f"encoder ({_NULL[0]}, cond_stage_model.mapper). {ADVICE}"
        )
    return PaintByExampleFiles(path, file)


def check_channels(where: Path, channels: int) -> None:
    """Raise ValueError unless a UNet takes as many input channels as Paint by Example's."""
    if channels != CHANNELS:
        raise ValueError(
            f"{where} is {kind_of(channels)}: its UNet takes {channels} channels, Paint by "
            f"Example's takes {CHANNELS} (noise, masked scene, mask). {ADVICE}"
        )
