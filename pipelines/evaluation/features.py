"""CLIP, DINO and DINOv2 features from transformers folders on this machine.

Pictures are prepared as the MagicBrush script does it, whatever preprocessor_config.json a folder has (one that makes
a 224 px square of the whole picture gives other numbers): for CLIP the shorter side to 224 px and the middle square;
for DINO, and DINOv2 alike, the shorter side to 256 px and the middle 224 px.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from ..encoders.vision import CLIP_STATISTICS
from ..weights.pretrained import load_whole, reading
from .cmmd import centre_square

IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GREY = (124, 116, 104)  # ImageNet's mean colour
TEXT_HALF = ("text_model.", "text_projection.", "logit_scale")  # of CLIP's weights

# What makes a folder's network the one of the published tables: (config of the vision part) name and value.
OPENAI = {"hidden_act": "quick_gelu"}  # LAION's CLIP of the same shape has another
CLIP_B32 = OPENAI | {"hidden_size": 768, "num_hidden_layers": 12, "patch_size": 32, "image_size": 224}
CLIP_L336 = OPENAI | {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "image_size": 336,
    "projection_dim": 768,
}
DINO_S16 = {"hidden_size": 384, "num_hidden_layers": 12, "patch_size": 16, "num_attention_heads": 6}
DINOV2_L = {"hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14, "num_attention_heads": 16}


def preparation(shorter: int, side: int, statistics: tuple) -> transforms.Compose:
    """A PIL picture, its shorter side brought to `shorter` px, to its middle [3,side,side], normalised."""
    return transforms.Compose(
        [
            transforms.Resize(shorter, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(*statistics),
        ]
    )


@dataclass(frozen=True)
class Features:
    """A frozen network that turns pictures into unit vectors."""

    network: nn.Module
    prepare: Any  # picture -> [3,H,W]
    exact: bool  # whether its config is the published network's; another's numbers compare with nobody's
    side: int = 224  # px of the squares that it sees

    def vectors(self, pixels: Tensor) -> Any:
        """What the network makes of pixels [N,3,H,W]: [N,D], not yet of unit length."""
        outputs: Any = self.network(pixel_values=pixels)
        return outputs.image_embeds if "image_embeds" in outputs else outputs.last_hidden_state[:, 0]

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Unit vectors [N,D] on the CPU."""
        return self.prepared(torch.stack([self.prepare(picture.convert("RGB")) for picture in pictures]))

    @torch.no_grad()
    def prepared(self, pixels: Tensor) -> Tensor:
        """Unit vectors [N,D] on the CPU of pixels [N,3,H,W] that are normalised already."""
        return _unit(self.vectors(pixels.to(next(self.network.parameters()))))


@dataclass(frozen=True)
class Clip(Features):
    """CLIP, which sees, and reads where its folder has a tokenizer."""

    tokenizer: Any = None

    def vectors(self, pixels: Tensor) -> Any:
        network: Any = self.network
        return network.get_image_features(pixel_values=pixels)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [N,D] on the CPU; a text is cut to what CLIP can read, 77 tokens."""
        network: Any = self.network
        length = network.config.text_config.max_position_embeddings
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        return _unit(network.get_text_features(**tokens.to(next(network.parameters()).device)))


def _unit(output: Any) -> Tensor:
    """Unit vectors of what transformers gives: a tensor before version 5, an output with the vector in it since."""
    return nn.functional.normalize(getattr(output, "pooler_output", output).float(), dim=-1).cpu()


def load_network(
    kind: Any,
    types: Sequence[str],
    folder: Path,
    device: str | torch.device,
    *,
    beside: tuple[str, ...] = (),
    **options: Any,
) -> Any:
    """A network from a folder: every weight of it, and no others but those whose names start as in `beside`.

    `types` are the model types that config.json may name. Raises FileNotFoundError, ValueError.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"{config} is missing. Needed is a transformers folder: weights and it.")
    with reading(str(config)):
        model_type = json.loads(config.read_text("utf-8")).get("model_type", types[0])
    if model_type not in types:
        raise ValueError(f"{config} is that of another network, {model_type}. Needed is {' or '.join(types)}.")
    network, unused = load_whole(kind, folder, "The network", **options)
    strange = [name for name in unused if not name.startswith(beside)]
    if strange:
        raise ValueError(
            f"The weights in {folder} are another network's: {kind.__name__} knows nothing of {len(strange)} of them, "
            f"such as {strange[0]}."
        )
    return network.to(device)


def is_published(config: Any, expected: dict[str, Any]) -> bool:
    """Whether a network's config is that of the published one, as far as `expected` says."""
    return all(getattr(config, name, None) == value for name, value in expected.items())


def load_clip(folder: Path, device: str | torch.device = "cpu") -> Clip:
    """CLIP from a transformers folder; without tokenizer files it sees but cannot read.

    Raises FileNotFoundError for an incomplete folder, ValueError for another network's and for damaged files.
    """
    from transformers import CLIPModel, CLIPTokenizer

    network = load_network(CLIPModel, ["clip"], folder, device)
    tokens = (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()
    with reading(f"The tokenizer in {folder}"):
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True) if tokens else None
    vision = network.config.vision_config
    exact = is_published(vision, CLIP_B32) and network.config.projection_dim == 512
    side = vision.image_size
    return Clip(network, preparation(side, side, CLIP_STATISTICS), exact, side, tokenizer)


def load_cmmd_clip(folder: Path, device: str | torch.device = "cpu") -> Features:
    """The image half of CLIP, seeing what CMMD embeds. Raises FileNotFoundError, ValueError."""
    from transformers import CLIPVisionModelWithProjection

    network = load_network(
        CLIPVisionModelWithProjection, ["clip", "clip_vision_model"], folder, device, beside=TEXT_HALF
    )
    finish = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*CLIP_STATISTICS)])
    side = network.config.image_size
    return Features(
        network, lambda picture: finish(centre_square(picture, side)), is_published(network.config, CLIP_L336)
    )


def load_dino(folder: Path, device: str | torch.device = "cpu") -> Features:
    """DINO's CLS token. Raises FileNotFoundError, ValueError."""
    from transformers import ViTModel

    network = load_network(ViTModel, ["vit"], folder, device, add_pooling_layer=False)
    return Features(network, preparation(256, 224, IMAGENET_STATISTICS), is_published(network.config, DINO_S16))


def load_dinov2(folder: Path, device: str | torch.device = "cpu") -> Features:
    """DINOv2's CLS token. Raises FileNotFoundError, ValueError."""
    from transformers import Dinov2Model

    network = load_network(Dinov2Model, ["dinov2"], folder, device)
    return Features(network, preparation(256, 224, IMAGENET_STATISTICS), is_published(network.config, DINOV2_L))


def padded_square(picture: Image.Image) -> Image.Image:
    """The picture in the middle of a grey square: a crop to a square would cut a long object's ends off."""
    side = max(picture.size)
    square = Image.new("RGB", (side, side), GREY)
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square
