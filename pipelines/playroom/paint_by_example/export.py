"""The playroom's model of Paint by Example as files, in half precision.

unet/                          in diffusers' layout
exemplar_encoder.safetensors   with its null and settings
facts.json                     guidance, recipe, seconds, machine
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from ...paint_by_example import exemplar_encoder
from ...paint_by_example.exemplar_encoder import ExemplarEncoder
from ...weights.pretrained import load_model


def save_models(folder: Path, unet: Any, encoder: ExemplarEncoder, facts: dict[str, Any]) -> None:
    """Write the networks in half precision, and `facts` as facts.json."""
    folder.mkdir(parents=True, exist_ok=True)
    half = copy.deepcopy(unet).half()
    half.register_to_config(_name_or_path="")  # it would name a folder of this machine
    half.save_pretrained(folder / "unet")
    notes = {"licence": "Apache-2.0", "training_data": "playroom"}
    exemplar_encoder.save(encoder, folder / "exemplar_encoder.safetensors", torch.float16, **notes)
    (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def load_models(folder: Path) -> tuple[Any, ExemplarEncoder]:
    """The UNet and the exemplar encoder that `save_models` wrote, in float32."""
    unet = load_model(UNet2DConditionModel, folder / "unet")
    return unet, exemplar_encoder.load(folder / "exemplar_encoder.safetensors").float()
