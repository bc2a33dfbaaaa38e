"""A learned object, as it is used: its tokens behind an exemplar's, and the change of the UNet's cross-attention.

File: one safetensors. The UNet's part has the names of a LoRA, so that stock loaders take it; beside it are
`object.tokens`, what the UNet reads, and `object.null`, what stands for no object; the rest is metadata.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from torch import Tensor

from ..encoders.views import null_beside
from ..pictures.opening import open_picture
from ..weights.reading import StateDict, check_numbers, read_weights
from ..weights.unet_likeness import as_text, likeness, same_unet
from ..weights.writing import save_tensors
from .attention_changes import AttentionChanges, Change, Layers, chosen_layers

FORMAT = "visual-insertion/learned-object"
TOKENS = "object.tokens"
NULL = "object.null"
SHOWN = "exemplar_tokens"  # in the metadata: how many of the tokens are an exemplar's, 1 or 0
BASE = "base"  # in the metadata: what tells the base model, see weights.unet_likeness
THUMBNAIL = "modelspec.thumbnail"  # where model browsers look
LOOKS = ((64, 80), (64, 60), (64, 40), (48, 40), (32, 40), (32, 20))  # side in px and quality of a thumbnail
ROOM = 740  # bytes of one: beside it and the facts, four tokens of SD 1.5 and their null are a file of less than 10 KB
LARGEST = 512  # tokens
STRENGTHS = (0.0, 2.0)
FOREIGN = (
    "Needed is a file that `visual-insertion learn` or the node Learn Object wrote; `visual-insertion convert "
    "learned-object` makes one of a published delta_last.ckpt."
)


@dataclass(frozen=True)
class LearnedObject:
    """What was learned of one object.

    `shown`: an exemplar's token stands before the object's own (Paint by Example), the first of them where no exemplar
    is given; else they are the whole context (an embedding optimizer's, or a published object's).
    """

    tokens: Tensor  # [N,C] float32
    null: Tensor  # [Q,C] float32: stands for no object
    patch: StateDict  # of the UNet, as in a patch file; empty where tokens alone were learned
    base: str  # what tells the UNet that it was learned on
    facts: Mapping[str, str] = field(default_factory=dict)  # how it was learned, sources, licence: plain texts
    thumbnail: Image.Image | None = None
    shown: bool = True

    def contexts(
        self, strength: float = 1.0, exemplar: Tensor | None = None, null: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(object, null) contexts [B,1+N,C], or [1,N,C] where no exemplar is shown.

        `exemplar` [B,M,C] takes the place of the first token, `null` [Q,C] of the stored null, which is rounded to 16
        bit. `strength` moves the object's tokens from the exemplar's, where attention is as over the exemplar alone, to
        what was learned; at 0 they are left out. Where no exemplar is shown it moves tokens that were learned alone
        from the null, and leaves those beside a change of attention: the strength is the change's there. Raises
        ValueError for an exemplar there.
        """
        null = self.null if null is None else null
        if not self.shown:
            if exemplar is not None:
                raise ValueError(
                    "it brings the whole context that it was learned with, and takes no exemplar beside it"
                )
            context = self.tokens[None]
            nothing = null_beside(context, null)
            if strength != 1 and not self.patch:
                context = nothing + strength * (context - nothing)
            return context, nothing
        front = self.tokens[None, :1] if exemplar is None else exemplar
        if not strength:
            return front, null_beside(front, null)
        last = front[:, -1:]
        own = last + strength * (self.tokens[None].to(front) - last)
        context = torch.cat([front, own], 1)
        return context, null_beside(context, null)

    def changes(self, layers: Layers) -> AttentionChanges:
        """The changes of a UNet's cross-attention. Raises ValueError for another base model, or unfitting tensors."""
        self.check_base(layers)
        return AttentionChanges.from_tensors(self.patch, layers)

    def check_base(self, layers: Layers) -> None:
        """Raise ValueError when a UNet with this cross-attention is not the one that the object was learned on."""
        if not same_unet(self.base, base_of(layers)):
            raise ValueError(
                "it was learned on another base model, and would only disturb this one. Use the model it was learned "
                f"on ({self.facts.get('base_name', 'not named')}), or learn the object again on this one"
            )


def of_rank(learned: LearnedObject, layers: Layers, rank: int) -> tuple[LearnedObject, float]:
    """The same object with changes of this rank, and what share of the change they keep, by its norm.

    Raises ValueError for a rank below 1, and what `LearnedObject.changes` does.
    """
    if rank < 1:
        raise ValueError(f"The rank must be 1 or more, not {rank}.")
    changes, kept = learned.changes(layers).of_rank(rank)
    facts = {**learned.facts, "rank": str(rank), "kept": f"{kept:.4f}"}
    return replace(learned, patch=changes.tensors(), facts=facts), kept


