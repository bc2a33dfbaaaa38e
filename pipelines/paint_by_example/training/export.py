"""A Paint by Example model as the diffusers folder that was published: every loader of this pack reads it.

model_index.json  scheduler/  unet/  vae/  image_encoder/  feature_extractor/
facts.json        what the layout has no place for: licence, training data, steps
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers import __version__ as diffusers_version
from transformers import CLIPImageProcessor

from ...output_folders import whole_folder
from ...weights.writing import save_tensors
from ..checkpoints import VISION_DIFFUSERS, to_diffusers
from ..inpainting import CELL
from ..pipeline import PaintByExamplePipeline


def save_folder(folder: Path, model: PaintByExamplePipeline, size: int, facts: dict[str, Any]) -> None:
    """Write a model that was trained on pictures of `size` px, in the precision it has, whole or not at all."""
    with whole_folder(folder) as part:
        _write(part, model, size, facts)


def _write(folder: Path, model: PaintByExamplePipeline, size: int, facts: dict[str, Any]) -> None:
    model.unet.register_to_config(sample_size=size // CELL)
    for name, network in (("unet", model.unet), ("vae", model.vae)):
        network.register_to_config(_name_or_path="")  # it would name a folder of this machine
        network.save_pretrained(folder / name)
    _write_encoder(folder, model)
    schedule = {"_class_name": "PNDMScheduler", **model.scheduler_config}
    index = {
        "_class_name": "PaintByExamplePipeline",
        "_diffusers_version": diffusers_version,
        "scheduler": ["diffusers", schedule["_class_name"]],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "image_encoder": ["paint_by_example", "PaintByExampleImageEncoder"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "scheduler").mkdir()
    contents = {"scheduler/scheduler_config.json": schedule, "model_index.json": index, "facts.json": facts}
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_encoder(folder: Path, model: PaintByExamplePipeline) -> None:
    """Vision tower and exemplar encoder in one file, by diffusers' names, and the tower's statistics."""
    network: Any = model.image_encoder
    tower = getattr(network, "vision_model", network).state_dict()
    state = {f"{VISION_DIFFUSERS}vision_model.{name}": tensor for name, tensor in tower.items()}
    state |= to_diffusers(model.exemplar_encoder.state_dict())
    (folder / "image_encoder").mkdir()
    file = folder / "image_encoder" / "model.safetensors"
    save_tensors(file, state, {"format": "pt"})
    config = network.config.to_dict() | {"model_type": "clip_vision_model", "_name_or_path": ""}
    text = json.dumps(config, indent=2, default=str) + "\n"
    (folder / "image_encoder" / "config.json").write_text(text, encoding="utf-8")
    size = network.config.image_size
    processor = CLIPImageProcessor(
        size={"shortest_edge": size},
        crop_size=size,
        image_mean=list(model.image_mean),
        image_std=list(model.image_std),
    )
    processor.save_pretrained(folder / "feature_extractor")
