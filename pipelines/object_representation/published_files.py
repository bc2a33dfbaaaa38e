"""What the representation's own training publishes of an object, `delta_last.ckpt`: whole weights, not differences.

1.5 GB: the UNet's cross-attention, the exemplar encoder without its null, and `prior_block`, one linear layer that
makes a token of all that CLIP sees in a picture. Names: dorianzhang7/TVCG-insertion, scripts/get_deltas.py. It is read
as a stream: a tensor is in memory when it is needed, and not longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..paint_by_example.checkpoints import UNET, blocks_in, ldm_names
from ..paint_by_example.exemplar_encoder import ExemplarEncoder
from ..weights.layouts import patch_module, to_diffusers
from ..weights.reading import StateDict, check_numbers, check_stored, describe_misfit, shapes_of
from ..weights.tensors import Stored, TensorFile, WeightFiles, open_tensors
from ..weights.unet_patch import cross_attention_parameters, difference
from ..weights.unets import UNetFiles
from .attention_changes import AttentionChanges, Change, Layers
from .learned_object import TOKENS

PRIOR = "cond_stage_model.prior_encoder.prior_block.1"
ROWS = 64  # of the prior's matrix at a time: 67 MB
ADVICE = (
    "Needed is a delta_last.ckpt as get_deltas.py of the implicit parametric representation writes it, of model.diffusi"
    "on_model...attn2..., cond_stage_model.mapper, final_ln and prior_encoder, and proj_out."
)


@dataclass(frozen=True)
class PublishedObject:
    """A published file, not read yet."""

    file: TensorFile

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def attention(self) -> dict[str, Stored]:
        """The UNet's part by LDM names without a prefix."""
        names = cross_attention_parameters(name for name in self.file.stored if name.startswith(UNET))
        return {name.removeprefix(UNET): self.file.stored[name] for name in names}

    def changes(self, base: UNetFiles) -> tuple[AttentionChanges, float]:
        """What it changes of a base's cross-attention, and the size of that in sizes of the base's, by the norm.

        Layers that are as in the base are left out. Raises ValueError for tensors that are missing or of another
        shape, for NaN and infinity, and for a base that is another model.
        """
        own = WeightFiles(self.path, self.attention, {self.path: self.file})
        self._check_attention(base)
        names = to_diffusers(base.stored)
        parts: dict[str, dict[str, Tensor]] = {}
        changed = whole = 0.0
        for (name, ours), (_, theirs) in zip(own.read(), base.read(list(own.stored)), strict=True):
            change = difference(ours, theirs)
            module, _, leaf = names[name].rpartition(".")
            parts.setdefault(patch_module(module), {})["diff" if leaf == "weight" else "diff_b"] = change
            changed += float(change.double().square().sum())
            whole += float(theirs.double().square().sum())
        share = (changed / max(whole, 1e-12)) ** 0.5
        if share > 1:
            raise ValueError(
                f"{self.path} was not learned on {base.where}: its cross-attention differs from that by {share:.1f} "
                "times its size. Name the Paint by Example weights that it was trained from."
            )
        kept = {name: own for name, own in parts.items() if any(tensor.any() for tensor in own.values())}
        return AttentionChanges({name: Change(own) for name, own in sorted(kept.items())}), share

    def exemplar_encoder(self, base: ExemplarEncoder) -> ExemplarEncoder:
        """A base's exemplar encoder with the file's weights; the null stays. The base's is overwritten.

        Raises ValueError for tensors that are missing or of another shape, NaN and infinity.
        """
        names = ldm_names(blocks_in(self.file.stored))
        del names["null"]
        stored = {ours: self.file.stored[theirs].shape for ours, theirs in names.items() if theirs in self.file.stored}
        expected = {name: shape for name, shape in shapes_of(base.state_dict()).items() if name != "null"}
        if misfit := describe_misfit(expected, stored):
            raise ValueError(
                f"{self.path} does not fit the exemplar encoder of its base: {misfit}. It is cut off, or of another "
                "base."
            )
        state = self.file.read(names.values())
        base.load_state_dict({ours: state[theirs] for ours, theirs in names.items()}, strict=False)
        return base

    def prior_tokens(self, hidden: Tensor) -> Tensor:
        """Tokens [N,D] of what the vision tower gives for N pictures: hidden states [N,T,D], not normed at the end.

        Raises ValueError for a tower of another size, NaN and infinity.
        """
        weight = self.file.stored[f"{PRIOR}.weight"]
        bias = self.file.stored[f"{PRIOR}.bias"]
        _, tokens, width = hidden.shape
        if weight.shape != (width, tokens * width) or bias.shape != (width,):
            raise ValueError(
                f"{self.path} was not learned on this base: its prior_block has the shape {weight.shape}, and the "
                f"base's vision encoder gives {tokens} tokens of width {width}, so that ({width}, {tokens * width}) is "
                "needed."
            )
        flat = hidden.flatten(1).float()
        with self.file.opened() as tensor:
            state = {entry.name: tensor(entry.name) for entry in (weight, bias)}
            check_stored(state, self.path)
            rows = state[weight.name].split(ROWS)
            products = [F.linear(flat, part.float()) for part in rows]
            prior = torch.cat(products, 1) + state[bias.name].float()
        if not torch.isfinite(prior).all():  # of 269 million numbers a sum is cheaper to look at
            check_numbers(state, self.path)
            raise ValueError(f"{self.path} makes tokens that are not finite of these pictures. It is damaged.")
        return prior

    def _check_attention(self, base: UNetFiles) -> None:
        """Raise ValueError unless a base has the layers of the file, and the file all keys and values of the base."""
        ours = {name: entry.shape for name, entry in self.attention.items()}
        all_of_it = set(cross_attention_parameters(base.stored)) if any(".to_q." in name for name in ours) else set()
        needed = all_of_it | set(cross_attention_parameters(base.stored, "kv"))
        if misfit := describe_misfit({name: base.shapes[name] for name in needed}, ours):
            raise ValueError(
                f"{self.path} does not fit the cross-attention of {base.where}: {misfit}. It is cut off, or was "
                "learned on another base."
            )


