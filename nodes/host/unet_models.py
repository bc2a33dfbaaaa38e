"""A UNet's weights, read as a stream, as the host's own MODEL.

The host recognises a UNet by the exact shape of the public ones, and none with 8 input channels in diffusers layout.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import comfy.cli_args
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch

from ...pipelines.weights.layouts import to_diffusers
from ...pipelines.weights.reading import Shapes, StateDict, describe_misfit
from ...pipelines.weights.unets import UNetFiles
from .unet_settings import MODEL_TYPES, UNetSettings

FAMILIES = {  # by the host's config
    comfy.supported_models.SD15_instructpix2pix: "InstructPix2Pix",
    comfy.supported_models.SD15: "Paint by Example",
}


def build(
    files: UNetFiles,
    settings: UNetSettings,
    *,
    latent: type = comfy.latent_formats.SD15,
    keep_half: bool = False,
    disable_dynamic: bool = False,
    stock: type = comfy.supported_models.SD15_instructpix2pix,
):
    """MODEL of this shape with these weights, of the family of one of the host's own configs.

    `keep_half` stores 16 bit weights as they are also where the host would widen them, as on a CPU, and casts as it
    computes: half the memory for somewhat slower steps. Raises ValueError when weights and shape differ.
    """
    shapes = settings.weight_shapes(f"The config of {files.where}", len(files.stored))
    _check_fit(files, shapes, FAMILIES[stock])
    management = comfy.model_management
    device = management.get_torch_device()
    offload_device = management.unet_offload_device()
    config = model_config(settings, latent, stock)
    supported = config.supported_inference_dtypes
    dtype = management.unet_dtype(
        device=device, model_params=files.parameters, supported_dtypes=supported, weight_dtype=files.dtype
    )
    user_widens = comfy.cli_args.args.fp32_unet or comfy.cli_args.args.fp64_unet
    if keep_half and not user_widens and files.dtype.itemsize < dtype.itemsize:
        dtype = files.dtype
    config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, supported))
    model = config.get_model({}, "", device=offload_device)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=device, offload_device=offload_device)
    _fill(model.diffusion_model, files, shapes, assign=patcher.is_dynamic())
    return patcher


def model_config(settings: UNetSettings, latent: type, stock: type) -> Any:
    """The host's own config of a family, or one of its kind for another size."""
    stock_settings = (stock.unet_extra_config["num_heads"], "epsilon", stock.latent_format)
    if (settings.heads, settings.prediction, latent) == stock_settings and stock.matches(settings.config):
        return stock(settings.config)

    class Diffusers(comfy.supported_models_base.BASE):
        unet_extra_config = {"num_heads": settings.heads, "num_head_channels": -1}
        latent_format = latent
        supported_inference_dtypes = [torch.float16, torch.bfloat16, torch.float32]
        memory_usage_factor = 1.0

        def model_type(self, state_dict, prefix=""):
            return MODEL_TYPES[settings.prediction]

        def get_model(self, state_dict, prefix="", device=None):
            if stock is comfy.supported_models.SD15:
                return super().get_model(state_dict, prefix, device)
            return comfy.model_base.SD15_instructpix2pix(self, self.model_type(state_dict, prefix), device=device)

    return Diffusers(settings.config)


def _check_fit(files: UNetFiles, shapes: Shapes, family: str) -> None:
    """Raise ValueError, with names as they are in the file, unless the weights have these names and shapes."""
    stored_names = to_diffusers(shapes) if files.layout == "diffusers" else {}
    misfit = describe_misfit(
        {stored_names.get(name, name): shape for name, shape in shapes.items()},
        {stored_names.get(name, name): shape for name, shape in files.shapes.items()},
    )
    if misfit:
        whose = "their own config" if files.where.is_dir() else f"a UNet of {family}"
        raise ValueError(
            f"The weights in {files.where} do not fit {whose}: {misfit}. Fetch them again, or ask their author."
        )


def _fill(unet: Any, files: UNetFiles, shapes: Shapes, assign: bool) -> None:
    """Move the weights into the module as they are read; weight and bias of a layer together, as the host wants it.

    Raises ValueError for values that are not finite; the host's exception when the run is cancelled.
    """
    sizes = Counter(name.rpartition(".")[0] for name in shapes)  # tensors by layer
    waiting: dict[str, StateDict] = defaultdict(dict)
    bar = comfy.utils.ProgressBar(len(shapes))
    for name, tensor in files.read():
        comfy.model_management.throw_exception_if_processing_interrupted()
        layer, _, part = name.rpartition(".")
        waiting[layer][part] = tensor if assign else tensor.to(unet.dtype)
        if len(waiting[layer]) == sizes[layer]:
            unet.get_submodule(layer).load_state_dict(waiting.pop(layer), assign=assign)
        bar.update(1)
