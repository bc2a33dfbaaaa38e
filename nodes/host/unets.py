"""InstructPix2Pix UNets of any public layout as the host's own MODEL, read as a stream.

The host recognises a UNet by the exact shape of the public ones, and none with 8 input channels in diffusers layout.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import comfy.cli_args
import comfy.latent_formats
import comfy.ldm.modules.diffusionmodules.openaimodel
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch

from ...pipelines.weights.layouts import kind_of, to_diffusers
from ...pipelines.weights.unets import CONFIG, UNetFiles, open_unet, read_json, unet_folder

SD15 = {  # what a file without a config must be; the number of heads is not stored in weights
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
FAMILIES = {  # by the host's config
    comfy.supported_models.SD15_instructpix2pix: "InstructPix2Pix",
    comfy.supported_models.SD15: "Paint by Example",
}
ADVICE = (
    "Use an InstructPix2Pix or Paint by Inpaint UNet, such as paint-by-inpaint-add-base-unet.safetensors or "
    "instruct-pix2pix-00-22000.safetensors."
)
_MODEL_TYPES = {
    "epsilon": comfy.model_base.ModelType.EPS,
    "v_prediction": comfy.model_base.ModelType.V_PREDICTION,
}


class PlainLayers(comfy.ops.disable_weight_init):
    """Layers that have weights from the start; the host's own wait for a file where it pages them (dynamic VRAM)."""

    class Linear(comfy.ops.disable_weight_init.Linear):
        def _load_from_state_dict(self, *args):
            return torch.nn.Module._load_from_state_dict(self, *args)

    class Embedding(comfy.ops.disable_weight_init.Embedding):
        def _load_from_state_dict(self, *args):
            return torch.nn.Module._load_from_state_dict(self, *args)


