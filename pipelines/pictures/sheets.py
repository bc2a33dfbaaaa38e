"""Sheets of pictures, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image


def tile(
    pictures: Sequence[Image.Image], *, columns: int, gap: int = 0, background: str | tuple[int, int, int] = "white"
) -> Image.Image:
    """RGB pictures of any sizes in reading order, `columns` beside each other and `gap` px between them.

    A column is as wide as its widest picture, a row as high as its highest; a picture lies at the top left of its
    place. Without pictures the sheet is a single pixel.
    """
    widths = [max(picture.width for picture in pictures[n::columns]) for n in range(min(columns, len(pictures)))]
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.height for picture in row) for row in rows]
    sheet_width = sum(widths) + gap * (len(widths) - 1)
    sheet_height = sum(heights) + gap * (len(heights) - 1)
    sheet = Image.new("RGB", (max(sheet_width, 1), max(sheet_height, 1)), background)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for picture, width in zip(row, widths, strict=False):
            sheet.paste(picture, (left, top))
            left += width + gap
        top += height + gap
    return sheet
