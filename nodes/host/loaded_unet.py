"""A MODEL of the host taken apart far enough to run one bare step of its UNet."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import torch

from ...pipelines.doctor.parity import LoadedUNet, Step


def loaded_unet(model) -> LoadedUNet:
    """A MODEL's UNet; patches and LoRAs that are laid over it count as well."""
    config = model.model.model_config.unet_config
    path, averaged = _source_of(model)
    return LoadedUNet(
        path=path,
        parameters=sum(weight.numel() for weight in model.model.diffusion_model.parameters()),
        channels=config.get("in_channels", 0),
        context_width=config.get("context_dim", 0),
        dtype=model.model.get_dtype_inference(),
        averaged=averaged,
        predict=lambda step: _prediction(model, step),
    )


def _source_of(model) -> tuple[Path | None, bool]:
    """What a MODEL was loaded from, by what the host remembers to load it anew, and whether its averaged copy."""
    _, arguments, *_ = model.cached_patcher_init or (None, ())
    paths = (Path(argument) for argument in arguments[:1] if isinstance(argument, str | Path))
    return next((path for path in paths if path.exists()), None), arguments[1:2] == (True,)


@torch.inference_mode()
def _prediction(model, step: Step) -> torch.Tensor:
    comfy.model_management.load_models_gpu([model])
    device = model.load_device
    dtype = model.model.get_dtype_inference()
    latents = step.latents.to(device, dtype)
    return model.model.diffusion_model(latents, step.time.to(device), context=step.context.to(device, dtype))
