"""Pictures and what they are called, in rows that are still readable in the front end's side panel."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

WIDTH = 640  # px; the side panel shows it at about half of that
HIGHEST = 300  # px, of a picture that has a row for itself
GAP = 10
SIGN = 44  # px, of what stands between two pictures, such as an arrow
LETTERS = 30  # px
LEAST_LETTERS = 20
LINE = 42
GROUND = (38, 38, 42)
INK = (235, 235, 235)
LIGHT_SQUARE = (205, 205, 205)
DARK_SQUARE = (150, 150, 150)
SQUARE = 8  # px, of the pattern behind what is transparent

Pane = tuple[str, Image.Image]
Row = Sequence[Pane | str]  # a string is a sign between its neighbours: ">" is an arrow, "+" a plus


def sheet(*rows: Row) -> Image.Image:
    """Rows of named pictures, each row as wide as the sheet and its pictures of one height."""
    drawn = [_row(row) for row in rows]
    page = Image.new("RGB", (WIDTH, sum(row.height for row in drawn) + GAP), GROUND)
    top = GAP
    for row in drawn:
        page.paste(row, (0, top))
        top += row.height
    return page


def _row(row: Row) -> Image.Image:
    panes = [part for part in row if not isinstance(part, str)]
    signs = len(row) - len(panes)
    gaps = len(row) + 1 - 2 * signs  # none beside a sign
    room = WIDTH - SIGN * signs - GAP * gaps
    height = min(round(room / sum(picture.width / picture.height for _, picture in panes)), HIGHEST)
    widths = [round(height * picture.width / picture.height) for _, picture in panes]
    page = Image.new("RGB", (WIDTH, height + LINE + GAP), GROUND)
    draw = ImageDraw.Draw(page)
    left = GAP + (room - sum(widths)) // 2
    remaining = iter(widths)
    for part, following in zip(row, [*row[1:], None], strict=True):
        if isinstance(part, str):
            _draw_sign(draw, part, (left + SIGN // 2, height // 2))
            left += SIGN
            continue
        name, picture = part
        width = next(remaining)
        page.paste(_on_squares(picture.resize((width, height), Image.Resampling.LANCZOS)), (left, 0))
        font = _font(name, width)
        draw.text((left + width // 2, height + LINE // 2), name, INK, font=font, anchor="mm")
        left += width + (0 if isinstance(following, str) else GAP)
    return page


def _font(text: str, width: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest letters with which the text fits, of at most LETTERS px."""
    for size in range(LETTERS, LEAST_LETTERS, -1):
        font = ImageFont.load_default(size)
        if font.getlength(text) <= width:
            return font
    return ImageFont.load_default(LEAST_LETTERS)


def _draw_sign(draw: ImageDraw.ImageDraw, sign: str, middle: tuple[int, int]) -> None:
    x, y = middle
    draw.line([(x - 12, y), (x + 12, y)], fill=INK, width=5)
    if sign == "+":
        draw.line([(x, y - 12), (x, y + 12)], fill=INK, width=5)
    else:
        draw.polygon([(x + 4, y - 11), (x + 4, y + 11), (x + 17, y)], fill=INK)


def _on_squares(picture: Image.Image) -> Image.Image:
    """What is transparent shows a pattern of squares."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGBA", picture.size, LIGHT_SQUARE)
    draw = ImageDraw.Draw(ground)
    for top in range(0, picture.height, SQUARE):
        for left in range(top // SQUARE % 2 * SQUARE, picture.width, 2 * SQUARE):
            draw.rectangle([left, top, left + SQUARE - 1, top + SQUARE - 1], fill=DARK_SQUARE)
    return Image.alpha_composite(ground, picture).convert("RGB")
