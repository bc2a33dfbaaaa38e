"""Pictures of nodes that only load, as the host's own front end shows them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from PIL import Image

from ..host import Graph, Host
from ..workflows.front_end import chromium
from .layout import WIDTH

if TYPE_CHECKING:
    from playwright.sync_api import Page

MARGIN = 16  # px around the nodes
VIEW = (1500, 1400)
STEP = 130  # px that each node lies further to the right than the one before
GAP = 90  # px between one node and the next, below its title

SHOWN: dict[str, Graph] = {  # the nodes of each picture, in the order in which they lie
    "EmbeddingOptimizerLoader": {
        "1": {"class_type": "EmbeddingOptimizerLoader", "inputs": {"name": "emb_opt.pt", "null": "zeros"}},
        "2": {"class_type": "EmbeddingOptimizer", "inputs": {"embedding_optimizer": ["1", 0]}},
    },
    "InsertionModels": {
        "1": {"class_type": "InsertionModels", "inputs": {"preset": "toys"}},
        "2": {
            "class_type": "ImageConditionedPix2PixGuider",
            "inputs": {"model": ["1", 0], "vae": ["1", 1], "guidance": ["1", 4]},
        },
    },
    "PaintByExampleLoader": {
        "1": {"class_type": "PaintByExampleLoader", "inputs": {"name": "paint-by-example.ckpt"}},
        "2": {"class_type": "PaintByExampleEncode", "inputs": {"clip_vision": ["1", 2], "exemplar_encoder": ["1", 3]}},
    },
    "Pix2PixUNetLoader": {
        "1": {
            "class_type": "Pix2PixUNetLoader",
            "inputs": {"name": "paint-by-inpaint-add-base-unet.safetensors", "weights": "as saved"},
        },
        "2": {"class_type": "ImageConditionedPix2PixGuider", "inputs": {"model": ["1", 0]}},
    },
}
FILES = (
    "checkpoints/paint-by-example.ckpt",
    "diffusion_models/paint-by-inpaint-add-base-unet.safetensors",
    "embedding_optimizers/emb_opt.pt",
)

LAY_OUT = """([graph, step, gap]) => {
    app.loadApiJson(graph, "help")
    let top = 0
    app.rootGraph.nodes.forEach((node, number) => {
        node.pos = [number * step, top]
        top += node.size[1] + gap
    })
}"""
# The nodes' outer box, and the view set so that it fills the width.
LOOK = """([width, margin]) => {
    const nodes = app.rootGraph.nodes
    const left = Math.min(...nodes.map(node => node.pos[0])) - margin
    const right = Math.max(...nodes.map(node => node.pos[0] + node.size[0])) + margin
    const top = Math.min(...nodes.map(node => node.pos[1])) - 60 - margin
    const bottom = Math.max(...nodes.map(node => node.pos[1] + node.size[1])) + margin
    const canvas = app.canvas
    canvas.ds.scale = width / (right - left)
    canvas.ds.offset = [200 / canvas.ds.scale - left, 100 / canvas.ds.scale - top]
    canvas.setDirty(true, true)
    return (bottom - top) * canvas.ds.scale
}"""


def show(home: Path, names: list[str]) -> Iterator[tuple[str, Image.Image]]:
    """These nodes' ids with their pictures, one after the other, from a Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with (
        TemporaryDirectory() as models,
        Host(home, models=_named_files(Path(models)), variables={"OMP_NUM_THREADS": "1"}) as host,
        sync_playwright() as playwright,
    ):
        host.post("/settings/Comfy.TutorialCompleted", True)
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for name in names:
            # Anew for each: a reloaded page opens its last graph.
            page = browser.new_page(viewport={"width": VIEW[0], "height": VIEW[1]})
            page.goto(host.url)
            page.wait_for_function("window.app?.vueAppReady")
            page.wait_for_function("() => app.rootGraph?.nodes.length")  # the host's first graph
            page.wait_for_timeout(1000)
            page.evaluate(LAY_OUT, [SHOWN[name], STEP, GAP])
            types = page.evaluate("() => app.rootGraph.nodes.map(node => node.type)")
            assert types == [node["class_type"] for node in SHOWN[name].values()], f"another graph is open: {types}"
            yield name, _screenshot(page)
            page.close()


def _named_files(models: Path) -> Path:
    """Empty files for the lists: nothing is loaded, and the front end marks a node red whose file it does not know."""
    for name in FILES:
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).touch()
    return models


def _screenshot(page: Page) -> Image.Image:
    page.wait_for_timeout(1500)
    height = page.evaluate(LOOK, [WIDTH, MARGIN])
    page.wait_for_timeout(1000)
    seen = page.screenshot(clip={"x": 200, "y": 100, "width": WIDTH, "height": height})
    return Image.open(io.BytesIO(seen)).convert("RGB")
