"""What a fine-tuned UNet's cross-attention learned, as a small patch that LoRA loaders accept.

In full (`.diff`), or as the best matrix of a given rank (Eckart and Young 1936: the largest singular values). For the
loader of diffusers, which knows products of two matrices only, a full patch is written as a product of full rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layouts import patch_module
from .writing import save_tensors

Parts = Literal["attn2", "kv"]
PARTS: dict[str, tuple[str, ...]] = {"attn2": (".attn2.",), "kv": (".attn2.to_k.", ".attn2.to_v.")}
FORMAT = "visual-insertion-unet-patch"
DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
MADE_FROM = "patch_sha256"  # in the metadata of a patch: of the patch file that it says again in another form


@dataclass(frozen=True)
class Saved:
    """What went into a patch file. `kept`: the share of the difference that a low rank holds, by its norm."""

    tensors: int
    parameters: int
    bytes: int
    kept: float


def cross_attention_parameters(names: Iterable[str], parts: Parts = "attn2") -> list[str]:
    """Those names, diffusers' or LDM's, that belong to cross-attention: all of it, or keys and values only.

    SD1.5: attn2 80 tensors with 43,962,560 parameters, kv 32 with 19,169,280. Raises ValueError for unknown parts.
    """
    if parts not in PARTS:
        raise ValueError(f"There are no parts '{parts}' of cross-attention; known are {', '.join(PARTS)}.")
    return [name for name in names if any(part in name for part in PARTS[parts])]


def select_parameters(unet: nn.Module, parts: Parts = "attn2") -> dict[str, nn.Parameter]:
    """The cross-attention parameters of a UNet by name. Raises ValueError when nothing matches."""
    parameters = dict(unet.named_parameters())
    chosen = cross_attention_parameters(parameters, parts)
    if not chosen:
        raise ValueError(
            f"None of the {len(parameters)} parameters of this {type(unet).__name__} belongs to cross-attention: no "
            f"name contains {' or '.join(PARTS[parts])}. There would be nothing to train."
        )
    return {name: parameters[name] for name in chosen}


def difference(tuned: Tensor, base: Tensor) -> Tensor:
    """tuned - base in float32; a finer base is first rounded as the tuned was, lest that pass for training.

    Raises ValueError for different shapes.
    """
    if tuned.shape != base.shape:
        raise ValueError(f"shapes {tuple(tuned.shape)} and {tuple(base.shape)} differ")
    if tuned.dtype.itemsize < base.dtype.itemsize:
        base = base.to(tuned.dtype)
    return tuned.float() - base.float()


def low_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(up [O,r], down [r,I]) whose product is the nearest matrix of this rank to [O,I]; r = min(rank, O, I)."""
    if matrix.ndim != 2 or rank < 1:
        raise ValueError(f"A patch of rank {rank} of a tensor of shape {tuple(matrix.shape)} is not possible.")
    left, values, right = torch.linalg.svd(matrix.float(), full_matrices=False)
    rank = min(rank, len(values))
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def patch_tensors(
    differences: Mapping[str, Tensor], rank: int | None = None, dtype: torch.dtype = torch.float16
) -> dict[str, Tensor]:
    """A patch file's tensors for differences by diffusers names; biases stay whole at any rank."""
    tensors: dict[str, Tensor] = {}
    for name, change in differences.items():
        module, _, leaf = name.rpartition(".")
        key = patch_module(module)
        if leaf == "bias":
            tensors[f"{key}.diff_b"] = change
        elif leaf == "weight" and rank is None:
            tensors[f"{key}.diff"] = change
        elif leaf == "weight":
            up, down = low_rank(change, rank or 0)
            tensors[f"{key}.lora_up.weight"], tensors[f"{key}.lora_down.weight"] = up, down
            tensors[f"{key}.alpha"] = torch.tensor(float(len(down)))  # alpha / rank is the scale: 1
        else:
            raise ValueError(f"{name} is neither a weight nor a bias; a patch file has no place for it.")
    return {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}


def diffusers_tensors(
    differences: Mapping[str, Tensor], rank: int | None = None, dtype: torch.dtype = torch.float16
) -> dict[str, Tensor]:
    """The same for diffusers' `load_lora_weights` and `load_lora_adapter`, which need the package peft.

    All products get one rank, `rank` or the largest that any of them can have, by rows and columns of zeros where that
    is more than its own: some versions of diffusers scale those of another rank. Raises ValueError for a bias alone.
    """
    weights = {name: change for name, change in differences.items() if name.endswith(".weight")}
    rank = min(rank or max_rank(weights.values()), max_rank(weights.values()))
    tensors: dict[str, Tensor] = {}
    for name, change in differences.items():
        if name in weights:
            up, down = low_rank(change, rank)
            module = f"unet.{name.removesuffix('.weight')}"
            tensors[f"{module}.lora_B.weight"] = F.pad(up, (0, rank - up.shape[1]))
            tensors[f"{module}.lora_A.weight"] = F.pad(down, (0, 0, 0, rank - len(down)))
        elif name.removesuffix(".bias") + ".weight" in weights:
            tensors[f"unet.{name.removesuffix('.bias')}.lora_B.bias"] = change
        else:
            raise ValueError(f"{name} is no weight, nor the bias of one that changed; diffusers has no place for it.")
    if len(weights) < len(differences):  # with one bias, diffusers makes one of every product, without numbers
        for name, change in weights.items():
            tensors.setdefault(f"unet.{name.removesuffix('.weight')}.lora_B.bias", torch.zeros(len(change)))
    return {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}


def max_rank(matrices: Iterable[Tensor]) -> int:
    """The largest rank that any of some matrices [O,I] can have; 1 without any."""
    return max((min(matrix.shape) for matrix in matrices), default=1)


def save_patch(
    path: Path,
    differences: Mapping[str, Tensor],
    rank: int | None = None,
    dtype: torch.dtype = torch.float16,
    metadata: Mapping[str, str] | None = None,
    *,
    for_diffusers: bool = False,
) -> Saved:
    """Write differences by diffusers names as a patch file, whole or not at all.

    `for_diffusers` is the layout that its own loader takes. Raises ValueError for an empty patch, or values that are
    not finite (also: too large for `dtype`).
    """
    if not differences:
        raise ValueError("There is no difference to save.")
    tensors = (diffusers_tensors if for_diffusers else patch_tensors)(differences, rank, dtype)
    if bad := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(
            f"{len(bad)} of the patch's tensors hold values that are not finite (such as {min(bad)}). The tuned "
            "weights are damaged, or their change is too large for 16 bit."
        )
    facts = {
        "format": FORMAT,
        "version": "1",
        "rank": "full" if rank is None else str(rank),
        "tensors": str(len(differences)),
        "parameters": str(sum(change.numel() for change in differences.values())),
    }
    save_tensors(path, tensors, {**(metadata or {}), **facts})
    return Saved(len(differences), int(facts["parameters"]), path.stat().st_size, _kept(differences, tensors))


def _kept(differences: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> float:
    """sqrt(sum of squares in the patch / in the differences): 1 for a full one."""
    whole = kept = 0.0
    for name, change in differences.items():
        square = float(change.double().square().sum())
        module = name.rpartition(".")[0]
        up = tensors.get(f"{patch_module(module)}.lora_up.weight", tensors.get(f"unet.{module}.lora_B.weight"))
        # up = U sqrt(S): the squares of its columns' lengths are the singular values
        lengths = None if up is None or name.endswith(".bias") else up.double().square().sum(0)
        whole += square
        kept += square if lengths is None else float(lengths.square().sum())
    return (kept / whole) ** 0.5 if whole else 1.0
