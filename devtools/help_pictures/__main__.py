"""Draw the pictures of the help pages anew: of all nodes, or of those named.

python devtools/pack.py devtools.help_pictures [NODE ...]
"""

from __future__ import annotations

import argparse
import io

from PIL import Image

from ..environment import ROOT, find_host
from .drawn import DRAWN, draw
from .front_end import SHOWN, show

FOLDER = ROOT / "web" / "docs" / "pictures"
QUALITIES = (74, 66, 58, 50, 42)
LARGEST = 40_000  # bytes


def small(picture: Image.Image) -> bytes:
    """A WebP in the best of our qualities that keeps it small."""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() <= LARGEST:
            break
    return buffer.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser("devtools.help_pictures", description=__doc__)
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="node ids; default: all")
    options = parser.parse_args()
    names = options.nodes or [*DRAWN, *SHOWN]
    if unknown := set(names) - {*DRAWN, *SHOWN}:
        parser.error(f"no picture is known of {', '.join(sorted(unknown))}")
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    FOLDER.mkdir(parents=True, exist_ok=True)
    drawn = [name for name in names if name in DRAWN]
    shown = [name for name in names if name in SHOWN]
    for chosen, make in ((drawn, draw), (shown, show)):
        for name, picture in make(home, chosen) if chosen else ():
            path = FOLDER / f"{name}.webp"
            path.write_bytes(small(picture))
            print(f"wrote {path}", flush=True)
    return 0
