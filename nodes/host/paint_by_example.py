"""Paint by Example as host types: its UNet with the channels in its own order, and the exemplar encoder.

The host's inpainting has mask and then masked picture, with 1 for what is painted; this model was trained with masked
picture and then 1 for what is kept. `concat_keys` names both orders (model_base.BaseModel.concat_cond).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import comfy.clip_model
import comfy.clip_vision
import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import node_helpers
import torch
from torch import Tensor

from ...pipelines.paint_by_example import exemplar_encoder as exemplars
from ...pipelines.paint_by_example.checkpoints import (
    CHANNELS,
    PaintByExampleFiles,
    check_channels,
    open_paint_by_example,
)
from ...pipelines.paint_by_example.exemplar_picture import exemplar_pictures
from ...pipelines.paint_by_example.inpainting import binary_mask, latent_mask, masked_scene, pad_scene
from ...pipelines.pictures.batches import paired
from ...pipelines.pictures.scene import check_scene
from ...pipelines.weights.unets import UNetFiles, open_unet, read_json, unet_folder
from . import unets
from .diffusers_models import load_clip_vision, load_vae
from .playroom_models import FOLDER as PLAYROOM
from .playroom_models import PlayroomLatent

ORDER = ("masked_image", "mask_inverted")  # after the noisy latent
SD14 = unets.SD15 | {"in_channels": CHANNELS}  # what a file without a config must be
VIT_L = dict(  # the vision tower of an LDM file, which has no config
    hidden_act="quick_gelu",
    hidden_size=1024,
    image_size=224,
    intermediate_size=4096,
    model_type="clip_vision_model",
    num_attention_heads=16,
    num_channels=3,
    num_hidden_layers=24,
    patch_size=14,
    projection_dim=768,
)
PLAYROOM_FILES = ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "exemplar_encoder.safetensors")


class ManagedExemplarEncoder:
    """What travels on an EXEMPLAR_ENCODER link."""

    def __init__(self, module: exemplars.ExemplarEncoder):
        management = comfy.model_management
        self.module = module
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            module,
            load_device=management.text_encoder_device(),
            offload_device=management.text_encoder_offload_device(),
        )

    @property
    def settings(self) -> exemplars.ExemplarSettings:
        return self.module.settings

    def contexts(self, pooled: Tensor, strength: float = 1.0) -> tuple[Tensor, Tensor]:
        """(exemplar, null) contexts [B,1,C] on the host's intermediate device, for pooled vectors [B,D]."""
        management = comfy.model_management
        management.load_models_gpu([self.patcher])
        pair = exemplars.exemplar_context(self.module, pooled.to(self.patcher.load_device), strength)
        return tuple(context.to(management.intermediate_device()) for context in pair)


def pooled(clip_vision, pictures: list[Tensor]) -> Tensor:
    """The pooled vectors [B,D] of pictures [1,H,W,3]: the normed class token, before any projection.

    Raises ValueError for an encoder that has none.
    """
    tower = getattr(clip_vision.model, "vision_model", None)
    if tower is None or clip_vision.model_type != "clip_vision_model":
        raise ValueError(
            f"Paint by Example needs a CLIP vision model, but '{clip_vision.model_type}' is connected. Use the one "
            "that Load Paint by Example gives, or clip-vit-large-patch14."
        )
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    look = partial(
        comfy.clip_model.clip_preprocess,
        size=clip_vision.image_size,
        mean=clip_vision.image_mean,
        std=clip_vision.image_std,
        crop=False,
    )
    pixels = torch.cat([look(picture.to(clip_vision.load_device)) for picture in pictures])
    return tower(pixels.float())[2].float()


def encode(clip_vision, encoder: ManagedExemplarEncoder, image, mask, framing, background, margin, strength):
    """(positive, negative) CONDITIONING of exemplars [B,H,W,C] with masks [B,H,W]."""
    pictures = exemplar_pictures(
        image,
        mask,
        framing=framing,
        background=background,
        margin=margin,
        mean_colour=clip_vision.image_mean,
    )
    positive, negative = encoder.contexts(pooled(clip_vision, pictures), strength)
    return [[positive, {}]], [[negative, {}]]


def condition(positive, negative, vae, scene: Tensor, mask: Tensor, resize: str):
    """(positive, negative, LATENT) for scenes [B,H,W,C] and masks [B,H,W]; the latent is empty, as in the original.

    Raises ValueError for unusable scenes and masks, and batches that do not pair up.
    """
    scene = check_scene(scene)
    mask = binary_mask(mask, scene)
    lengths = {name: max(len(c) for c, _ in given) for name, given in (("exemplars", positive), ("nulls", negative))}
    count = paired(scenes=len(scene), masks=len(mask), **lengths)
    scene, mask = pad_scene(scene, mask)
    cells = latent_mask(mask, resize)
    encoded = vae.encode(masked_scene(scene, mask))
    if encoded.shape[-2:] != cells.shape[-2:] or encoded.ndim != 4:
        raise ValueError(
            f"The VAE gives latents of shape {tuple(encoded.shape)}; Paint by Example works on cells of 8 px. Connect "
            "the VAE that belongs to the model."
        )
    shown = {"concat_latent_image": encoded, "concat_mask": cells}
    latent = {"samples": torch.zeros_like(encoded[:1]).repeat(count, 1, 1, 1)}
    return *(node_helpers.conditioning_set_values(given, shown) for given in (positive, negative)), latent


