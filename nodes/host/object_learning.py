"""A MODEL as what learning an object asks for, under the host's model management."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management
import torch
from torch import Tensor

from ...pipelines.object_representation.attention_changes import LAYERS
from ...pipelines.object_representation.learned_object import base_text
from ...pipelines.object_representation.training.beside_noise import Beside, Encode, with_hole, without_object
from ...pipelines.object_representation.training.examples import LearningModel
from ...pipelines.training.noise_levels import NoiseLevels
from ...pipelines.weights.layouts import patch_module, to_diffusers
from .managed_networks import ManagedEmbeddingOptimizer, ManagedExemplarEncoder
from .paint_by_example_conditioning import pooled_vectors
from .paint_by_example_models import CHANNELS, ORDER

PREFIX = "diffusion_model."
NATIVE = 512  # px, where a latent format does not say
TRAINING_MEMORY = 6  # times what sampling the same batch takes: activations wait for the backward pass


@dataclass(frozen=True)
class Shown:
    """What tells a MODEL about the object."""

    contexts: Encode  # exemplars [B,3,E,E] in 0..1 -> [B,Q,C]
    null: Tensor  # [1,Q,C]
    hole: bool  # whether the UNet sees where the object is to be (Paint by Example), or the scene without it


def shown_by_exemplar(clip_vision, exemplar_encoder: ManagedExemplarEncoder) -> Shown:
    """Paint by Example's token."""

    def contexts(exemplars: Tensor) -> Tensor:
        pooled = pooled_vectors(clip_vision, list(exemplars.movedim(1, -1).split(1)))
        return exemplar_encoder.contexts(pooled, 1.0, "separate")[0].float().clone()

    return Shown(contexts, exemplar_encoder.module.null, hole=True)


def shown_by_optimizer(clip_vision, embedding_optimizer: ManagedEmbeddingOptimizer) -> Shown:
    """An embedding optimizer's tokens. Raises ValueError for one that reads a second encoder's as well."""
    if embedding_optimizer.module.detail_width:
        raise ValueError(
            "This embedding optimizer reads a second encoder's tokens; Learn Object shows the pictures to one. Use "
            "one that was trained with CLIP alone."
        )

    def contexts(exemplars: Tensor) -> Tensor:
        features = clip_vision.encode_image(exemplars.movedim(1, -1), crop=False)["last_hidden_state"]
        return embedding_optimizer.contexts(features, 1.0, "separate")[0].float().clone()

    return Shown(contexts, embedding_optimizer.module.null[None], hole=False)


@contextmanager
def learning_model(model, vae, shown: Shown, exemplar_size: int) -> Iterator[LearningModel]:
    """The networks while something is learned; afterwards the MODEL is as it was.

    The weights of a MODEL cannot be learned through, because the host made them without gradients: a clone has copies
    in their place, for as long as the block. Raises ValueError for another family, and for a model with patches.
    """
    check_family(model, shown.hole)
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

    def scenes(pictures: Tensor) -> Tensor:
        return vae.encode(pictures.movedim(1, -1)).float().clone()

    beside: Beside = with_hole(latents) if shown.hole else without_object(scenes)
    sigmas = base.model_sampling.sigmas.double().cpu()
    try:
        management.in_training = True
        yield LearningModel(
            unet=unet,
            layers=attention_layers(model),
            base=base_text(base_weights(model)),
            latents=latents,
            beside=beside,
            pictures=pictures,
            contexts=shown.contexts,
            null=shown.null.detach().float().cpu().clone(),
            noise_levels=NoiseLevels((1 / (1 + sigmas.square())).float(), _predicts(base)),
            exemplar_size=exemplar_size,
            size=preview_of,
            device=device,
            shown=shown.hole,
        )
    finally:
        management.in_training = False
        clone.detach()


def is_paint_by_example(model) -> bool:
    """Whether a MODEL is Paint by Example's."""
    channels = model.model.model_config.unet_config.get("in_channels")
    return channels == CHANNELS and tuple(model.get_model_object("concat_keys")) == ORDER


def check_family(model, hole: bool) -> None:
    """Raise ValueError for a MODEL that is none of Paint by Example's, or, without a `hole`, of InstructPix2Pix's."""
    channels = model.model.model_config.unet_config.get("in_channels")
    inserts = channels == 2 * model.model.latent_format.latent_channels
    if hole and not is_paint_by_example(model):
        raise ValueError(
            "An exemplar encoder goes with Paint by Example, and another model is connected. Use the one that Load "
            "Paint by Example gives, or the playroom's; with an InstructPix2Pix model connect an embedding optimizer."
        )
    if not hole and not inserts:
        raise ValueError(
            "An embedding optimizer goes with an InstructPix2Pix model, and another one is connected. Use the one that "
            "the optimizer was trained with, or Playroom Models; with Paint by Example connect its exemplar encoder."
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