def open_published(path: Path) -> PublishedObject:
    """A published file, by its content: torch's or safetensors, perhaps a whole checkpoint of the training.

    Raises FileNotFoundError, or ValueError for a damaged file and for one that holds something else.
    """
    published = PublishedObject(open_tensors(path))
    stored = published.file.stored
    if TOKENS in stored:
        raise ValueError(f"{path} is a learned object already: it needs no conversion.")
    if not published.attention:
        raise ValueError(f"{path} holds no cross-attention of a UNet ({UNET}...attn2...). {_seen(stored)}{ADVICE}")
    if not blocks_in(stored):
        raise ValueError(f"{path} holds no exemplar encoder (cond_stage_model.mapper...). {ADVICE}")
    if absent := [name for name in (f"{PRIOR}.weight", f"{PRIOR}.bias") if name not in stored]:
        raise ValueError(
            f"{path} lacks {absent[0]}, which makes tokens of the pictures: it is Paint by Example itself, or an "
            f"object of another method. {ADVICE}"
        )
    return published


def _seen(names: Mapping[str, Stored]) -> str:
    """What stands before cross-attention's names in the file, where it is something else."""
    other = next((name for name in sorted(names) if ".attn2.to_k." in name), None)
    return f"Its names are other ones (such as {other}). " if other else ""


def attention_of(unet: UNetFiles) -> Layers:
    """The linear layers of a UNet's cross-attention alone, in float32, by their names in a patch file.

    Raises ValueError for NaN and infinity.
    """
    names = to_diffusers(unet.stored)
    tensors: dict[str, StateDict] = {}
    for name, tensor in unet.read(cross_attention_parameters(unet.stored)):
        module, _, leaf = names[name].rpartition(".")
        tensors.setdefault(patch_module(module), {})[leaf] = tensor.float()
    return {name: _linear(state) for name, state in tensors.items()}


def _linear(state: StateDict) -> nn.Linear:
    rows, columns = state["weight"].shape
    layer = nn.Linear(columns, rows, bias="bias" in state, device="meta")
    layer.load_state_dict(state, assign=True)
    return layer.requires_grad_(False)
