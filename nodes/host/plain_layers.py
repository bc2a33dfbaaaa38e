"""Layers for a network that is built to read off the names and shapes of its weights."""

from __future__ import annotations

import comfy.ops
import torch


class PlainLayers(comfy.ops.disable_weight_init):
    """Layers that have weights from the start; the host's own wait for a file where it pages them (dynamic VRAM)."""

    class Linear(comfy.ops.disable_weight_init.Linear):
        def _load_from_state_dict(self, *args):
            return torch.nn.Module._load_from_state_dict(self, *args)

    class Embedding(comfy.ops.disable_weight_init.Embedding):
        def _load_from_state_dict(self, *args):
            return torch.nn.Module._load_from_state_dict(self, *args)
