"""Results side by side with their labels, for people to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

PAPER = (34, 36, 40)
LETTERS = (214, 216, 220)
FAINT = (150, 152, 156)
CHOSEN = (232, 140, 62)
LEAST_SIDE = 160  # px of a picture's longer side: its label has to fit below it
MOST_SIDE = 512
MOST_PIXELS = 4096  # px of the sheet's width or height, above which pictures get smaller
GAP = 10
FRAME = 4


def shown_size(size: tuple[int, int], columns: int, rows: int) -> tuple[int, int]:
    """(width, height) at which pictures of a size are shown in so many columns and rows."""
    longer = max(size)
    side = min(max(longer, LEAST_SIDE), MOST_SIDE, max(LEAST_SIDE, MOST_PIXELS // max(columns, rows)))
    return max(1, round(size[0] * side / longer)), max(1, round(size[1] * side / longer))


def labelled_sheet(
    pictures: Sequence[Image.Image],
    captions: Sequence[str],
    *,
    columns: int,
    headings: Sequence[str] = (),
    sides: Sequence[str] = (),
    chosen: Sequence[int] = (),
) -> Image.Image:
    """RGB pictures of one size in rows of `columns`, a caption below each, a frame around those that are `chosen`.

    `headings` stand above the columns, each over as many as its share of them; `sides` stand left of the rows.
    Raises ValueError for no pictures, another number of captions, or headings that do not share the columns evenly.
    """
    if not pictures or len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions do not pair up with {len(pictures)} pictures.")
    if headings and columns % len(headings):
        raise ValueError(f"{len(headings)} headings do not share {columns} columns evenly.")
    rows = -(-len(pictures) // columns)
    width, height = shown_size(pictures[0].size, columns, rows)
    font: Any = ImageFont.load_default(max(14, min(24, width // 10)))
    line = round(font.size * 1.5)
    left = GAP + (max((round(font.getlength(side)) for side in sides), default=-GAP) + GAP)
    top = GAP + (line + FRAME if headings else 0)
    step_x = width + GAP
    step_y = height + line + GAP
    sheet = Image.new("RGB", (left + columns * step_x, top + rows * step_y), PAPER)
    draw = ImageDraw.Draw(sheet)
    share = columns // len(headings) if headings else 1
    for number, heading in enumerate(headings):
        middle = left + step_x * share * (number + 0.5) - GAP / 2
        draw.text((middle, GAP + line / 2), heading, fill=LETTERS, font=font, anchor="mm")
    for number, side in enumerate(sides):
        draw.text((GAP, top + step_y * number + height / 2), side, fill=LETTERS, font=font, anchor="lm")
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(number, columns)
        x = left + step_x * column
        y = top + step_y * row
        is_chosen = number in chosen
        if is_chosen:
            draw.rectangle((x - FRAME, y - FRAME, x + width + FRAME - 1, y + height + FRAME - 1), fill=CHOSEN)
        sheet.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (x, y))
        colour = CHOSEN if is_chosen else FAINT
        draw.text((x + width / 2, y + height + line / 2 + 2), caption, fill=colour, font=font, anchor="mm")
    return sheet
