"""IP-Adapter on an InstructPix2Pix UNet: cross-attention of its own for the picture, beside an empty prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from ..encoders.vision import Encoder, as_views, encoder_input
from ..pictures.files import Picture
from ..sampling.guidance import Guidance
from ..sampling.pix2pix import DEFAULT, GuidedPix2Pix, Insertion, check_folder, guidance_in, load_pix2pix
from ..weights.pretrained import load_whole, present
from ..weights.reading import StateDict, check_numbers, read_weights
from .base_null import base_null

PARTS = ("image_proj", "ip_adapter")
ADVICE = "Use ip-adapter_sd15.safetensors or ip-adapter-plus_sd15.safetensors of h94/IP-Adapter with its image encoder."


class AdapterPipeline(GuidedPix2Pix):
    """Shows pictures to an IP-Adapter, IP-Adapter Plus included, and says nothing in words.

    Without the object, the adapter gets what diffusers gives it there: zeros, or for Plus a picture of zeros. How
    strong it is besides the guidance: `pipeline.set_ip_adapter_scale`.
    """

    def __init__(
        self,
        pipeline: StableDiffusionInstructPix2PixPipeline,
        adapter: dict[str, StateDict],
        image_encoder: CLIPVisionModelWithProjection,
        null: Tensor,
        guidance: Guidance = DEFAULT,
    ):
        """Loads the adapter into `pipeline`; `adapter` has the tensors of image_proj and ip_adapter by their names.

        `null` [1,N,C] is the base's empty prompt. Raises ValueError when the parts do not belong together.
        """
        super().__init__(pipeline, guidance)
        loader: Any = pipeline
        loader.register_modules(image_encoder=image_encoder)
        try:
            loader.load_ip_adapter(
                adapter, subfolder="", weight_name="", image_encoder_folder=None, low_cpu_mem_usage=False
            )
        except (KeyError, ValueError, RuntimeError) as error:
            detail = " ".join(str(error).split())
            raise ValueError(f"The IP-Adapter does not fit this UNet. {ADVICE} In detail: {detail}") from error
        self.null, self.image_encoder = null, image_encoder
        self.reads_grid = _reads_grid(pipeline.unet.encoder_hid_proj.image_projection_layers[0], image_encoder.config)

    @property
    def networks(self) -> list[nn.Module]:
        return [*super().networks, self.image_encoder]

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        adapter: str | Path,
        image_encoder: str | Path | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> AdapterPipeline:
        """From a base's diffusers folder and an adapter's file; its encoder's folder is `image_encoder` beside it.

        Raises FileNotFoundError naming what is missing, ValueError for unreadable weights or parts that do not pair.
        """
        folder, adapter = Path(folder), Path(adapter)
        check_folder(folder)
        parts = read_adapter(adapter)
        vision = Path(image_encoder or adapter.parent / "image_encoder")
        present(vision / "config.json", "the image encoder of the IP-Adapter, a CLIP vision folder (h94: ViT-H/14)")
        null = base_null(folder)
        network = load_whole(CLIPVisionModelWithProjection, vision, "The image encoder")[0].to(device, dtype)
        return cls(load_pix2pix(folder, device, dtype), parts, network, null, guidance_in(folder))

    @torch.no_grad()
    def embeds(
        self,
        objects: Picture | Sequence[Picture],
        masks: Picture | Sequence[Picture | None] | None = None,
        framing: str = "squash",
        background: str = "keep",
    ) -> tuple[Tensor, Tensor]:
        """(object, null) of V pictures: [1,V,E], or [1,V,T,E] for Plus. Settings and errors are `prepare_object`'s."""
        pipeline: Any = self.pipeline
        size: Any = self.image_encoder.config.image_size
        statistics = pipeline.feature_extractor  # diffusers' own; the published encoder brings none
        encoder = Encoder(self.image_encoder, size, statistics.image_mean, statistics.image_std)
        pixels = encoder_input(encoder, *as_views(objects, masks), framing, background)
        embeds, null = pipeline.encode_image(pixels, self.image_encoder.device, 1, self.reads_grid)
        return embeds[None], null[None]

    def __call__(
        self,
        scene: Picture,
        objects: Picture | Sequence[Picture],
        masks: Picture | Sequence[Picture | None] | None = None,
        guidance: Guidance | None = None,
        *,
        framing: str = "squash",
        background: str = "keep",
        **sampling: Any,
    ) -> Insertion:
        """Insert the object into a scene of any size; several pictures are several views of it.

        The settings are `embeds`' and `sample`'s, and so are the errors.
        """
        embeds = self.embeds(objects, masks, framing, background)
        return self.sample(scene, self.null, self.null, guidance, embeds=embeds, **sampling)


def read_adapter(path: Path) -> dict[str, StateDict]:
    """The tensors of an IP-Adapter's safetensors file, by part and name.

    Raises FileNotFoundError, ValueError for a damaged file, another kind of file, NaN or infinity.
    """
    state, _ = read_weights(path)
    parts: dict[str, StateDict] = {part: {} for part in PARTS}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = tensor
    if not all(parts.values()):
        raise ValueError(f"{path} is no IP-Adapter: it lacks tensors named image_proj... or ip_adapter.... {ADVICE}")
    check_numbers(state, path)
    return parts


def _reads_grid(projection: Any, config: Any) -> bool:
    """Whether an adapter reads the encoder's penultimate grid, as Plus does, and not its pooled projection.

    Raises ValueError for an adapter of another kind, and for one of another encoder.
    """
    if isinstance(projection, ImageProjection):
        reads, given, grid = projection.image_embeds.in_features, config.projection_dim, False
    elif isinstance(projection, IPAdapterPlusImageProjection):
        reads, given, grid = projection.proj_in.in_features, config.hidden_size, True
    else:
        raise ValueError(f"This kind of IP-Adapter ({type(projection).__name__}) is not known here. {ADVICE}")
    if reads != given:
        raise ValueError(
            f"The IP-Adapter reads vision vectors of width {reads}, but its image encoder gives {given}. {ADVICE}"
        )
    return grid
