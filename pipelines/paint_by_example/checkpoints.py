"""Paint by Example's published weights: the original LDM checkpoint in one file, and the diffusers folder.

Key names: Fantasy-Studio/Paint-by-Example, ldm/modules/encoders/modules.py and xf.py; diffusers'
`PaintByExampleImageEncoder`. The LDM file has everything; `model.ckpt` comes with 5.24 GB, and with 12.6 GB where the
optimizer's state is inside. What is not needed is not read of either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..weights.configs import CONFIG, read_json
from ..weights.layouts import kind_of
from ..weights.reading import StateDict, check_dtypes
from ..weights.tensors import FULL_FIRST, MappedPickle, TensorFile, first_file, open_folder, open_tensors
from ..weights.unets import CANDIDATES, UNetFiles, first_channels, open_unet, unet_folder
from .exemplar_encoder import ExemplarEncoder, ExemplarSettings, from_state

CHANNELS = 9  # of the UNet's input: noisy latent, latent of the masked scene, mask
ADVICE = (
    "Use Paint by Example's own weights: model.ckpt (5.24 or 12.6 GB), model.safetensors, or the diffusers folder with "
    "unet, vae and image_encoder."
)
UNET, VAE, VISION = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."  # of an LDM file
VISION_DIFFUSERS = "model."  # of a diffusers image encoder
MODEL_FOLDER = "paint_by_example"  # in the folder of a training run
ENCODER_FILES = ("model.fp16.safetensors", "model.safetensors", "pytorch_model.fp16.bin", "pytorch_model.bin")

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
    renamed: StateDict = {}
    for ours, theirs in diffusers_names(_blocks_of_ours(state)).items():
        if isinstance(theirs, str):
            renamed[theirs] = state[ours]
        else:
            renamed |= {part: piece.contiguous() for part, piece in zip(theirs, state[ours].chunk(3), strict=True)}
    return renamed


def _blocks_of_ours(state: Mapping[str, Tensor]) -> int:
    return sum(name.endswith(".to_qkv.weight") for name in state)


def _flat(names: Iterable[str | tuple[str, ...]]) -> list[str]:
    return [name for entry in names for name in ([entry] if isinstance(entry, str) else entry)]


def _require(names: Iterable[str], state: Iterable[str]) -> None:
    if absent := sorted(set(names) - set(state)):
        raise ValueError(f"it lacks {len(absent)} tensors of the exemplar encoder (such as {absent[0]})")


# The model, wherever it lies.


@dataclass(frozen=True)
class PaintByExampleFiles:
    """Paint by Example's weights, not yet read."""

    where: Path  # one LDM file, or a diffusers folder
    encoder: TensorFile  # holds the exemplar encoder and its vision tower

    @property
    def layout(self) -> str:
        return "diffusers" if self.where.is_dir() else "LDM"

    @property
    def _names(self) -> list[str]:
        """Of the exemplar encoder's tensors, as they are in the file."""
        blocks = blocks_in(self.encoder.stored)
        if self.layout == "diffusers":
            return _flat(diffusers_names(blocks).values())
        return list(ldm_names(blocks).values())

    def exemplar_encoder(self, operations: Any = nn) -> ExemplarEncoder:
        """The exemplar encoder, in float32. Raises ValueError for missing tensors, wrong shapes, NaN or infinity."""
        to_ours = from_diffusers if self.layout == "diffusers" else from_ldm
        try:
            _require(self._names, self.encoder.stored)
            state = to_ours(self.encoder.read(self._names))
            context_width, encoder_width = state["project.weight"].shape
            settings = ExemplarSettings(encoder_width, context_width, blocks_in(self.encoder.stored))
        except (ValueError, RuntimeError) as error:  # torch's, for shapes that cannot be joined
            if str(self.encoder.path) in str(error):
                raise
            raise ValueError(f"{self.encoder.path} is not whole: {error}. Fetch it again.") from error
        return from_state(settings, state, self.encoder.path, operations)

    def vision(self) -> StateDict:
        """The vision tower by transformers' names, vision_model.*."""
        state = self.encoder.read_below(VISION_DIFFUSERS if self.layout == "diffusers" else VISION)
        if "post_layernorm.weight" in state:  # as transformers 5 writes it
            state = {f"vision_model.{name}": tensor for name, tensor in state.items()}
        if "vision_model.post_layernorm.weight" not in state:
            raise ValueError(f"{self.encoder.path} lacks the vision encoder (vision_model...). {ADVICE}")
        return state

    def unet(self, candidates: Sequence[str] = CANDIDATES) -> UNetFiles:
        """The UNet; of a folder the first of these files. Raises what `open_unet` raises."""
        if self.layout == "diffusers":
            return open_unet(unet_folder(self.where), candidates=candidates)
        if not isinstance(self.encoder, MappedPickle):
            return open_unet(self.where)
        entries = self.encoder.stored.items()
        stored = {name.removeprefix(UNET): entry for name, entry in entries if name.startswith(UNET)}
        check_dtypes({entry.name: entry.dtype for entry in stored.values()}, self.where)
        return UNetFiles(self.where, stored, {self.where: self.encoder}, "LDM")

    def vae(self) -> StateDict:
        """The VAE, in LDM's names or in diffusers'. Raises FileNotFoundError or ValueError when there is none."""
        if self.layout == "LDM":
            state = self.encoder.read_below(VAE)
        else:
            state = dict(open_folder(self.where / "vae", FULL_FIRST).read())
        if not state:
            raise ValueError(f"{self.where} holds no VAE ({VAE}...). {ADVICE}")
        return state

    @property
    def parameters(self) -> int:
        """Of the exemplar encoder alone: what is kept beside the stock parts."""
        stored = self.encoder.stored
        return sum(stored[name].parameters for name in self._names if name in stored)


