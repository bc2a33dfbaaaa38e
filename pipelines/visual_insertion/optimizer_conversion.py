"""The authors' released embedding optimizers as our files: queries and null chosen once, kept with the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..encoders.text import empty_prompt
from ..weights.manifest import sha256_of
from ..weights.pretrained import load_whole
from ..weights.reading import describe_non_finite, read_weights
from .embedding_optimizer import EmbeddingOptimizer, OptimizerSettings
from .optimizer_files import load, save
from .released_optimizers import is_released, set_null


def make_null(
    optimizer: EmbeddingOptimizer,
    choice: str,
    blank_picture: Callable[[], Tensor] | None = None,
    empty_prompt: Callable[[], Tensor] | None = None,
) -> None:
    """Put one of NULLS in the place of the optimizer's null; the sources, as in `set_null`, are made only when needed.

    Raises ValueError when the one that is needed is missing, or belongs to another model.
    """
    make = {"blank picture": blank_picture, "empty prompt": empty_prompt}.get(choice)
    source = make() if make else None
    if choice == "blank picture" and source is not None:
        if optimizer.detail_width:
            raise ValueError(
                "The null 'blank picture' is of optimizers that read one encoder, and this one reads two. It brings "
                "its own null: use 'stored'."
            )
        optimizer.check_tokens(source)
    if source is not None and not torch.isfinite(source).all():
        raise ValueError(f"The encoder that the null '{choice}' is made with gives NaN or infinity; load another copy.")
    set_null(optimizer, choice, source)


@torch.no_grad()
def blank_picture(folder: Path) -> Tensor:
    """Vision tokens [1,T,D] that a transformers CLIP vision folder gives for an input of zeros, the mean colour.

    Raises FileNotFoundError, ValueError.
    """
    from transformers import CLIPVisionModelWithProjection

    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder / 'config.json'} is missing. Needed is a folder as transformers saves it.")
    encoder = load_whole(CLIPVisionModelWithProjection, folder, "The image encoder")[0]
    size = encoder.config.image_size
    return encoder(pixel_values=torch.zeros(1, 3, size, size)).last_hidden_state


@dataclass(frozen=True)
class Converted:
    """What came of a conversion."""

    settings: OptimizerSettings
    parameters: int
    replaced: str | None  # tensors whose NaN or infinite values are zeros now, and how many


def convert(
    source: Path,
    output: Path,
    *,
    null: str = "zeros",
    queries_seed: int = 0,
    nan_to_zero: bool = False,
    image_encoder: Path | None = None,
    text_encoder: Path | None = None,
    licence: str = "none stated",
) -> Converted:
    """Write a released file's optimizer as one of ours, whole or not at all; metadata say what was chosen.

    Raises FileNotFoundError, or ValueError for another kind of file, NaN or infinite values unless `nan_to_zero`, and
    what `make_null` refuses.
    """
    state, _ = read_weights(source)
    if not is_released(state):
        raise ValueError(
            f"{source} is not one of the authors' released embedding optimizers (emb_opt.pt). A file that this pack's "
            "training wrote needs no conversion."
        )
    optimizer = load(source, queries_seed=queries_seed, nan_to_zero=nan_to_zero)
    make_null(
        optimizer,
        null,
        (lambda: blank_picture(image_encoder)) if image_encoder else None,
        (lambda: empty_prompt(text_encoder)) if text_encoder else None,
    )
    replaced = describe_non_finite(state)
    notes = {
        "variant": optimizer.settings.variant,
        "source": source.name,
        "source_sha256": sha256_of(source),
        "null": null,
        "licence": licence,
        "nan_to_zero": replaced or "none",
    }
    if optimizer.queries is not None:
        notes["queries_seed"] = str(queries_seed)
    save(optimizer, output, torch.float32, **notes)
    return Converted(optimizer.settings, sum(tensor.numel() for tensor in state.values()), replaced)
