"""A MODEL of Paint by Example as what learning an object asks for, under the host's model management."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import torch
from torch import Tensor

from ...pipelines.object_representation.attention_changes import LAYERS
from ...pipelines.object_representation.learned_object import base_text
from ...pipelines.object_representation.training.examples import LearningModel
from ...pipelines.training.noise_levels import NoiseLevels
from ...pipelines.weights.layouts import patch_module, to_diffusers
from .managed_networks import ManagedExemplarEncoder
from .paint_by_example_conditioning import pooled_vectors
from .paint_by_example_models import CHANNELS, ORDER

PREFIX = "diffusion_model."
NATIVE = 512  # px, where a latent format does not say
TRAINING_MEMORY = 6  # times what sampling the same batch takes: activations wait for the backward pass


@contextmanager
def learning_model(model, vae, clip_vision, exemplar_encoder: ManagedExemplarEncoder) -> Iterator[LearningModel]:
    """The networks while something is learned; afterwards the MODEL is as it was.

    The weights of a MODEL cannot be learned through, because the host made them without gradients: a clone has copies
    in their place, for as long as the block. Raises ValueError for another family, and for a model with patches.
    """
    check_is_paint_by_example(model)
    if model.patches:
        raise ValueError(
            "The model has LoRAs or other patches on it; an object is learned on the base model alone. Connect the "
            "loader's own model, and put LoRAs behind Apply Object."
        )
    management = comfy.model_management
    management.load_models_gpu([model])  # takes what clones have laid over the shared weights off
    clone = model.clone()
    for name, parameter in model.model.named_parameters():
        clone.add_object_patch(name, torch.nn.Parameter(parameter.detach().clone(), requires_grad=False))
    base = model.model
    device = model.load_device
    dtype = base.manual_cast_dtype or base.get_dtype()
    options = {"optimized_attention_override": _differentiable}
    preview_of = getattr(base.latent_format, "working_size", NATIVE)

    def unet(inputs: Tensor, time: Tensor, encoder_hidden_states: Tensor) -> Any:
        memory = TRAINING_MEMORY * base.memory_required(list(inputs.shape))
        management.load_models_gpu([clone], memory_required=memory)
        predicted = base.diffusion_model(
            inputs.to(device, dtype),
            timesteps=time.to(device),
            context=encoder_hidden_states.to(device, dtype),
            transformer_options=dict(options),
        )
        return SimpleNamespace(sample=predicted.float())

    def latents(pictures: Tensor) -> Tensor:
        return base.process_latent_in(vae.encode(pictures.movedim(1, -1))).float().clone()

    def pictures(latents: Tensor) -> Tensor:
        return vae.decode(base.process_latent_out(latents)).float().movedim(-1, 1).clamp(0, 1)

    def contexts(exemplars: Tensor) -> Tensor:
        pooled = pooled_vectors(clip_vision, list(exemplars.movedim(1, -1).split(1)))
        return exemplar_encoder.contexts(pooled, 1.0, "separate")[0].float().clone()

    sigmas = base.model_sampling.sigmas.double().cpu()
    try:
        management.in_training = True
        yield LearningModel(
            unet=unet,
            layers=attention_layers(model),
            base=base_text(base_weights(model)),
            latents=latents,
            pictures=pictures,
            contexts=contexts,
            null=exemplar_encoder.module.null.detach().float().cpu().clone(),
            noise_levels=NoiseLevels((1 / (1 + sigmas.square())).float(), _predicts(base)),
            exemplar_size=clip_vision.image_size,
            size=preview_of,
            device=device,
            channels=base.latent_format.latent_channels,
        )
    finally:
        management.in_training = False
        clone.detach()


def check_is_paint_by_example(model) -> None:
    """Raise ValueError for a MODEL that is none of Paint by Example's."""
    channels = model.model.model_config.unet_config.get("in_channels")
    if channels != CHANNELS or tuple(model.get_model_object("concat_keys")) != ORDER:
        raise ValueError(
            "Objects are learned by Paint by Example, and another model is connected. Use the one that Load Paint by "
            "Example gives, or the playroom's."
        )


def attention_layers(model) -> dict[str, Any]:
    """The layers of a MODEL's cross-attention, by their names in a patch file."""
    network = model.model.diffusion_model
    names = to_diffusers(name for name, _ in network.named_parameters())
    layers = {}
    for name, diffusers_name in names.items():
        module, _, leaf = diffusers_name.rpartition(".")
        key = patch_module(module)
        if leaf == "weight" and key.endswith(LAYERS["attn2"]):
            layers[key] = network.get_submodule(name.removesuffix(".weight"))
    return layers


def base_weights(model) -> dict[str, Any]:
    """The same layers as things with the `weight` of the file they were loaded from, whatever lies over them now."""
    weights = {key: value[0][0] for key, value in model.get_key_patches(PREFIX).items()}
    names = {key.removeprefix(PREFIX): key for key in weights}
    own = {}
    for name, diffusers_name in to_diffusers(names).items():
        module, _, leaf = diffusers_name.rpartition(".")
        key = patch_module(module)
        if leaf == "weight" and key.endswith(LAYERS["attn2"]):
            own[key] = SimpleNamespace(weight=weights[names[name]])
    return own


def _differentiable(_: Any, *arguments, **options) -> Tensor:
    """Attention that has a gradient, whatever the host would take."""
    return comfy.ldm.modules.attention.attention_pytorch(*arguments, **options)


def _predicts(base) -> str:
    return "v_prediction" if base.model_type.name == "V_PREDICTION" else "epsilon"
