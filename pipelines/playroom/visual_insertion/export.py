"""The playroom's models as files: a diffusers pipeline folder like the public ones, in half precision.

model_index.json  scheduler/  unet/  vae/  image_encoder/  feature_extractor/
embedding_optimizer.safetensors   with its null context and settings
playroom.json                     facts the layout has no place for: preview factors, recipe, figures
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers import __version__ as diffusers_version
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from ...visual_insertion import optimizer_files as optimizers
from ..models import make_scheduler
from ..world.triplets import OBJECT_SIZE

MODEL_INDEX = {
    "_class_name": "StableDiffusionInstructPix2PixPipeline",
    "_diffusers_version": diffusers_version,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "image_encoder": [None, None],
    "text_encoder": [None, None],
    "tokenizer": [None, None],
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
}


def preview_factors(latents: Tensor, pictures: Tensor) -> dict[str, Any]:
    """Least-squares map from latents [N,4,h,w] to colours of -1..1 pictures [N,3,8h,8w]: what a live preview shows."""
    cells = latents.movedim(1, -1).reshape(-1, latents.shape[1])
    colours = torch.nn.functional.avg_pool2d(pictures, 8).movedim(1, -1).reshape(-1, 3)
    design = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
    solution = torch.linalg.lstsq(design, colours).solution
    return {"latent_rgb_factors": solution[:-1].tolist(), "latent_rgb_factors_bias": solution[-1].tolist()}


def save_models(
    folder: Path,
    *,
    vae: AutoencoderKL,
    vision_encoder: CLIPVisionModelWithProjection,
    embedding_optimizer: optimizers.EmbeddingOptimizer,
    unet: UNet2DConditionModel,
    facts: dict[str, Any],
) -> None:
    """Write the networks in half precision, the scheduler, the encoder's preparation, and `facts` as playroom.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in {"vae": vae, "image_encoder": vision_encoder, "unet": unet}.items():
        copy.deepcopy(network).half().save_pretrained(folder / name)
    make_scheduler().save_pretrained(folder / "scheduler")
    CLIPImageProcessor(
        size={"shortest_edge": OBJECT_SIZE}, crop_size=OBJECT_SIZE, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(folder / "feature_extractor")
    notes = {"licence": "Apache-2.0", "training_data": "playroom"}
    optimizers.save(embedding_optimizer, folder / "embedding_optimizer.safetensors", torch.float16, **notes)
    for name, content in (("model_index.json", MODEL_INDEX), ("playroom.json", facts)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
