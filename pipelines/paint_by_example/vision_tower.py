"""The CLIP vision tower of Paint by Example's weights, as transformers' network, without the rest of the model."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from ..encoders.vision import CLIP_STATISTICS, Encoder
from ..weights.configs import CONFIG, blueprint, check_counts_in, count_in, pixel_statistics, read_json
from ..weights.reading import StateDict, describe_misfit, shapes_of
from .checkpoints import PaintByExampleFiles, part_of

PREFIX = "vision_model."  # of the tower's tensors, as transformers 4 names them
HEAD = 64  # the width of a head in every CLIP of OpenAI's


def load_tower(files: PaintByExampleFiles) -> Encoder:
    """The vision encoder of a model, frozen, in float32, with the pixels that it wants.

    An LDM checkpoint says nothing of its tower: what its tensors' shapes leave open is as in OpenAI's. Raises
    FileNotFoundError for a folder without a config, ValueError for tensors that are missing or do not fit.
    """
    state = files.vision()
    if files.layout == "LDM":
        config = config_of(state, files.where)
        return Encoder(build_tower(config, files.where, state), config["image_size"], *CLIP_STATISTICS)
    config_file = part_of(files.where, "image_encoder/config.json")
    config = read_json(config_file)
    mean, std = pixel_statistics(statistics_file(files.where))
    return Encoder(build_tower(config, config_file, state), count_in(config, "image_size", config_file), mean, std)


def build_tower(config: Mapping[str, Any], where: Path, state: Mapping[str, Tensor]) -> CLIPVisionModel:
    """transformers' vision tower of the tensors vision_model.*, frozen, in float32.

    Raises ValueError for tensors that do not fit the config in the file `where`.
    """
    check_counts_in(config, where)
    with blueprint(str(where), len(state)):
        model = CLIPVisionModel(CLIPVisionConfig(**config))
    inner: Any = getattr(model, "vision_model", model)  # in transformers 5 the tower itself is at the top
    tower: StateDict = {
        name.removeprefix(PREFIX): tensor.float() for name, tensor in state.items() if name.startswith(PREFIX)
    }
    if misfit := describe_misfit(shapes_of(inner.state_dict()), shapes_of(tower)):
        holder = where.parent if where.name == CONFIG else where
        raise ValueError(f"The weights in {holder} do not fit their own config: {misfit}.")
    inner.load_state_dict(tower, assign=True)
    inner.embeddings.position_ids = torch.arange(inner.embeddings.num_positions)[None]  # not among the weights
    return model.requires_grad_(False).eval()


def config_of(state: Mapping[str, Tensor], where: Path) -> dict[str, Any]:
    """The config of an OpenAI vision tower, ViT-L/14 for one, by the shapes of its tensors vision_model.*.

    Raises ValueError, naming the file, for tensors that are missing or of shapes that no tower has.
    """
    try:
        patches = state[f"{PREFIX}embeddings.patch_embedding.weight"].shape
        positions, width = state[f"{PREFIX}embeddings.position_embedding.weight"].shape
        expanded = state[f"{PREFIX}encoder.layers.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{where} is not whole: its vision encoder lacks {error}. Fetch it again.") from error
    return {
        "hidden_size": width,
        "intermediate_size": expanded,
        "num_hidden_layers": len({name.split(".")[3] for name in state if name.startswith(f"{PREFIX}encoder.layers.")}),
        "num_attention_heads": max(1, width // HEAD),
        "patch_size": patches[-1],
        "image_size": isqrt(positions - 1) * patches[-1],
        "hidden_act": "quick_gelu",
    }


def statistics_file(folder: Path) -> Path:
    """Where a diffusers folder has the mean and spread of its encoder's pixels. Raises FileNotFoundError."""
    beside = folder / "image_encoder" / "preprocessor_config.json"
    return beside if beside.is_file() else part_of(folder, "feature_extractor/preprocessor_config.json")
