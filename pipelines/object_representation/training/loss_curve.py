"""The losses of a run as a picture, without a plotting library: the host brings none."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

WIDTH, HEIGHT, BORDER = 480, 240, 36  # px
PAPER, INK, FAINT, STEPS, LOOKS = "white", "#444444", "#dddddd", "#b9cbe4", "#c2410c"
SHARE = 0.05  # of a curve that moves on at each step: what came before is forgotten slowly


def draw_curve(losses: Sequence[float], looks: Sequence[tuple[int, float]]) -> Image.Image:
    """The loss of each step, smoothed, pale, and the looks at held-out examples [(step, loss)] as dots and a line.

    Another point that is lower is better; the lowest look, which was kept, has a ring.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(picture)
    smooth: list[float] = []
    for loss in losses:
        smooth.append(loss if not smooth else (1 - SHARE) * smooth[-1] + SHARE * loss)
    values = [*smooth, *(loss for _, loss in looks)]
    if not values:
        draw.text((BORDER, HEIGHT // 2), "nothing was trained", fill=INK)
        return picture
    lowest = min(values)
    span = max(max(values) - lowest, 1e-9)
    most = max(len(losses), *(step for step, _ in looks), 1)

    def place(step: float, loss: float) -> tuple[float, float]:
        across = BORDER + (WIDTH - 2 * BORDER) * step / most
        return across, HEIGHT - BORDER - (HEIGHT - 2 * BORDER) * (loss - lowest) / span

    for share in (0.0, 0.5, 1.0):
        level = lowest + share * span
        draw.line([place(0, level), place(most, level)], fill=FAINT)
        draw.text((4, place(0, level)[1] - 6), f"{level:.3f}", fill=INK)
    draw.text((BORDER, HEIGHT - BORDER + 8), "0", fill=INK)
    draw.text((WIDTH - BORDER - 30, HEIGHT - BORDER + 8), f"step {most}", fill=INK)
    draw.text((BORDER, 8), "loss: of steps (pale), of held-out examples (dots); kept: ring", fill=INK)
    if len(smooth) > 1:
        draw.line([place(step, loss) for step, loss in enumerate(smooth, 1)], fill=STEPS, width=2)
    points = [place(*own) for own in looks]
    if len(points) > 1:
        draw.line(points, fill=LOOKS, width=2)
    kept = min(range(len(looks)), key=lambda number: looks[number][1], default=None)
    for number, (x, y) in enumerate(points):
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=LOOKS)
        if number == kept:
            draw.ellipse((x - 7, y - 7, x + 7, y + 7), outline=INK, width=2)
    return picture
