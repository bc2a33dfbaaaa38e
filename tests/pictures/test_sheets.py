"""Sheets: pictures side by side, for people to look at."""

import numpy as np
from PIL import Image

from visual_insertion_pack.pipelines.pictures.sheets import tile

COLOURS = ["red", "lime", "blue", "black", "yellow"]
RGB = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 0)]


def test_tiles_of_one_size_are_the_pictures_joined():
    pictures = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), np.uint8)
    sheet = tile([Image.fromarray(picture) for picture in pictures], columns=3)
    rows = [np.concatenate(row, axis=1) for row in (pictures[:3], pictures[3:])]
    assert (np.asarray(sheet) == np.concatenate(rows)).all()


def test_tiles_of_any_size_keep_theirs_and_the_last_row_may_be_short():
    sizes = [(4, 2), (3, 5), (6, 6), (1, 1), (2, 3)]
    pictures = [Image.new("RGB", size, colour) for size, colour in zip(sizes, COLOURS, strict=True)]
    sheet = tile(pictures, columns=2, gap=1, background=(9, 9, 9))
    assert sheet.size == (6 + 1 + 3, 5 + 1 + 6 + 1 + 3)
    corners = [(0, 0), (7, 0), (0, 6), (7, 6), (0, 13)]
    assert [sheet.getpixel(corner) for corner in corners] == RGB
    assert sheet.getpixel((6, 0)) == sheet.getpixel((0, 5)) == sheet.getpixel((8, 7)) == (9, 9, 9)
    assert tile([], columns=3).size == (1, 1)
