"""What a run costs, computed: rows through the network, and what the subject's map and a cache of source rows hold."""

from __future__ import annotations

from dataclasses import dataclass

from .windows import AddItSettings


@dataclass(frozen=True)
class ModelShape:
    """A transformer and its tokens."""

    double_blocks: int = 19
    single_blocks: int = 38
    heads: int = 24
    head_width: int = 128
    text_tokens: int = 512
    bytes_per_number: int = 2


FLUX = ModelShape()


def image_tokens(height: int, width: int) -> int:
    """FLUX's tokens of a picture of so many px: one for 16x16."""
    return (height // 16) * (width // 16)


def row_forwards(settings: AddItSettings, steps: int) -> int:
    """Rows that go through the network for one picture without classifier-free guidance; plain sampling is `steps`.

    The target's from the start on, the source's as long as any block is extended. Steps are even shares of the run.
    """
    first = round(settings.start * steps)
    extended = sum(1 for step in range(first, steps) if step / steps < settings.extended_until - 1e-9)
    return steps - first + extended


def map_bytes(tokens: int, shape: ModelShape = FLUX) -> int:
    """What the subject's map holds beside a layer's own attention: probe values for all keys, and what they give for
    the image's queries, of one row while its layer is looked at, and the sum of maps in float32."""
    keys = shape.text_tokens + 2 * tokens
    width = shape.heads * shape.head_width * shape.bytes_per_number
    return width * (keys + tokens) + 4 * tokens


def cache_bytes(tokens: int, shape: ModelShape = FLUX) -> int:
    """What a source row leaves in two passes: keys and values of its image tokens in every block."""
    blocks = shape.double_blocks + shape.single_blocks
    return 2 * blocks * tokens * shape.heads * shape.head_width * shape.bytes_per_number