def as_set(learned: LearnedObject, layers: Layers) -> LearnedObject:
    """The same object with whole weights in the place of differences, as LoRA loaders set them at any strength.

    They have no place for a bias that is set: biases stay differences. Raises what `LearnedObject.changes` does.
    """
    patch = {name: tensor for name, tensor in learned.patch.items() if name.endswith(".diff_b")}
    for name, change in learned.changes(layers).changes.items():
        patch[f"{name}.set_weight"] = layers[name].weight.detach().float().cpu() + cast(Change, change).matrix()
    return replace(learned, patch=patch)


def base_of(layers: Layers) -> dict[str, float]:
    """The numbers by which a UNet is known again: of the keys and values of its cross-attention."""
    return likeness({name: layer.weight for name, layer in chosen_layers(layers, "kv").items()})


def save(learned: LearnedObject, path: Path) -> None:
    """Write a learned object, whole or not at all. Raises OSError where it cannot be written."""
    metadata = {**learned.facts, "format": FORMAT, "version": "1", BASE: learned.base, SHOWN: str(int(learned.shown))}
    if learned.thumbnail is not None:
        metadata[THUMBNAIL] = _as_data_url(learned.thumbnail)
    whole = any(name.endswith((".diff", ".set_weight")) for name in learned.patch)  # these are in float32
    contexts = {TOKENS: learned.tokens, NULL: learned.null}
    if not whole:
        contexts = {name: tensor.half() for name, tensor in contexts.items()}
    save_tensors(path, {**learned.patch, **contexts}, metadata)


def load(path: Path) -> LearnedObject:
    """The learned object in a file that `save` wrote.

    Raises FileNotFoundError, or ValueError naming the file: damaged, of another kind, or with values that are not
    finite.
    """
    path = Path(path)
    state, metadata = read_weights(path)
    if metadata.get("format") != FORMAT or not {TOKENS, NULL} <= state.keys() or BASE not in metadata:
        raise ValueError(f"{path} is no learned object. {FOREIGN}")
    check_numbers(state, path, "Learn the object again.")
    tokens = state.pop(TOKENS)
    null = state.pop(NULL)
    shown = metadata.get(SHOWN) != "0"
    shapes = f"{tuple(tokens.shape)} and {tuple(null.shape)}"
    paired = tokens.ndim == null.ndim == 2 and tokens.shape[1] == null.shape[1] and 1 <= len(tokens) <= LARGEST
    if not paired or not len(null) or (not shown and len(tokens) % len(null)):
        raise ValueError(f"{path} is damaged: its tokens have the shapes {shapes}. Learn the object again.")
    own = ("format", "version", BASE, THUMBNAIL, SHOWN)
    facts = {name: text for name, text in metadata.items() if name not in own}
    return LearnedObject(
        tokens=tokens.float(),
        null=null.float(),
        patch=state,
        base=metadata[BASE],
        facts=facts,
        thumbnail=_picture_of(metadata.get(THUMBNAIL, "")),
        shown=shown,
    )


def check_strength(strength: float) -> None:
    """Raise ValueError for a strength out of STRENGTHS, or that is no number."""
    least, most = STRENGTHS
    if not least <= strength <= most:
        raise ValueError(f"The strength of a learned object must be from {least:g} to {most:g}, not {strength:g}.")


def check_width(learned: LearnedObject, width: int) -> None:
    """Raise ValueError when a context of this width cannot take the object's tokens."""
    if learned.tokens.shape[1] != width:
        raise ValueError(
            f"its tokens have the width {learned.tokens.shape[1]}, and this model reads contexts of width {width}: it "
            "was learned on another base model"
        )


def base_text(layers: Layers) -> str:
    """What a file says of the UNet that an object was learned on."""
    return as_text(base_of(layers))


def _as_data_url(picture: Image.Image) -> str:
    """The best thumbnail that has ROOM, or else the last of LOOKS."""
    encoded = b""
    for side, quality in LOOKS:
        small = picture.convert("RGB")
        small.thumbnail((side, side))
        buffer = BytesIO()
        small.save(buffer, "WEBP", quality=quality)
        encoded = buffer.getvalue()
        if len(encoded) <= ROOM:
            break
    return "data:image/webp;base64," + base64.b64encode(encoded).decode("ascii")


def _picture_of(url: str) -> Image.Image | None:
    """The thumbnail, or None where there is none that can be read: nothing depends on it."""
    try:
        return open_picture(base64.b64decode(url.partition(",")[2])).convert("RGB") if url else None
    except (OSError, ValueError):
        return None


def as_json(values: object) -> str:
    """A fact that is no plain text, for the metadata."""
    return json.dumps(values, separators=(",", ":"), sort_keys=True)