def open_first(folder: Path, candidates: Sequence[str]) -> TensorFile:
    """The first of these files that a folder has. Raises FileNotFoundError, or ValueError for a damaged one."""
    return open_tensors(first_file(folder, candidates))


def part_of(folder: Path, name: str) -> Path:
    """A file in a model's folder or, failing that, in the one above. Raises FileNotFoundError."""
    for place in (folder, folder.resolve().parent):
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(
        f"{folder / name} is missing. Needed is a diffusers folder of Paint by Example (unet, vae, scheduler, "
        "image_encoder, feature_extractor)."
    )


def model_folder(path: Path) -> Path:
    """Where a model lies: in the folder itself, or in that of the training run which made it."""
    path = Path(path)
    trained = path / MODEL_FOLDER
    return trained if (trained / "unet" / CONFIG).is_file() and not (path / "unet").exists() else path


def open_paint_by_example(path: Path) -> PaintByExampleFiles:
    """Paint by Example in an LDM checkpoint (.ckpt, .safetensors) or a diffusers folder.

    Raises FileNotFoundError for what is not there, ValueError for a damaged file and for another kind of model.
    """
    path = model_folder(path)
    if path.is_dir():
        config = unet_folder(path) / CONFIG
        check_channels(path, read_json(config).get("in_channels", 4))
        encoder = open_first(path / "image_encoder", ENCODER_FILES)
        if _NULL[1] not in encoder.stored:
            raise ValueError(
                f"{encoder.path} is a plain vision encoder: it has no exemplar encoder behind it ({_NULL[1]}, mapper). "
                f"{ADVICE}"
            )
        return PaintByExampleFiles(path, encoder)
    file = open_tensors(path)
    if f"{UNET}input_blocks.0.0.weight" not in file.stored:
        raise ValueError(f"{path} is no LDM checkpoint: it has no UNet ({UNET}...). {ADVICE}")
    if f"{UNET}label_emb.0.0.weight" in file.stored:
        raise ValueError(f"{path} is of SDXL's family; Paint by Example is of Stable Diffusion 1.4's. {ADVICE}")
    check_channels(path, first_channels(file.stored[f"{UNET}input_blocks.0.0.weight"]))
    if _NULL[0] not in file.stored or not blocks_in(file.stored):
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
