"""What sizes of pictures the families of models work at: one table, each row with its source.

Host files are those of ComfyUI 0.30.0. What a family's own nodes do to a picture of such a size is nothing: they would
resize any other once more, and what was cut off or stretched there shifts the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

Size = tuple[int, int]  # width and height
MEGAPIXEL = 1024 * 1024  # as the host counts


@dataclass(frozen=True)
class Family:
    """The sizes of one family: a closed list, a closed list of shapes, or all multiples of a number, up to a budget."""

    source: str
    sizes: tuple[Size, ...] = ()  # px; if any, only these
    shapes: tuple[Size, ...] = ()  # width to height; if any, only these
    multiple: int = 1  # of both sides, px
    shortest: int = 1  # side, px
    most: float = float("inf")  # px in all


def both_ways(*sizes: Size) -> tuple[Size, ...]:
    """The sizes and each of them turned by a right angle."""
    return tuple(dict.fromkeys(turned for width, height in sizes for turned in ((width, height), (height, width))))


def unchanged_by(multiple: int, rounding: int) -> tuple[Size, ...]:
    """Sizes of `multiple`, at most 4 to 1, that scaling to one megapixel and rounding to `rounding` leaves alone."""
    sizes = []
    for width in range(512, 2048 + 1, multiple):  # 1:4 to 4:1 of a megapixel
        height = round(MEGAPIXEL / width / multiple) * multiple  # any other is more than a rounding off
        scale = sqrt(MEGAPIXEL / (width * height))
        scaled = (round(width * scale / rounding) * rounding, round(height * scale / rounding) * rounding)
        if scaled == (width, height):
            sizes.append((width, height))
    return tuple(sizes)


FAMILIES = {
    "SD 1.5": Family(
        sizes=both_ways(*((512, side) for side in range(128, 513, 64))),
        source="timothybrooks/instruct-pix2pix, edit_cli.py: the sizes with a longer side of 512 that it leaves alone, "
        "multiples of 64 (it makes others a little larger than that: 768x512 becomes 576x384)",
    ),
    "SDXL": Family(
        sizes=(
            *both_ways((704, 1408), (704, 1344), (768, 1344), (768, 1280), (832, 1216), (832, 1152), (896, 1152)),
            *both_ways((896, 1088), (960, 1088), (960, 1024), (1024, 1024)),
            *((1472, 704), (1536, 640), (1600, 640), (1664, 576), (1728, 576)),
        ),
        source="Stability-AI/generative-models, scripts/demo/sampling.py: SD_XL_BASE_RATIOS (arXiv 2307.01952, app. I)",
    ),
    "FLUX.1 Kontext": Family(
        sizes=both_ways(
            *((672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184)),
            *((944, 1104), (1024, 1024)),
        ),
        source="host, comfy_extras/nodes_flux.py: PREFERRED_KONTEXT_RESOLUTIONS, as in diffusers' FluxKontextPipeline",
    ),
    "FLUX.2 klein": Family(
        multiple=16,
        shortest=64,
        most=MEGAPIXEL,
        source="black-forest-labs/flux2, src/flux2/sampling.py: multiples of 16, sides from 64, 1024^2 px each of "
        "several references (2024^2 one alone); 1024^2 also in diffusers' Flux2KleinPipeline and the host's templates",
    ),
    "Qwen-Image-Edit": Family(
        sizes=unchanged_by(8, 1),
        source="host, comfy_extras/nodes_qwen.py: TextEncodeQwenImageEdit scales to 1024^2 px; latent cells of 8 px, "
        "whose odd numbers comfy/ldm/qwen_image/model.py pads (of multiples of 16, only 13 sizes are left alone)",
    ),
    "Qwen-Image-Edit 2509, 2511": Family(
        sizes=unchanged_by(16, 8),
        source="host, comfy_extras/nodes_qwen.py: TextEncodeQwenImageEditPlus scales to 1024^2 px and rounds to 8; "
        "patches of 16 px (diffusers' QwenImageEditPlusPipeline: multiple_of)",
    ),
    "Gemini (Nano Banana)": Family(
        shapes=both_ways((1, 1), (2, 3), (3, 4), (4, 5), (9, 16)) + ((21, 9),),
        most=2048 * 2048,
        source="host, comfy_api_nodes/nodes_gemini.py: aspect_ratio that all its image nodes offer; "
        "util/upload_helpers.py sends up to 2048^2 px",
    ),
    "GPT Image": Family(
        sizes=both_ways((1024, 1024), (1024, 1536)),
        source="host, comfy_api_nodes/nodes_openai.py: the sizes of gpt-image-1 and 1.5, which 2 has among others",
    ),
    "Seedream 4": Family(
        sizes=(*both_ways((2048, 2048), (2304, 1728), (2560, 1440), (2496, 1664)), (3024, 1296)),
        source="host, comfy_api_nodes/apis/bytedance.py: RECOMMENDED_PRESETS_SEEDREAM_4, the 2K ones; in "
        "ByteDanceSeedreamNodeV2 those of 16:9, 9:16 and 21:9 are Custom (its own exceed the 2048^2 px that are sent)",
    ),
}
CUSTOM = "custom"
MODELS = (*FAMILIES, CUSTOM)


def family_of(model: str, multiple: int = 16, megapixels: float = 1.0) -> Family:
    """The family of a model's name; "custom" is one of these settings, where 0 megapixels is no limit.

    Raises ValueError for another name, or settings out of range.
    """
    if model in FAMILIES:
        return FAMILIES[model]
    if model != CUSTOM:
        raise ValueError(f"Unknown model family '{model}'; use {', '.join(MODELS)}.")
    if not (1 <= multiple <= 1024 and 0 <= megapixels <= 1024):
        raise ValueError(
            f"multiple must be from 1 to 1024 px and megapixels from 0 to 1024; got {multiple} and {megapixels}."
        )
    most = megapixels * MEGAPIXEL if megapixels else float("inf")
    return Family(multiple=multiple, most=most, source="the caller")
