"""Words for toys: the playroom's captions, and their numbers for a UNet that is told what to add."""

from __future__ import annotations

import colorsys

import numpy as np
import torch
from torch import Tensor

from .dataset import Arrays
from .toys import PATTERNS, SHAPES

HUES = {"red": 0, "orange": 30, "yellow": 60, "green": 120, "turquoise": 175, "blue": 230, "purple": 275, "pink": 325}
VOCABULARY = ("", *PATTERNS, *HUES, *SHAPES)  # the first one fills up
EMPTY = torch.zeros(1, 3, 1)  # the empty caption, as `tokens` would have it


def colour_word(colour: np.ndarray) -> str:
    """The colour [3], RGB 0..1, by the nearest of eight hues."""
    hue = 360 * colorsys.rgb_to_hsv(*(float(c) for c in colour))[0]
    return min(HUES, key=lambda word: abs((hue - HUES[word] + 180) % 360 - 180))


def caption(shape: int, pattern: int, colour: np.ndarray) -> str:
    """Such as "striped red ball" would be: pattern, colour, shape."""
    return f"{PATTERNS[pattern]} {colour_word(colour)} {SHAPES[shape]}"


def tokens(toys: Arrays) -> Tensor:
    """Word numbers [N,3,1] of toys given by their arrays shape, pattern and colour."""
    numbers = []
    for shape, pattern, colour in zip(toys["shape"], toys["pattern"], toys["colour"], strict=True):
        numbers.append([VOCABULARY.index(word) for word in caption(shape, pattern, colour).split()])
    return torch.tensor(numbers).float()[..., None]
