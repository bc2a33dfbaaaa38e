"""What a training run starts from: Paint by Example, or a model without masks that is made wider."""

from __future__ import annotations

from typing import Any, cast

import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel

from ...encoders.vision import load_encoder
from ...sampling.schedulers import read_scheduler
from ...training.base_models import load_part
from ...weights.configs import read_json
from ...weights.layouts import kind_of
from ..checkpoints import CHANNELS
from ..exemplar_encoder import ExemplarEncoder, ExemplarSettings
from ..pipeline import REFERENCE, PaintByExamplePipeline
from .config import ModelFolders

NEEDED = (
    "models.base must be a diffusers folder (unet, vae, scheduler): of Stable Diffusion 1.4 or its like, such as "
    "CompVis/stable-diffusion-v1-4, or of Paint by Example."
)


def load_start(models: ModelFolders, blocks: int) -> PaintByExamplePipeline:
    """The networks, in float32 on the CPU; a new exemplar encoder has `blocks`.

    Raises FileNotFoundError for what is missing, ValueError for other models and files that cannot be read.
    """
    base = models.base
    config = base / "unet" / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"{config} is missing. {NEEDED}")
    facts = read_json(config)
    if facts.get("in_channels") == CHANNELS:
        if models.image_encoder:
            raise ValueError(
                f"{base} has a vision encoder of its own, which its exemplar encoder was trained with. Leave "
                "models.image_encoder out."
            )
        return PaintByExamplePipeline.from_folder(base)
    channels = facts.get("in_channels", 4)
    out = facts.get("out_channels", 4)
    if channels not in (out, 2 * out) or facts.get("addition_embed_type"):
        raise ValueError(
            f"{base} is {kind_of(channels)} with a UNet that cannot become Paint by Example's ({channels} channels in, "
            f"{out} out). {NEEDED}"
        )
    return _widened(models, blocks)


def _widened(models: ModelFolders, blocks: int) -> PaintByExamplePipeline:
    """A text-to-image or InstructPix2Pix model, its UNet made wider, with a new exemplar encoder."""
    base = models.base
    for name in ("vae/config.json", "scheduler/scheduler_config.json"):
        if not (base / name).is_file():
            raise FileNotFoundError(f"{base / name} is missing. {NEEDED}")
    beside = None if models.image_encoder else base / "feature_extractor"
    look = load_encoder(models.image_encoder or base / "image_encoder", beside)
    network: Any = look.network
    if not network.config.model_type.startswith("clip"):
        raise ValueError(
            f"{models.image_encoder} is no CLIP vision encoder ({network.config.model_type}). Paint by Example reads "
            "the pooled vector of openai/clip-vit-large-patch14."
        )
    unet = inpainting_unet(load_part(UNet2DConditionModel, base / "unet"))
    settings = ExemplarSettings(network.config.hidden_size, unet.config["cross_attention_dim"], blocks)
    return PaintByExamplePipeline(
        unet,
        load_part(AutoencoderKL, base / "vae").eval(),
        REFERENCE | read_scheduler(base / "scheduler" / "scheduler_config.json"),
        network.vision_model,
        ExemplarEncoder(settings),
        look.mean,
        look.std,
    )


def inpainting_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A float32 UNet with room for the masked picture and the mask, zero for what `unet` does not read yet.

    A text-to-image UNet keeps its 4 columns, as in the authors' modify_checkpoints.py; one that reads a scene's latent
    after its noise keeps 8.
    """
    channels = 2 * cast(Any, unet).config.out_channels + 1
    config = {name: value for name, value in unet.config.items() if not name.startswith("_")}  # or defaults would win
    wide = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(config | {"in_channels": channels}))
    state = unet.state_dict()
    known = state["conv_in.weight"]
    state["conv_in.weight"] = F.pad(known, (0, 0, 0, 0, 0, channels - known.shape[1]))
    wide.load_state_dict(state)
    return wide
