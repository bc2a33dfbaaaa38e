"""What belongs together: weight files, scales of the guidance, and the size that a model works at."""

from __future__ import annotations

from dataclasses import dataclass

MEGAPIXEL = 1024 * 1024  # as the host counts


@dataclass(frozen=True)
class Preset:
    """Scales that suit a model, the side in px of the pictures it was trained on, and its files in the manifest.

    `weights` are ids by role, for each role all that will do, the recommended one first; the toys ship and need none.
    """

    object_scale: float
    scene_scale: float
    working_size: int
    weights: tuple[tuple[str, ...], ...] = ()

    @property
    def megapixels(self) -> float:
        """The pixels of a picture of the working size, in units of 1024x1024 px."""
        return self.working_size**2 / MEGAPIXEL


PRESETS = {
    "toys": Preset(object_scale=2.5, scene_scale=1.2, working_size=128),  # as the playroom was measured with
    "photographs": Preset(
        object_scale=7.5,  # both scales are InstructPix2Pix's own
        scene_scale=1.5,
        working_size=512,
        weights=(
            ("instruct-pix2pix-pruned-fp16", "instruct-pix2pix-pruned", "instruct-pix2pix"),
            ("clip-vit-large-patch14",),
            ("embedding-optimizer-original",),
        ),
    ),
}
