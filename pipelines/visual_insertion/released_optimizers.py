"""The authors' released embedding optimizers (`emb_opt.pt`): their tensors under our names, and their nulls.

Three shapes were published. Queries are not in the files (they are noise, drawn anew in every forward), and no null
is: training, inference and the base model each use another one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..weights.reading import Shapes, StateDict, describe_misfit, shapes_of
from .context_encoder import ContextEncoder
from .embedding_optimizer import OptimizerSettings

CONTEXT_TOKENS = 77
NULLS = ("stored", "zeros", "blank picture", "empty prompt")
"""What may stand for no object. "stored": what the file holds; a released file holds none and gets zeros.

"zeros": the authors' inference. "blank picture": their training, the context of an all-zero encoder input.
"empty prompt": the base model's, a text encoder's output for "".
"""


def is_released(state: StateDict) -> bool:
    """Whether these are the tensors of one of the authors' embedding optimizers."""
    return {"attention_pooling.in_proj_weight", "projection_layer.weight"} <= state.keys() or {
        "seq_projection.weight",
        "projection.weight",
    } <= state.keys()


def from_released(state: StateDict, seed: int = 0) -> tuple[OptimizerSettings, StateDict]:
    """Settings and tensors, under our names, of a released file; queries are drawn once, from `seed`.

    Raises ValueError for a missing tensor and for a shape that was never published.
    """
    if "seq_projection.weight" in state:
        return _two_linear(state)
    width, encoder_width = _matrix(state, "projection_layer.weight")
    layers = sum(f"mlp_fc{n}.weight" in state for n in range(1, 5))
    settings = OptimizerSettings(f"pooled_mlp{layers}", encoder_width, width, CONTEXT_TOKENS, blocks=layers, heads=8)
    square = ("attention_pooling.out_proj", *(f"mlp_fc{n + 1}" for n in range(layers)))
    linears = {"projection_layer": (width, encoder_width), **dict.fromkeys(square, (width, width))}
    pooling = {"attention_pooling.in_proj_weight": (3 * width, width), "attention_pooling.in_proj_bias": (3 * width,)}
    _check_shapes(state, linears, pooling)
    generator = torch.Generator().manual_seed(seed)
    renamed = {"queries": torch.randn((CONTEXT_TOKENS, width), generator=generator), "null": _zeros(settings)}
    for part in ("weight", "bias"):
        query, key_value = state[f"attention_pooling.in_proj_{part}"].split([width, 2 * width])
        renamed |= {f"to_q.{part}": query, f"to_kv.{part}": key_value}
        renamed[f"project.{part}"] = state[f"projection_layer.{part}"]
        renamed[f"to_out.{part}"] = state[f"attention_pooling.out_proj.{part}"]
        renamed |= {f"layers.{n}.{part}": state[f"mlp_fc{n + 1}.{part}"] for n in range(layers)}
    return settings, renamed


def _two_linear(state: StateDict) -> tuple[OptimizerSettings, StateDict]:
    width, encoder_width = _matrix(state, "projection.weight")
    tokens, encoder_tokens = _matrix(state, "seq_projection.weight")
    settings = OptimizerSettings(
        "two_linear", encoder_width, width, tokens, blocks=2, heads=1, encoder_tokens=encoder_tokens
    )
    square = dict.fromkeys(("fc1", "fc2"), (width, width))
    linears = {"projection": (width, encoder_width), "seq_projection": (tokens, encoder_tokens), **square}
    _check_shapes(state, linears)
    names = {"project": "projection", "layers.0": "fc1", "layers.1": "fc2", "mix": "seq_projection"}
    renamed = {f"{our}.{part}": state[f"{their}.{part}"] for our, their in names.items() for part in ("weight", "bias")}
    return settings, renamed | {"null": _zeros(settings)}


def _matrix(state: StateDict, name: str) -> tuple[int, int]:
    """(rows, columns) of a linear layer's weight. Raises ValueError for what is none."""
    if state[name].ndim != 2:
        raise ValueError(f"{name} is no matrix but of shape {tuple(state[name].shape)}")
    rows, columns = state[name].shape
    return rows, columns


def _check_shapes(state: StateDict, linears: dict[str, tuple[int, int]], others: Shapes | None = None) -> None:
    """Raise ValueError unless the linear layers, (out, in) by name, and other tensors are there in these shapes."""
    expected = dict(others or {})
    for name, (rows, columns) in linears.items():
        expected |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    if misfit := describe_misfit(expected, shapes_of({name: state[name] for name in expected if name in state})):
        raise ValueError(f"its tensors are of no published shape: {misfit}")


def _zeros(settings: OptimizerSettings) -> Tensor:
    return torch.zeros(settings.context_tokens, settings.context_width)


@torch.no_grad()
def set_null(encoder: ContextEncoder, choice: str, source: Tensor | None = None) -> None:
    """Put one of NULLS in the place of a context encoder's null.

    `source`: for "blank picture" the vision tokens [1,T,encoder_width] of an all-zero encoder input (the mean colour
    in every pixel, where the encoder subtracts one); for "empty prompt" the text encoder's output
    [1,context_tokens,context_width]. Raises ValueError when it is missing or does not fit.
    """
    if choice not in NULLS:
        raise ValueError(f"Unknown null '{choice}'; known: {', '.join(NULLS)}.")
    if choice == "stored":
        return
    if choice == "zeros":
        encoder.null.zero_()
        return
    if source is None:
        needed = "a CLIP vision model" if choice == "blank picture" else "a text encoder"
        raise ValueError(f"The null '{choice}' is made with {needed}; connect or name one.")
    null = encoder(source.to(encoder.null)) if choice == "blank picture" else source
    if null.shape != (1, *encoder.null.shape):
        raise ValueError(
            f"The null '{choice}' would be {tuple(null.shape[1:])}, but this optimizer's contexts are "
            f"{tuple(encoder.null.shape)}: the encoder belongs to another model."
        )
    encoder.null.copy_(null[0])
