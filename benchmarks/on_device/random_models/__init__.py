"""Nodes for the true-size runs: conditionings of random numbers, and Paint by Example's UNet alone."""

import sys
from pathlib import Path

import folder_paths
import torch


class RandomConditioning:
    """Two contexts [1,tokens,width] of unit variance, always the same."""

    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    FUNCTION = "make"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"tokens": ("INT", {"default": 77}), "width": ("INT", {"default": 768})}}

    def make(self, tokens, width):
        generator = torch.Generator().manual_seed(tokens)
        contexts = [torch.randn(1, tokens, width, generator=generator) for _ in range(2)]
        return tuple([[context, {}]] for context in contexts)


class PaintByExampleUNet:
    """MODEL of a folder below models/diffusers, by our own loader."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "load"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {"default": ""})}}

    def load(self, name):
        ours = ".nodes.host.paint_by_example_models"
        (loader,) = (module for known, module in list(sys.modules.items()) if known.endswith(ours))
        return (loader.load_unet(Path(folder_paths.get_folder_paths("diffusers")[0], name)),)


NODE_CLASS_MAPPINGS = {"RandomConditioning": RandomConditioning, "PaintByExampleUNet": PaintByExampleUNet}
