"""Paint by Example's exemplar encoder in front of an InstructPix2Pix UNet that was never trained with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..encoders.vision import find_encoder, load_encoder
from ..paint_by_example import exemplar_encoder as exemplars
from ..paint_by_example.checkpoints import model_folder, open_paint_by_example
from ..paint_by_example.pipeline import OWN
from ..sampling.pix2pix import check_folder
from ..visual_insertion.context_encoder import ContextEncoder
from ..visual_insertion.pipeline import VisualInsertionPipeline

PROBE = "embeddings.class_embedding"  # a small tensor that no two vision encoders share


class ExemplarToken(ContextEncoder):
    """One context token [B,1,context_width] of the class token, the learned "no exemplar" as the null.

    `norm` is the vision encoder's last layer norm: behind it, the class token is what CLIP calls pooled.
    """

    def __init__(self, encoder: exemplars.ExemplarEncoder, norm: nn.Module):
        settings = encoder.settings
        super().__init__(encoder_width=settings.encoder_width, context_width=settings.context_width, context_tokens=1)
        self.encoder = encoder
        self.norm = norm
        self.null.copy_(encoder.null[0].detach())

    def forward(self, features: Tensor, details: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        return self.encoder(self.norm(features[:, 0]))


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one.float(), other.float(), atol=1e-3)


def load_exemplar_encoder(path: Path, vision: nn.Module) -> exemplars.ExemplarEncoder:
    """The exemplar encoder in a published folder or LDM file, or in a folder of this pack's training.

    Published weights bring the vision encoder they were trained with, frozen, and `vision` must be that one. Raises
    FileNotFoundError, or ValueError for another kind of file, damaged weights, and another vision encoder.
    """
    path = model_folder(path)
    if (path / OWN).is_file():
        return exemplars.load(path / OWN)
    files = open_paint_by_example(path)
    theirs = [name for name in files.encoder.shapes if name.endswith(PROBE)]
    ours = [tensor for name, tensor in vision.state_dict().items() if name.endswith(PROBE)]
    published = list(files.encoder.read(theirs).values())
    same_shapes = [tensor.shape for tensor in published] == [tensor.shape for tensor in ours]
    if not same_shapes or not all(map(_close, published, ours)):
        raise ValueError(
            f"The vision encoder is not the one in {path}, so the exemplar encoder would not understand it. Paint by "
            "Example was trained with openai/clip-vit-large-patch14; give that folder."
        )
    return files.exemplar_encoder()


def exemplar_in_front(
    folder: str | Path,
    paint_by_example: str | Path,
    image_encoder: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VisualInsertionPipeline:
    """A base's diffusers folder with Paint by Example's encoder and its null in the place of text.

    `image_encoder` is a CLIP vision folder, by default the base's own. Raises FileNotFoundError naming what is
    missing, ValueError for unreadable weights or parts that do not pair.
    """
    folder = Path(folder)
    check_folder(folder)
    encoder = load_encoder(*find_encoder(folder, image_encoder))
    network: Any = encoder.network
    exemplar = load_exemplar_encoder(Path(paint_by_example), network)
    token = ExemplarToken(exemplar, network.vision_model.post_layernorm)
    return VisualInsertionPipeline.around(folder, encoder, token, device=device, dtype=dtype)
