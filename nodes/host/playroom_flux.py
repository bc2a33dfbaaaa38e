"""The playroom's text-to-picture model as host types: the host's own Flux class, flow sampling, CLIP text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.ldm.flux.model
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import torch
from torch import Tensor

from ...pipelines.playroom.add_it.captions import LENGTH
from ...pipelines.playroom.add_it.picture_words import load_picture_words
from ...pipelines.weights.configs import blueprint, read_json
from ...pipelines.weights.flux_names import to_original
from ...pipelines.weights.reading import StateDict, describe_misfit, shapes_of
from ...pipelines.weights.tensors import FULL_FIRST, TRANSFORMERS, open_folder
from .add_it_subject import marked
from .diffusers_models import load_clip_vision, load_vae
from .plain_layers import PlainLayers
from .playroom_models import FOLDER as PLAYROOM
from .playroom_models import PlayroomLatent, check_complete

FOLDER = PLAYROOM.parent / "playroom_flux"
FILES = (
    "picture_words.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
)
VAE_FILES = ("vae/config.json", "vae/diffusion_pytorch_model.safetensors", "image_encoder/model.safetensors")
PATCH = 2  # latent cells along a side of a token
CELLS = 4  # of a token


class PlayroomFluxConfig(comfy.supported_models_base.BASE):
    """What the host asks of a family of models."""

    unet_config: dict[str, Any] = {}
    unet_extra_config: dict[str, Any] = {}
    sampling_settings = {"shift": 0.0}  # noise levels as in training: evenly spread
    latent_format = PlayroomLatent
    memory_usage_factor = 1.0
    supported_inference_dtypes = [torch.float16, torch.bfloat16, torch.float32]


def load_playroom_flux():
    """(MODEL, CLIP, VAE, CLIP_VISION). Raises FileNotFoundError when the checkout is incomplete."""
    check_complete(FOLDER, FILES)
    check_complete(PLAYROOM, VAE_FILES)
    return load_transformer(FOLDER / "transformer"), load_clip(), load_vae(PLAYROOM), load_clip_vision(PLAYROOM)


def load_transformer(folder: Path, disable_dynamic: bool = False):
    """MODEL of a folder of diffusers' FluxTransformer2DModel.

    Raises FileNotFoundError, or ValueError when weights and config do not belong together.
    """
    settings = flux_settings(read_json(folder / "config.json"))
    files = open_folder(folder, FULL_FIRST)
    state = to_original(dict(files.read()))
    _check_fit(folder, settings, state)
    management = comfy.model_management
    device = management.get_torch_device()
    offload_device = management.unet_offload_device()
    supported = PlayroomFluxConfig.supported_inference_dtypes
    parameters = sum(weight.numel() for weight in state.values())
    dtype = management.unet_dtype(device=device, model_params=parameters, supported_dtypes=supported)
    config = PlayroomFluxConfig(settings)
    config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, supported))
    model = comfy.model_base.Flux(config, device=offload_device)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=device, offload_device=offload_device)
    model.load_model_weights(state, "", assign=patcher.is_dynamic())
    patcher.cached_patcher_init = (load_transformer, (folder,))
    return patcher


def flux_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The host's settings for a config of diffusers' FluxTransformer2DModel with patches of 2x2 cells."""
    width = config["attention_head_dim"] * config["num_attention_heads"]
    channels = config["in_channels"] // CELLS
    return dict(
        image_model="flux",
        in_channels=channels,
        out_channels=channels,
        patch_size=PATCH,
        vec_in_dim=config["pooled_projection_dim"],
        context_in_dim=config["joint_attention_dim"],
        hidden_size=width,
        mlp_ratio=4.0,
        num_heads=config["num_attention_heads"],
        depth=config["num_layers"],
        depth_single_blocks=config["num_single_layers"],
        axes_dim=list(config["axes_dims_rope"]),
        theta=10000,
        qkv_bias=True,
        guidance_embed=config["guidance_embeds"],
        txt_ids_dims=[],
    )


def _check_fit(folder: Path, settings: dict[str, Any], state: StateDict) -> None:
    """Raise ValueError unless the weights have the names and shapes of the network's."""
    with blueprint(str(folder / "config.json"), len(state)):
        network = comfy.ldm.flux.model.Flux(**settings, dtype=torch.float32, device="meta", operations=PlainLayers)
    misfit = describe_misfit(_renamed(shapes_of(network.state_dict())), shapes_of(state))
    if misfit:
        raise ValueError(f"The weights in {folder} do not fit their own config: {misfit}. Install the pack again.")


