"""A UNet's diffusers config in the host's own terms, and what it says of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.ldm.modules.diffusionmodules.openaimodel
import comfy.model_base

from ...pipelines.weights.reading import Shapes, shapes_of
from ...pipelines.weights.unets import CONFIG, UNetFiles, read_json, unet_folder
from .plain_layers import PlainLayers

FIRST = "input_blocks.0.0.weight"  # [channels of the first level, channels of the input, 3, 3]
MODEL_TYPES = {  # by diffusers' prediction_type
    "epsilon": comfy.model_base.ModelType.EPS,
    "v_prediction": comfy.model_base.ModelType.V_PREDICTION,
}


@dataclass(frozen=True)
class UNetSettings:
    """What the host has to know of a UNet beside its weights."""

    config: dict[str, Any]  # of its own UNetModel
    heads: int
    prediction: str  # one of MODEL_TYPES

    def weight_shapes(self) -> Shapes:
        """Name -> shape of the weights of the host's UNet."""
        unet = comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel(
            **self.config, num_heads=self.heads, num_head_channels=-1, device="meta", operations=PlainLayers
        )
        return shapes_of(unet.state_dict())


def host_unet_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The host's UNet settings for a diffusers `UNet2DConditionModel` config."""
    channels = config["block_out_channels"]
    base = channels[0]
    if any(width % base for width in channels):
        raise ValueError(f"Block widths {channels} are not multiples of the first; the host cannot build this UNet.")
    layers = config["layers_per_block"]
    layers = [layers] * len(channels) if isinstance(layers, int) else list(layers)
    depth = config.get("transformer_layers_per_block", 1)
    depths: list[int] = []  # of each ResNet's transformer on the way down, 0 for none
    depths_up: list[int] = []  # the same on the way up, where a level has one more
    for kind, count in zip(config["down_block_types"], layers, strict=True):
        level = depth if "CrossAttn" in kind else 0
        depths += [level] * count
        depths_up += [level] * (count + 1)
    return dict(
        image_size=32,
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        model_channels=base,
        channel_mult=[width // base for width in channels],
        num_res_blocks=layers,
        transformer_depth=depths,
        transformer_depth_output=depths_up,
        transformer_depth_middle=depth,
        context_dim=config["cross_attention_dim"],
        use_spatial_transformer=True,
        use_linear_in_transformer=bool(config.get("use_linear_projection")),
        legacy=False,
        adm_in_channels=None,
        use_temporal_resblock=False,
        use_temporal_attention=False,
    )


def settings_of(config: Mapping[str, Any], prediction: str = "epsilon") -> UNetSettings:
    """The settings of a diffusers config. Raises KeyError, TypeError or ValueError for what the host cannot build."""
    host_config = host_unet_config(config)
    heads_by_level = config.get("num_attention_heads") or config["attention_head_dim"]  # diffusers has either name
    heads = {heads_by_level} if isinstance(heads_by_level, int) else set(heads_by_level)
    if len(heads) != 1:
        raise ValueError(f"{heads_by_level} attention heads by level")
    if config.get("norm_num_groups", 32) != 32:
        raise ValueError(f"{config['norm_num_groups']} groups in its norms; the host has 32")
    return UNetSettings(host_config, heads.pop(), prediction)


def folder_settings(folder: Path, schedule: Path | None = None) -> UNetSettings:
    """The settings of a UNet from the configs of a pipeline or of a UNet alone.

    `schedule` is the folder whose scheduler/ says what is predicted, if not this one. Raises ValueError for what the
    host cannot build.
    """
    path = unet_folder(folder) / CONFIG
    scheduler = (schedule or folder) / "scheduler" / "scheduler_config.json"
    prediction = read_json(scheduler).get("prediction_type", "epsilon") if scheduler.is_file() else "epsilon"
    if prediction not in MODEL_TYPES:
        raise ValueError(f"{scheduler} asks for prediction_type '{prediction}'; known are {', '.join(MODEL_TYPES)}.")
    config = read_json(path)
    try:
        return settings_of(config, prediction)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the config of a UNet that the host can build: {error!r}.") from error


def stored_size(files: UNetFiles) -> tuple[int, list[int]]:
    """(channels of the first level, widths of the contexts) that the weights themselves tell."""
    contexts = {shape[1] for name, shape in files.shapes.items() if name.endswith(".attn2.to_k.weight")}
    return files.shapes[FIRST][0], sorted(contexts)
