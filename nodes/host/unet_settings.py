"""A UNet's diffusers config in the host's own terms, and what it says of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.ldm.modules.diffusionmodules.openaimodel
import comfy.model_base

from ...pipelines.weights.configs import CONFIG, blueprint, check_choice, count_in, counts_in, read_json
from ...pipelines.weights.reading import Shapes, shapes_of
from ...pipelines.weights.unets import FIRST, UNetFiles, unet_folder
from .plain_layers import PlainLayers

SD15_TENSORS = 686
MOST_LAYERS = 100  # in a block; published UNets have up to 10
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

    def weight_shapes(self, where: str = "The config", tensors: int = SD15_TENSORS) -> Shapes:
        """Name -> shape of the weights of the host's UNet, which is not to ask for much more than so many `tensors`.

        Raises ValueError, saying `where` the settings are from, for more, and for what the host cannot build.
        """
        with blueprint(where, tensors):
            unet = comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel(
                **self.config, num_heads=self.heads, num_head_channels=-1, device="meta", operations=PlainLayers
            )
        return shapes_of(unet.state_dict())


def host_unet_config(config: Mapping[str, Any], path: Path = Path(CONFIG)) -> dict[str, Any]:
    """The host's UNet settings for a diffusers `UNet2DConditionModel` config, which was in `path`."""
    channels = counts_in(config, "block_out_channels", path)
    base = channels[0]
    if any(width % base for width in channels):
        raise ValueError(f"Block widths {channels} are not multiples of the first; the host cannot build this UNet.")
    layers = config["layers_per_block"]
    layers = [layers] * len(channels) if isinstance(layers, int) else list(layers)
    for count in layers:
        count_in({"layers_per_block": count}, "layers_per_block", path, most=MOST_LAYERS)
    depth_name = "transformer_layers_per_block"
    depth = count_in({depth_name: 1, **config}, depth_name, path, most=MOST_LAYERS)
    depths: list[int] = []  # of each ResNet's transformer on the way down, 0 for none
    depths_up: list[int] = []  # the same on the way up, where a level has one more
    for kind, count in zip(config["down_block_types"], layers, strict=True):
        level = depth if "CrossAttn" in kind else 0
        depths += [level] * count
        depths_up += [level] * (count + 1)
    return dict(
        image_size=32,
        in_channels=count_in(config, "in_channels", path),
        out_channels=count_in(config, "out_channels", path),
        model_channels=base,
        channel_mult=[width // base for width in channels],
        num_res_blocks=layers,
        transformer_depth=depths,
        transformer_depth_output=depths_up,
        transformer_depth_middle=depth,
        context_dim=count_in(config, "cross_attention_dim", path),
        use_spatial_transformer=True,
        use_linear_in_transformer=bool(config.get("use_linear_projection")),
        legacy=False,
        adm_in_channels=None,
        use_temporal_resblock=False,
        use_temporal_attention=False,
    )


def settings_of(config: Mapping[str, Any], prediction: str = "epsilon", path: Path = Path(CONFIG)) -> UNetSettings:
    """The settings of a diffusers config. Raises KeyError, TypeError or ValueError for what the host cannot build."""
    host_config = host_unet_config(config, path)
    heads_by_level = config.get("num_attention_heads") or config["attention_head_dim"]  # diffusers has either name
    heads = {heads_by_level} if isinstance(heads_by_level, int) else set(heads_by_level)
    if len(heads) != 1:
        raise ValueError(f"{heads_by_level} attention heads by level")
    if config.get("norm_num_groups", 32) != 32:
        raise ValueError(f"{config['norm_num_groups']} groups in its norms; the host has 32")
    return UNetSettings(
        host_config, count_in({"attention_head_dim": heads.pop()}, "attention_head_dim", path), prediction
    )


def folder_settings(folder: Path, schedule: Path | None = None) -> UNetSettings:
    """The settings of a UNet from the configs of a pipeline or of a UNet alone.

    `schedule` is the folder whose scheduler/ says what is predicted, if not this one. Raises ValueError for what the
    host cannot build.
    """
    path = unet_folder(folder) / CONFIG
    scheduler = (schedule or folder) / "scheduler" / "scheduler_config.json"
    schedule_config = read_json(scheduler) if scheduler.is_file() else {}
    check_choice(schedule_config, "prediction_type", tuple(MODEL_TYPES), scheduler)
    config = read_json(path)
    try:
        return settings_of(config, schedule_config.get("prediction_type", "epsilon"), path)
    except (KeyError, TypeError, ValueError) as error:
        detail = str(error).removeprefix(f"{path}: ") if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{path} is not the config of a UNet that the host can build: {detail}") from error


def stored_size(files: UNetFiles) -> tuple[int, list[int]]:
    """(channels of the first level, widths of the contexts) that the weights themselves tell."""
    keys = [shape for name, shape in files.shapes.items() if name.endswith(".attn2.to_k.weight")]
    contexts = {shape[1] for shape in keys if len(shape) == 2}
    return files.shapes[FIRST][0], sorted(contexts)
