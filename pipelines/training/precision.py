"""Half the precision where that is faster: bfloat16 on a GPU and on a CPU that computes in it, or float16."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["bf16", "fp16", "fp32"]


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has bfloat16 of its own: a CPU without AVX-512 emulates it, 48 times slower in convolutions."""
    if device.type != "cpu":
        return True
    # Builds without oneDNN, such as those for Apple's processors, do not have the question either.
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def half_type(device: torch.device, precision: Precision) -> torch.dtype | None:
    """The type of 16 bits that a forward pass is computed in on a device; None is float32."""
    if precision == "fp16":
        return torch.float16
    return torch.bfloat16 if precision == "bf16" and computes_in_bfloat16(device) else None


def autocast(device: torch.device, precision: Precision = "bf16") -> torch.autocast:
    """The forward pass in 16 bits where a precision and the device have them, else in float32."""
    half = half_type(device, precision)
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)
