"""Captions of a room of toys in an artist's words, their tokens, and which words a picture may say instead.

    a room with a table , a striped red ball on the table and a blue mug on the floor

Words are tokens of their own (`tokenizer.py`), so that a caption is a list of words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..world.toys import PATTERNS, SHAPES, Toy
from ..world.triplets import Placement
from ..world.words import HUES, colour_word

LENGTH = 32  # tokens of a caption, its start and end included: the longest has 31
MOST_TOYS = 3
PHRASE = 3  # words of a toy that its picture can say: pattern, hue, shape
SLOTS = MOST_TOYS * PHRASE

PATTERN_WORDS: dict[str, str] = dict(zip(PATTERNS, ("plain", "striped", "dotted"), strict=True))
SYNONYMS = {
    "ball": ("sphere",),
    "block": ("cube", "box"),
    "ring": ("donut", "hoop"),
    "mug": ("cup",),
    "tree": ("fir",),
    "dotted": ("spotted",),
    "turquoise": ("teal",),
    "purple": ("violet",),
    "pink": ("magenta",),
}
_FRAME = ("a", "an", "empty", "room", "with", "and", ",", "on", "the", "floor", "table", "toy")
VOCABULARY = tuple(
    dict.fromkeys(
        (*_FRAME, *PATTERN_WORDS.values(), *HUES, *SHAPES, *(word for many in SYNONYMS.values() for word in many))
    )
)

Placed = tuple[Toy, Placement]


@dataclass(frozen=True)
class Caption:
    """The words of a scene, and for each the slot that it fills: 3 x toy + 0, 1, 2 for pattern, hue, shape; or -1."""

    words: tuple[str, ...]
    slots: tuple[int, ...]

    def __str__(self) -> str:
        return " ".join(self.words)


def names(toy: Toy) -> tuple[str, str, str]:
    """The words for a toy's pattern, hue and shape."""
    return PATTERN_WORDS[toy.pattern], colour_word(toy.colour), toy.shape


def names_of(label: tuple[int, int, int]) -> tuple[str, str, str]:
    """The words for pattern, hue and shape of a toy's label: shape, pattern, hue as indices."""
    shape, pattern, hue = label
    return PATTERN_WORDS[PATTERNS[pattern]], tuple(HUES)[hue], SHAPES[shape]


def full_caption(toys: Sequence[Placed], *, table: bool) -> Caption:
    """Everything that can be said of a scene: its toys in order, each with pattern, hue, shape and place."""
    phrases = [_phrase(index, names(toy), at.place) for index, (toy, at) in enumerate(toys)]
    return _join(phrases, table=table)


def random_caption(rng: np.random.Generator, toys: Sequence[Placed], *, table: bool) -> Caption:
    """A caption as somebody might write it: toys in any order, places often unsaid, synonyms, here and there a gap.

    Half of the captions say that a toy is plain, the others leave that word out. Three of ten places are unsaid, every
    twentieth hue, and every twentieth toy has no name; those shares are choices, not measurements.
    """
    says_plain = rng.random() < 0.5
    phrases = []
    for index in rng.permutation(len(toys)):
        toy, at = toys[index]
        pattern, hue, shape = (_said(rng, word) for word in names(toy))
        place = at.place if rng.random() < 0.7 else ""
        if pattern == "plain" and not says_plain:
            pattern = ""
        elif rng.random() < 0.05:
            hue = ""
        elif rng.random() < 0.05:
            shape = "toy"
        phrases.append(_phrase(int(index), (pattern, hue, shape), place))
    return _join(phrases, table=table, empty=not toys and not table and rng.random() < 0.5)


def encode(
    captions: Sequence[Caption], number: Callable[[str], int], start: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """Token numbers int16 and slots int8, both [N,32]: start, the words, then the end up to the full length.

    `number` gives the token of a word. CLIP fills up with the token of the end too, and reads the first one.
    """
    tokens = np.full((len(captions), LENGTH), end, np.int16)
    slots = np.full((len(captions), LENGTH), -1, np.int8)
    tokens[:, 0] = start
    for row, caption in enumerate(captions):
        count = len(caption.words)
        tokens[row, 1 : count + 1] = [number(word) for word in caption.words]
        slots[row, 1 : count + 1] = caption.slots
    return tokens, slots


def _said(rng: np.random.Generator, word: str) -> str:
    others = SYNONYMS.get(word, ())
    return str(rng.choice(others)) if others and rng.random() < 0.25 else word


def _phrase(toy: int, said: tuple[str, str, str], place: str) -> Caption:
    words = ["a"]
    slots = [-1]
    whole = "" not in said and said[2] != "toy"  # a picture says all three words or none
    for part, word in enumerate(said):
        if word:
            words.append(word)
            slots.append(PHRASE * toy + part if whole else -1)
    if words[1] == "orange":
        words[0] = "an"
    tail = ("on", "the", place) if place else ()
    return Caption((*words, *tail), (*slots, *[-1] * len(tail)))


def _join(phrases: list[Caption], *, table: bool, empty: bool = False) -> Caption:
    room = ("an", "empty", "room") if empty else ("a", "room")
    items = [Caption(("a", "table"), (-1, -1))] if table else []
    items += phrases
    words = list(room)
    slots = [-1] * len(words)
    for position, item in enumerate(items):
        if position == 0:
            joint = "with"
        elif position == len(items) - 1:
            joint = "and"
        else:
            joint = ","
        words += [joint, *item.words]
        slots += [-1, *item.slots]
    return Caption(tuple(words), tuple(slots))
