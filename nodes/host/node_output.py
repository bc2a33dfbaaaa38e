"""Pictures and masks that a node hands on lie where the host keeps them: in memory, or with --gpu-only on the GPU."""

from __future__ import annotations

from typing import Any

import comfy.model_management
from comfy_api.latest import io
from torch import Tensor


def node_output(*values: Any, **settings: Any) -> io.NodeOutput:
    """A node's outputs, tensors on the host's intermediate device: the nodes after it put them beside its own."""
    device = comfy.model_management.intermediate_device()
    return io.NodeOutput(*(one.to(device) if isinstance(one, Tensor) else one for one in values), **settings)