def host_unet_config(config: dict[str, Any]) -> dict[str, Any]:
    """The host's UNet settings for a diffusers `UNet2DConditionModel` config."""
    channels = config["block_out_channels"]
    base, levels = channels[0], len(channels)
    if any(width % base for width in channels):
        raise ValueError(f"Block widths {channels} are not multiples of the first; the host cannot build this UNet.")
    layers = config["layers_per_block"]
    layers = [layers] * levels if isinstance(layers, int) else list(layers)
    depth = config.get("transformer_layers_per_block", 1)
    attends = ["CrossAttn" in kind for kind in config["down_block_types"]]
    return dict(
        image_size=32,
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        model_channels=base,
        channel_mult=[width // base for width in channels],
        num_res_blocks=layers,
        transformer_depth=[depth * a for a, n in zip(attends, layers, strict=True) for _ in range(n)],
        transformer_depth_output=[depth * a for a, n in zip(attends, layers, strict=True) for _ in range(n + 1)],
        transformer_depth_middle=depth,
        context_dim=config["cross_attention_dim"],
        use_spatial_transformer=True,
        use_linear_in_transformer=bool(config.get("use_linear_projection")),
        legacy=False,
        adm_in_channels=None,
        use_temporal_resblock=False,
        use_temporal_attention=False,
    )


def load_pix2pix_unet(
    folder: Path,
    latent: type = comfy.latent_formats.SD15,
    disable_dynamic: bool = False,
):
    """MODEL from a diffusers folder, with as many input channels as its UNet has.

    Raises FileNotFoundError, or ValueError when weights and config do not belong together.
    """
    files = open_unet(unet_folder(folder))
    patcher = build(files, *folder_settings(folder), latent, disable_dynamic=disable_dynamic)
    patcher.cached_patcher_init = (load_pix2pix_unet, (folder, latent))
    return patcher


def load_unet(path: Path, averaged: bool = False, disable_dynamic: bool = False):
    """MODEL of InstructPix2Pix's family: a file of Stable Diffusion 1.5's size, or a diffusers folder of any size.

    16 bit weights stay so in memory. `averaged` takes the EMA copy of an LDM checkpoint. Raises FileNotFoundError, or
    ValueError for another family.
    """
    folder = path.is_dir()
    files = open_unet(unet_folder(path) if folder else path, averaged)
    check_family(files, size_known=folder)
    settings = folder_settings(path) if folder else (host_unet_config(SD15), SD15["attention_head_dim"], "epsilon")
    patcher = build(files, *settings, keep_half=True, disable_dynamic=disable_dynamic)
    patcher.cached_patcher_init = (load_unet, (path, averaged))
    return patcher


def folder_settings(folder: Path) -> tuple[dict[str, Any], int, str]:
    """(host's UNet settings, heads, prediction type) from the configs of a pipeline or of a UNet alone."""
    path = unet_folder(folder) / CONFIG
    scheduler = folder / "scheduler" / "scheduler_config.json"
    prediction = read_json(scheduler).get("prediction_type", "epsilon") if scheduler.is_file() else "epsilon"
    if prediction not in _MODEL_TYPES:
        raise ValueError(f"{scheduler} asks for prediction_type '{prediction}'; known are {', '.join(_MODEL_TYPES)}.")
    config = read_json(path)
    try:
        return host_unet_config(config), _heads(config), prediction
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the config of a UNet that the host can build: {error!r}.") from error


def check_family(files: UNetFiles, size_known: bool) -> None:
    """Raise ValueError unless the UNet is of InstructPix2Pix's family; of its size too where no config says another."""
    shapes, where = files.shapes, files.where
    first = shapes["input_blocks.0.0.weight"]
    if "label_emb.0.0.weight" in shapes:
        raise ValueError(f"{where} is a UNet of SDXL's family; this method's are of Stable Diffusion 1.5's. {ADVICE}")
    if first[1] != SD15["in_channels"]:
        raise ValueError(
            f"{where} is {kind_of(first[1])}: its UNet takes {first[1]} channels, one for InstructPix2Pix takes 8 "
            f"(noise and scene). {ADVICE}"
        )
    widths = {shape[1] for name, shape in shapes.items() if name.endswith(".attn2.to_k.weight")}
    channels, context = SD15["block_out_channels"][0], SD15["cross_attention_dim"]
    if not size_known and (first[0], widths) != (channels, {context}):
        raise ValueError(
            f"{where} is not of Stable Diffusion 1.5's size: {first[0]} channels and a context of width "
            f"{', '.join(map(str, sorted(widths))) or 'none'} instead of {channels} and {context}, and a file does not "
            "say with how many heads to run it. Put it into a folder with its config.json, below models/diffusers."
        )


def build(
    files: UNetFiles,
    unet_config: dict[str, Any],
    heads: int,
    prediction: str,
    latent: type = comfy.latent_formats.SD15,
    keep_half: bool = False,
    disable_dynamic: bool = False,
    stock: type = comfy.supported_models.SD15_instructpix2pix,
):
    """MODEL of this shape with these weights, of the family of one of the host's own configs.

    `keep_half` stores 16 bit weights as they are also where the host would widen them, as on a CPU, and casts as it
    computes: half the memory for somewhat slower steps. Raises ValueError when weights and shape differ.
    """
    wanted = _wanted(unet_config, heads)
    _check_fit(files, wanted, FAMILIES[stock])
    management = comfy.model_management
    device, offload = management.get_torch_device(), management.unet_offload_device()
    model_config = _model_config(unet_config, heads, prediction, latent, stock)
    supported = model_config.supported_inference_dtypes
    dtype = management.unet_dtype(
        device=device, model_params=files.parameters, supported_dtypes=supported, weight_dtype=files.dtype
    )
    told = comfy.cli_args.args.fp32_unet or comfy.cli_args.args.fp64_unet
    if keep_half and not told and files.dtype.itemsize < dtype.itemsize:
        dtype = files.dtype
    model_config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, supported))
    model = model_config.get_model({}, "", device=offload)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=device, offload_device=offload)
    _fill(model.diffusion_model, files, wanted, assign=patcher.is_dynamic())
    return patcher


