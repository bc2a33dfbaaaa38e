"""Whether a picture is near the size that a model was trained at."""

from __future__ import annotations

from math import sqrt

# Shares of the working size between which no picture is called far, by the root of their areas: 512x384 is 3.5 times
# what the toys know, and gets the mug five times; the second pass at twice the size is meant.
SMALLEST = 0.6
LARGEST = 1.6


def size_remark(width: int, height: int, working_size: int) -> str:
    """A sentence on a scene of `width` x `height` px for a model of about `working_size` px a side; none if it fits.

    Raises ValueError for a size below 1.
    """
    if min(width, height, working_size) < 1:
        raise ValueError(f"Sizes must be at least 1 px; got {width}, {height} and {working_size}.")
    share = sqrt(width * height) / working_size
    if SMALLEST <= share <= LARGEST:
        return ""
    result = "several objects, slowly" if share > LARGEST else "a blurred object, or none"
    return (
        f"The scene is {width}x{height} px, this model works at about {working_size}: expect {result}. Bring the scene "
        f"to that size with Local Region Crop (working_size {working_size}) or Fit for Edit."
    )
