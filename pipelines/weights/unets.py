"""A UNet's weights wherever they lie: one file, shards or a folder, in diffusers or LDM layout, read as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import layouts
from .tensors import DTYPES, Stored, TensorFile, first_file, open_tensors

CONFIG = "config.json"
STEM = "diffusion_pytorch_model"
# What a folder is searched for, best first. 16 bit before 32, as the host does; an index speaks for its shards.
CANDIDATES = tuple(
    f"{STEM}{name}"
    for kind in ("safetensors", "bin")
    for variant in (".fp16", "")
    for name in (f"{variant}.{kind}", f".{kind}.index{variant}.json", f".{kind}{variant}.index.json")
)
WINDOW = 1 << 28  # bytes of a file that are mapped at once: a mapping counts as our memory until it is closed


@dataclass
class UNetFiles:
    """The tensors of one UNet by their LDM names; nothing of safetensors is read before `read`."""

    where: Path  # what an error should name
    layout: str  # "diffusers" or "LDM": as stored
    stored: dict[str, Stored]
    files: dict[Path, TensorFile]  # by their paths, as `stored` names them

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.stored.items()}

    @property
    def parameters(self) -> int:
        return sum(entry.parameters for entry in self.stored.values())

    @property
    def dtype(self) -> torch.dtype:
        """What most of the weights are stored as."""
        sizes: dict[torch.dtype, int] = {}
        for entry in self.stored.values():
            sizes[entry.dtype] = sizes.get(entry.dtype, 0) + entry.parameters
        return max(sizes, key=lambda dtype: sizes[dtype])

    def read(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(LDM name, tensor) one by one, in the order given or else shard by shard; each is checked to be finite.

        Drop a tensor before asking for the next, and no more than one and a window of a file are in memory. Raises
        ValueError for NaN or infinity.
        """
        for window in self._windows(self.stored if names is None else names):
            with self.files[self.stored[window[0]].file].opened() as tensor:
                for name in window:
                    yield name, self._checked(name, tensor(self.stored[name].name))

    def _windows(self, names: Iterable[str]) -> Iterator[list[str]]:
        """Runs of names that lie in one file and are not too large together."""
        window: list[str] = []
        for name in names:
            entry = self.stored[name]
            size = sum(self.stored[other].bytes for other in window)
            if window and (self.stored[window[0]].file != entry.file or size + entry.bytes > WINDOW):
                yield window
                window = []
            window.append(name)
        if window:
            yield window

    def _checked(self, name: str, tensor: Tensor) -> Tensor:
        if not torch.isfinite(tensor.sum(dtype=torch.float64 if tensor.dtype == torch.float64 else torch.float32)):
            bad = int((~torch.isfinite(tensor)).sum())  # exact, where the cheap sum may only have overflowed
            if bad:
                stored = self.stored[name].name
                raise ValueError(
                    f"The weights in {self.where} hold values that are not finite: {stored} ({bad} values). "
                    "Fetch another copy."
                )
        return tensor


def open_unet(path: Path, averaged: bool = False) -> UNetFiles:
    """The UNet in a file, or in the one or several files of a UNet's folder.

    `averaged` takes the EMA copy that some LDM checkpoints carry beside the training weights. Raises
    FileNotFoundError for a file or a shard that is not there, and ValueError for what is corrupt or no UNet.
    """
    path = Path(path)
    files: dict[Path, TensorFile] = {}
    stored: dict[str, Stored] = {}
    for file, promised in _files(path).items():
        files[file] = open_tensors(file, mapped=False)
        if lacking := promised - files[file].stored.keys():
            raise ValueError(
                f"{file} lacks {len(lacking)} of the tensors that its index promises (such as {min(lacking)}). It is "
                "not the shard the index was written for; fetch the folder again."
            )
        stored |= files[file].stored
    names, layout = _unet_names(path, stored)
    if averaged:
        names = _averaged_names(path, layout, names, stored)
    if quantised := [name for name in names.values() if stored[name].dtype not in DTYPES.values()]:
        raise ValueError(
            f"{path} holds weights that are not 16 or 32 bit floating point numbers (such as {min(quantised)}). "
            "Take a version of the model that is not quantised."
        )
    return UNetFiles(path, layout, {ours: stored[theirs] for ours, theirs in names.items()}, files)


def unet_folder(folder: Path) -> Path:
    """The folder of the UNet itself: a pipeline keeps it in `unet`. Raises FileNotFoundError."""
    for candidate in (folder / "unet", folder):
        if (candidate / CONFIG).is_file():
            return candidate
    raise FileNotFoundError(f"{folder} is no diffusers folder: neither it nor {folder / 'unet'} has a {CONFIG}.")


def read_json(path: Path) -> dict[str, Any]:
    """Content of a config file. Raises FileNotFoundError or ValueError naming the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not valid JSON for a config: it holds no table of settings.")
    return content


def _files(path: Path) -> dict[Path, set[str]]:
    """The weight files of a path, each with the names that an index promises it holds."""
    if not path.is_dir():
        return {path: set()}
    chosen = first_file(path, CANDIDATES)
    if chosen.suffix != ".json":
        return {chosen: set()}
    index = read_json(chosen).get("weight_map")
    if not isinstance(index, dict) or not index or any(Path(str(file)).name != file for file in index.values()):
        raise ValueError(f"{chosen} is no index of shards: its weight_map does not name files beside it.")
    shards: dict[Path, set[str]] = {}
    for name, file in index.items():
        shards.setdefault(path / file, set()).add(name)
    if absent := sorted(shard.name for shard in shards if not shard.is_file()):
        raise FileNotFoundError(
            f"{path} lacks {len(absent)} of {len(shards)} shards: {', '.join(absent)}. Fetch them from where the "
            "others came from."
        )
    return shards


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
