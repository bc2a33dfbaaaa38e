"""A UNet's weights wherever they lie: one file, shards or a folder, in diffusers or LDM layout, read as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import layouts
from .configs import CONFIG
from .reading import check_dtypes
from .tensors import HALF_FIRST, Stored, WeightFiles, open_folder

FIRST = "input_blocks.0.0.weight"  # [channels of the first level, channels of the input, 3, 3]
CANDIDATES = HALF_FIRST  # 16 bit before 32, as the host does


@dataclass
class UNetFiles(WeightFiles):
    """The tensors of one UNet by their LDM names."""

    layout: str  # "diffusers" or "LDM": as stored


def open_unet(path: Path, averaged: bool = False, *, candidates: Sequence[str] = CANDIDATES) -> UNetFiles:
    """The UNet in a file, or in the one or several files of a UNet's folder, the first of `candidates` that is there.

    `averaged` takes the EMA copy that some LDM checkpoints carry beside the training weights. Raises
    FileNotFoundError for a file or a shard that is not there, and ValueError for what is corrupt or no UNet.
    """
    path = Path(path)
    found = open_folder(path, candidates)
    names, layout = _unet_names(path, found.stored)
    if averaged:
        names = _averaged_names(path, layout, names, found.stored)
    stored = {ours: found.stored[theirs] for ours, theirs in names.items()}
    first_channels(stored[FIRST])
    check_dtypes({entry.name: entry.dtype for entry in stored.values()}, path)
    return UNetFiles(path, stored, found.files, layout)


def first_channels(first: Stored) -> int:
    """How many channels the first layer of a UNet takes. Raises ValueError for a tensor that is none."""
    if len(first.shape) != 4:
        raise ValueError(f"{first.file} is damaged: its {first.name} has the shape {first.shape}. Fetch it again.")
    return first.shape[1]


def unet_folder(folder: Path) -> Path:
    """The folder of the UNet itself: a pipeline keeps it in `unet`. Raises FileNotFoundError."""
    for candidate in (folder / "unet", folder):
        if (candidate / CONFIG).is_file():
            return candidate
    raise FileNotFoundError(f"{folder} is no diffusers folder: neither it nor {folder / 'unet'} has a {CONFIG}.")


def _unet_names(path: Path, found: Mapping[str, Stored]) -> tuple[dict[str, str], str]:
    """(LDM name -> stored name, layout). Raises ValueError for what holds no UNet of this kind."""
    if {"conv_in.weight", "time_embedding.linear_1.weight"} <= found.keys():
        return {ours: theirs for theirs, ours in layouts.to_ldm(found).items()}, "diffusers"
    for prefix in layouts.LDM_PREFIXES:
        if f"{prefix}input_blocks.0.0.weight" in found:
            return {name[len(prefix) :]: name for name in found if name.startswith(prefix)}, "LDM"
    raise ValueError(f"{path} {_other_kind(found)}")


def _other_kind(found: Iterable[str]) -> str:
    """What a file that is no UNet probably is, and what loads it."""
    names = list(found)

    def some(*parts: str) -> bool:
        return any(part in name for name in names for part in parts)

    if some("lora_", ".lora", "lycoris_"):
        return "is a LoRA or another patch, no whole UNet. Load a UNet first, then this with Load LoRA."
    if "encoder.conv_in.weight" in names and "decoder.conv_in.weight" in names:
        return "is a VAE, no UNet. Load it with Load VAE."
    if some("double_blocks.", "transformer_blocks.0.", "joint_blocks.") and not some("down_blocks."):
        return "is a transformer model, no UNet of Stable Diffusion 1.5. This method needs an InstructPix2Pix UNet."
    if some("vision_model.", "text_model."):
        return "is a text or vision encoder, no UNet. Load it with Load CLIP or Load CLIP Vision."
    for first in ("conv_in.weight", "input_blocks.0.0.weight"):
        if prefix := next((name.removesuffix(first) for name in names if name.endswith(f".{first}")), None):
            return f"holds a UNet whose names begin with '{prefix}', which is not known here. Save it without that."
    return (
        f"holds no UNet: none of its {len(names)} tensors is the first layer of one, conv_in.weight (diffusers) or "
        "input_blocks.0.0.weight (LDM). Take instruct-pix2pix-unet or paint-by-inpaint-add-base-unet."
    )


def _averaged_names(path: Path, layout: str, names: Mapping[str, str], found: Mapping[str, Stored]) -> dict[str, str]:
    """LDM name -> stored name of the averaged copy. Raises ValueError where there is none."""
    if layout == "diffusers":
        raise ValueError(
            f"{path} is in diffusers layout and holds one set of weights, as a rule the averaged one already. There "
            "is no other to choose: set weights to 'as saved'."
        )
    averaged = {name: layouts.averaged_name(name) for name in names}
    absent = [name for name in averaged.values() if name not in found]
    if len(absent) == len(names):
        raise ValueError(
            f"{path} carries no averaged copy of its weights (model_ema...), as pruned files do not. Set weights to "
            "'as saved', or take the 7.7 GB instruct-pix2pix-00-22000.safetensors, which has both."
        )
    if absent:
        raise ValueError(f"{path} lacks {len(absent)} of its averaged weights (such as {min(absent)}). Fetch it again.")
    return averaged
