"""The picture of a workflow in the template browser: what its graph really makes."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

from ..demo import saved_image
from ..host import Graph, Host
from ..pictures import read_picture, sample_path
from .graph import BLUE, Workflow

WIDTH = 400  # px
GAP = 6


def thumbnail(host: Host, workflow: Workflow, graph: Graph) -> Image.Image:
    """What goes in, one above the other, and what comes out; without models that ship, a card that says so."""
    names = [node["inputs"]["image"] for node in graph.values() if node["class_type"] == "LoadImage"]
    rows = len(names)
    side = round((WIDTH - GAP / rows) * rows / (rows + 1))  # of the result; those of the inputs add up to it
    tile = WIDTH - GAP - side
    if workflow.needs:
        result = Image.new("RGB", (side, side), BLUE)
        middle = (side // 2, side // 2)
        ImageDraw.Draw(result).text(middle, workflow.needs, "white", anchor="mm", align="center", font_size=26)
    else:
        entry = host.result(host.queue(graph))
        result = Image.open(io.BytesIO(host.view(saved_image(graph, entry)))).convert("RGB")
    page = Image.new("RGB", (WIDTH, side), "#202020")
    for row, name in enumerate(names):
        picture = read_picture(sample_path(name))
        page.paste(picture.resize((tile, tile), Image.Resampling.LANCZOS), (0, row * (tile + GAP)))
    page.paste(result.resize((side, side), Image.Resampling.LANCZOS), (tile + GAP, 0))
    return page