def _renamed(shapes):
    """Older hosts call a norm's weight scale."""
    return {name.replace("_norm.scale", "_norm.weight"): shape for name, shape in shapes.items()}


class PlayroomTokenizer(comfy.sd1_clip.SD1Tokenizer):
    """Words of the playroom, one token each."""

    def __init__(self, **where):
        super().__init__(**where, clip_name="playroom", tokenizer=_Tokenizer)


class _Tokenizer(comfy.sd1_clip.SDTokenizer):
    def __init__(self, **where):
        width = _text_settings()["hidden_size"]
        folder = str(FOLDER / "tokenizer")
        super().__init__(folder, **where, max_length=LENGTH, embedding_size=width, embedding_key="playroom")


class PlayroomTextEncoder(comfy.sd1_clip.SD1ClipModel):
    """CLIP's text encoder in small: its last layer, normed, and the unprojected vector at the end of the text."""

    def __init__(self, **how):
        super().__init__(**how, clip_name="playroom", clip_model=_TextModel)


class _SmallVocabulary(comfy.clip_model.CLIPTextModel):
    """The host's class has the 49,408 tokens of the published models, whatever the config says."""

    def __init__(self, config, dtype, device, operations):
        super().__init__(config, dtype, device, operations)
        self.set_input_embeddings(
            operations.Embedding(config["vocab_size"], config["hidden_size"], dtype=dtype, device=device)
        )


class _TextModel(comfy.sd1_clip.SDClipModel):
    def __init__(self, **how):
        settings = _text_settings()
        super().__init__(
            **how,
            max_length=LENGTH,
            textmodel_json_config=settings,
            model_class=_SmallVocabulary,
            special_tokens={
                "start": settings["bos_token_id"],
                "end": settings["eos_token_id"],
                "pad": settings["pad_token_id"],
            },
            return_projected_pooled=False,
        )


def _text_settings() -> dict[str, Any]:
    return read_json(FOLDER / "text_encoder" / "config.json")


def load_clip() -> comfy.sd.CLIP:
    """CLIP of the playroom's captions."""
    state = dict(open_folder(FOLDER / "text_encoder", TRANSFORMERS).read())
    width = _text_settings()["hidden_size"]
    state["text_projection.weight"] = torch.eye(width)  # the host's class has one, this encoder not
    target = comfy.supported_models_base.ClipTarget(PlayroomTokenizer, PlayroomTextEncoder)
    clip = comfy.sd.CLIP(target, parameters=sum(weight.numel() for weight in state.values()))
    clip.cond_stage_model.load_sd(state)
    return clip


def encode_with_pictures(clip, prompt: str, word: str, vision: Tensor):
    """CONDITIONING of a prompt in which pictures stand in for a word, the first picture for its first place, and so on.

    The pictures' tokens are the subject.
    `vision` [V,65,128] are the pictures' tokens. Raises ValueError for another text encoder, and unless the prompt has
    the word as often as there are pictures.
    """
    if not isinstance(clip.cond_stage_model, PlayroomTextEncoder):
        raise ValueError("Only the playroom's text encoder hears pictures as words; connect Playroom FLUX's clip.")
    words = load_picture_words(FOLDER / "picture_words.safetensors")
    if vision.shape[-1] != words.queries.shape[-1]:
        raise ValueError(
            f"The object's picture was seen by another encoder (width {vision.shape[-1]}); connect Playroom FLUX's "
            "clip_vision to Object Image Encode."
        )
    phrases = words(vision.float().cpu())
    length = phrases.shape[1]
    count = prompt.split().count(word)
    if count != len(phrases):
        raise ValueError(
            f'The prompt has the word "{word}" {count} times, but there are {len(phrases)} pictures of objects; write '
            "it once for each."
        )
    spread = " ".join(" ".join([word] * length) if part == word else part for part in prompt.split())
    tokens = clip.tokenize(spread)
    number = clip.tokenize(word)["playroom"][0][1][0]
    said = iter(phrases.flatten(0, 1))
    rows = [
        [(next(said), weight) if token == number else (token, weight) for token, weight in row]
        for row in tokens["playroom"]
    ]
    shown = [place for place, token in enumerate(rows[0]) if isinstance(token[0], Tensor)]
    return marked(clip.encode_from_tokens_scheduled({"playroom": rows}), shown)
