"""What a restoration says about an edit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .geometry import Size

NOTHING = "nothing inserted: the edit is the scene again"
UNMATCHED = "background not matched, so geometry and colours were left alone"
BLANK = "too little texture to align by, so geometry was left alone"
EVERYTHING = "nearly everything changed: little of the scene is left to restore"
COPIED = "copy-paste: the object is the picture that was given, pixel by pixel"


@dataclass(frozen=True)
class Report:
    """Figures of one edited picture against its scene; lengths in px of the scene."""

    identical: float  # share of the restored picture's pixels that are the scene's, bit for bit
    changed: float  # share of the pixels that the effect covers
    shift: tuple[float, float]  # to the right and down, of what the edit did to the whole picture
    zoom: float  # 1 is none; above 1 the edit shows things larger
    turn: float  # degrees, clockwise
    matched: float  # share of the scene's texture that was met again
    colour_difference: float  # mean CIE76 delta E outside the effect, before colours were matched
    verdicts: tuple[str, ...] = ()

    def text(self) -> str:
        """The report in lines for a reader."""
        right, down = (round(one, 1) + 0.0 for one in self.shift)  # + 0.0: never -0.0
        zoom = round(self.zoom - 1, 4) + 0.0
        turn = round(self.turn, 2) + 0.0
        lines = [
            f"{self.identical:.1%} of the pixels are the scene's own",
            f"effect: {self.changed:.1%} of the picture",
            f"undone: shift {right:+.1f}, {down:+.1f} px, zoom {zoom:+.2%}, turn {turn:+.2f} degrees",
            f"colour difference outside the effect: {self.colour_difference:.1f} delta E",
            *self.verdicts,
        ]
        return "\n".join(lines)


def motion(matrix: np.ndarray, scene: Size, base: np.ndarray) -> tuple[tuple[float, float], float, float]:
    """(shift in px of the scene, zoom, turn in degrees) of a map beyond the mere change of size `base`."""
    linear = np.linalg.inv(base[:, :2]) @ matrix[:, :2]
    zoom = float(np.sqrt(abs(np.linalg.det(linear))))
    turn = float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])))
    shift = np.linalg.inv(base[:, :2]) @ matrix[:, 2] * max(scene) / 2
    return (float(shift[0]), float(shift[1])), zoom, turn
