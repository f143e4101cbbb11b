"""Pixels are lent by Pillow to NumPy and back, and parts of them are cut out."""

import numpy as np
import pytest
from PIL import Image

from faceops.photos.pixels import (
    clipped_share,
    image_of,
    part_of,
    pixels_of,
    recover_highlights,
)

COPY = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
LENT = pixels_of(Image.fromarray(COPY))
# Inside, over a corner, over the other, outside, empty.
BOXES = [(10, 5, 30, 45), (-5, -3, 20, 30), (60, 40, 90, 95), (-9, -9, -2, -2), (3, 3, 3, 3)]


def test_highlights_are_recovered_where_a_channel_is_not_clipped():
    white, skin, grey = (255, 255, 255), (255, 201, 100), (180, 180, 180)
    pixels = pixels_of(Image.fromarray(np.array([[white, skin, grey, skin]], np.uint8)))
    recovered = recover_highlights(pixels)
    expected = [white, (178, 151, 100), grey, (178, 151, 100)]
    assert recovered.dtype == np.uint8 and recovered[0].tolist() == [list(one) for one in expected]
    assert clipped_share(pixels) == 0.75 and clipped_share(pixels, recoverable=True) == 0.5


def test_pixels_are_lent_without_a_copy():
    assert np.array_equal(LENT, COPY)
    again = pixels_of(image_of(LENT))
    assert np.shares_memory(again, LENT) and np.array_equal(again, COPY)


@pytest.mark.parametrize(
    "view",
    [
        LENT[5:, 3:],
        LENT[::-1],
        np.rot90(LENT),
        COPY[:, :, ::-1],
        np.lib.stride_tricks.as_strided(np.zeros((5, 7, 4), np.uint8), (5, 7, 3), (28, 4, 1)),
    ],
)
def test_a_view_of_pixels_becomes_an_image(view):
    assert np.array_equal(np.asarray(image_of(view)), view)


@pytest.mark.parametrize("box", BOXES)
def test_a_part_is_black_outside_the_photo(box):
    padded = np.pad(COPY, ((50, 50), (50, 50), (0, 0)))
    left, top, right, bottom = (side + 50 for side in box)
    for pixels in (COPY, LENT):
        assert np.array_equal(np.asarray(part_of(pixels, box)), padded[top:bottom, left:right])