# Loaders.


def load_paint_by_example(path: Path):
    """(MODEL, VAE, CLIP_VISION, EXEMPLAR_ENCODER) of an LDM file or a diffusers folder.

    Raises FileNotFoundError, or ValueError for damaged files and other models.
    """
    files = open_paint_by_example(path)
    if files.layout == "LDM":
        _check_size(files.unet())
    encoder = ManagedExemplarEncoder(files.exemplar_encoder(comfy.ops.manual_cast))
    clip_vision, vae = _clip_vision(files), _vae(files)  # what is read whole comes before what is large
    return load_unet(path), vae, clip_vision, encoder


def load_paint_by_example_playroom():
    """The same of the playroom: its own UNet and exemplar encoder, the shared VAE and vision encoder."""
    folder = PLAYROOM / "paint_by_example"
    if absent := [name for name in PLAYROOM_FILES if not (folder / name).is_file()]:
        raise FileNotFoundError(f"The playroom models in {folder} lack {', '.join(absent)}; install the pack again.")
    module = exemplars.load(folder / "exemplar_encoder.safetensors", comfy.ops.manual_cast)
    return (
        load_unet(folder, PlayroomLatent, PLAYROOM),
        load_vae(PLAYROOM),
        load_clip_vision(PLAYROOM),
        ManagedExemplarEncoder(module),
    )


def load_unet(
    path: Path,
    latent: type = comfy.latent_formats.SD15,
    schedule: Path | None = None,
    disable_dynamic: bool = False,
):
    """MODEL of an LDM file or a diffusers folder, with the channels in this model's order; 16 bit weights stay so.

    `schedule` is the folder whose scheduler/ says what is predicted, if not `path`. Raises FileNotFoundError, or
    ValueError for another family or size.
    """
    if path.is_dir():
        files = open_unet(unet_folder(path))
        check_channels(path, files.shapes["input_blocks.0.0.weight"][1])
        config, heads, prediction = unets.folder_settings(path)
        if schedule is not None and not (path / "scheduler").is_dir():
            prediction = read_json(schedule / "scheduler" / "scheduler_config.json").get("prediction_type", prediction)
    else:
        files = open_paint_by_example(path).unet()
        _check_size(files)
        config, heads, prediction = unets.host_unet_config(SD14), SD14["attention_head_dim"], "epsilon"
    patcher = unets.build(
        files, config, heads, prediction, latent, True, disable_dynamic, stock=comfy.supported_models.SD15
    )
    patcher.add_object_patch("concat_keys", ORDER)
    patcher.cached_patcher_init = (load_unet, (path, latent, schedule))
    return patcher


def _check_size(files: UNetFiles) -> None:
    """Raise ValueError unless the UNet in a file is of Stable Diffusion 1.4's size."""
    shapes = files.shapes
    found = (
        shapes["input_blocks.0.0.weight"][0],
        *sorted({shape[1] for name, shape in shapes.items() if name.endswith(".attn2.to_k.weight")}),
    )
    if found != (SD14["block_out_channels"][0], SD14["cross_attention_dim"]):
        raise ValueError(
            f"{files.where} is not of Stable Diffusion 1.4's size: {found[0]} channels and a context of width "
            f"{', '.join(map(str, found[1:])) or 'none'}, and a file does not say with how many heads to run it. Put "
            "it into a diffusers folder with its config.json, below models/diffusers."
        )


def _vae(files: PaintByExampleFiles) -> comfy.sd.VAE:
    """The stock VAE, of any size where a folder's config says which."""
    if files.where.is_dir() and (files.where / "vae" / "diffusion_pytorch_model.safetensors").is_file():
        return load_vae(files.where)
    return comfy.sd.VAE(sd=files.vae())


def _clip_vision(files: PaintByExampleFiles) -> comfy.clip_vision.ClipVisionModel:
    """The vision tower as a CLIP_VISION. The model has no projection: image_embeds of this one are zeros."""
    config, statistics = VIT_L, {}
    if files.where.is_dir():
        config = VIT_L | read_json(files.where / "image_encoder" / "config.json") | {"model_type": "clip_vision_model"}
        pixels = files.where / "feature_extractor" / "preprocessor_config.json"
        facts = read_json(pixels) if pixels.is_file() else {}
        statistics = {name: facts[name] for name in ("image_mean", "image_std") if name in facts}
    encoder = comfy.clip_vision.ClipVisionModel(config | statistics)
    state = files.vision()
    state["visual_projection.weight"] = torch.zeros(config["projection_dim"], config["hidden_size"])
    try:
        missing, unexpected = encoder.load_sd(state)
    except RuntimeError as error:  # shapes
        raise ValueError(f"{files.encoder.path} holds a vision encoder of another size: {error}") from error
    if missing or unexpected:
        wrong = [*(f"{name} is missing" for name in missing), *(f"{name} is not known" for name in unexpected)]
        raise ValueError(f"{files.encoder.path} holds another vision encoder: {', '.join(wrong[:3])}.")
    return encoder