def _heads(config: dict[str, Any]) -> int:
    """diffusers means the number of heads by either name. Raises ValueError for what the host cannot build."""
    given = config.get("num_attention_heads") or config["attention_head_dim"]
    heads = {given} if isinstance(given, int) else set(given)
    if len(heads) != 1:
        raise ValueError(f"{given} attention heads by level")
    if config.get("norm_num_groups", 32) != 32:
        raise ValueError(f"{config['norm_num_groups']} groups in its norms; the host has 32")
    return heads.pop()


def _model_config(
    unet_config: dict[str, Any],
    heads: int,
    prediction: str,
    latent: type,
    stock: type = comfy.supported_models.SD15_instructpix2pix,
) -> Any:
    """The host's own config of a family, or one of its kind for another size."""
    ours = (heads, prediction, latent) == (stock.unet_extra_config["num_heads"], "epsilon", stock.latent_format)
    if ours and stock.matches(unet_config):
        return stock(unet_config)

    class Diffusers(comfy.supported_models_base.BASE):
        unet_extra_config = {"num_heads": heads, "num_head_channels": -1}
        latent_format = latent
        supported_inference_dtypes = [torch.float16, torch.bfloat16, torch.float32]
        memory_usage_factor = 1.0

        def model_type(self, state_dict, prefix=""):
            return _MODEL_TYPES[prediction]

        def get_model(self, state_dict, prefix="", device=None):
            if stock is comfy.supported_models.SD15:
                return super().get_model(state_dict, prefix, device)
            return comfy.model_base.SD15_instructpix2pix(self, self.model_type(state_dict, prefix), device=device)

    return Diffusers(unet_config)


def _wanted(unet_config: dict[str, Any], heads: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights of the host's UNet."""
    shell = comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel(
        **unet_config, num_heads=heads, num_head_channels=-1, device="meta", operations=PlainLayers
    )
    return {name: tuple(tensor.shape) for name, tensor in shell.state_dict().items()}


def _check_fit(files: UNetFiles, wanted: dict[str, tuple[int, ...]], family: str) -> None:
    """Raise ValueError, with names as they are in the file, unless the weights have the names and shapes wanted."""
    given = files.shapes
    wrong = {
        "missing": wanted.keys() - given.keys(),
        "unexpected": given.keys() - wanted.keys(),
        "of another shape": {name for name in wanted.keys() & given.keys() if wanted[name] != given[name]},
    }
    shown = to_diffusers(wanted.keys()) if files.layout == "diffusers" else {}
    found = [
        f"{len(names)} {what} (such as {min(shown.get(name, name) for name in names)})"
        for what, names in wrong.items()
        if names
    ]
    if found:
        whose = "their own config" if files.where.is_dir() else f"a UNet of {family}"
        raise ValueError(
            f"The weights in {files.where} do not fit {whose}: {', '.join(found)}. Fetch them again, or ask their "
            "author."
        )


def _fill(unet: Any, files: UNetFiles, wanted: dict[str, tuple[int, ...]], assign: bool) -> None:
    """Move the weights into the module as they are read; weight and bias of a layer together, as the host wants it.

    Raises ValueError for values that are not finite; the host's exception when the run is cancelled.
    """
    layers: dict[str, set[str]] = defaultdict(set)
    for name in wanted:
        layer, _, leaf = name.rpartition(".")
        layers[layer].add(leaf)
    bar = comfy.utils.ProgressBar(len(wanted))
    waiting: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for name, tensor in files.read():
        comfy.model_management.throw_exception_if_processing_interrupted()
        layer, _, leaf = name.rpartition(".")
        waiting[layer][leaf] = tensor if assign else tensor.to(unet.dtype)
        if waiting[layer].keys() == layers[layer]:
            unet.get_submodule(layer).load_state_dict(waiting.pop(layer), assign=assign)
        bar.update(1)
