"""What pictures and masks have to be wherever they come in; `noun` is what an error calls them."""

from __future__ import annotations

from torch import Tensor, isfinite


def check_pictures(pictures: Tensor, noun: str) -> None:
    """Raise ValueError for anything but pictures [B,H,W,C] with 1, 3 or 4 channels, and for whole numbers.

    Values are not read.
    """
    if pictures.ndim != 4 or pictures.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{noun} must be pictures [B,H,W,C] with 1, 3 or 4 channels; got {tuple(pictures.shape)}.")
    if not pictures.is_floating_point():
        kind = str(pictures.dtype).removeprefix("torch.")
        raise ValueError(f"{noun} must hold numbers from 0 to 1; got {kind}. Divide values of 8 bits by 255.")


def check_filled(pictures: Tensor, noun: str) -> None:
    """Raise ValueError for what `check_pictures` refuses, and for no pictures or empty ones. Values are not read."""
    check_pictures(pictures, noun)
    if 0 in pictures.shape:
        raise ValueError(f"{noun} is empty: {tuple(pictures.shape)}.")


def check_finite(values: Tensor, noun: str, where: str = "") -> None:
    """Raise ValueError for NaN or infinity; `where` ends the sentence."""
    if not isfinite(values).all():
        raise ValueError(f"{noun} holds values that are not finite (NaN or infinity){where}.")


def check_result(values: Tensor, noun: str) -> None:
    """Raise ValueError where what a run gave, latents or pictures, holds NaN or infinity: no picture is in it."""
    if not isfinite(values).all():
        raise ValueError(
            f"{noun} holds values that are not finite (NaN or infinity), so there is no picture in it. As a rule the "
            "model overflowed in half precision, or a scale is too high: run it in 32 bits, lower the guidance, or "
            "try another sampler, scheduler or LoRA."
        )


def check_size(mask: Tensor, height: int, width: int, noun: str, *, of: str, advice: str) -> None:
    """Raise ValueError for masks [B,H,W] of another size than the picture that they are `of`."""
    if mask.shape[1:] != (height, width):
        raise ValueError(f"{noun} is {mask.shape[-1]}x{mask.shape[-2]} px, {of} {width}x{height} px. {advice}")


def rgb(pictures: Tensor) -> Tensor:
    """Pictures with 1, 3 or 4 channels as [B,H,W,3]: grey is repeated, alpha left out."""
    return pictures.expand(-1, -1, -1, 3) if pictures.shape[-1] == 1 else pictures[..., :3]


def mask_batch(mask: Tensor) -> Tensor:
    """A mask as other packs hand it over, [H,W], [B,H,W], [B,1,H,W] or [B,H,W,1] of any numbers, as [B,H,W] float32.

    Raises ValueError for another shape.
    """
    planes = mask
    if mask.ndim == 2:
        planes = mask[None]
    elif mask.ndim == 4 and 1 in (mask.shape[1], mask.shape[3]):
        planes = mask[:, 0] if mask.shape[1] == 1 else mask[..., 0]
    if planes.ndim != 3:
        raise ValueError(f"A mask must be [H,W], [B,H,W], [B,1,H,W] or [B,H,W,1]; got {tuple(mask.shape)}.")
    return planes.float()
