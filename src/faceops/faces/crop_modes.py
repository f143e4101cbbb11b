"""Crops that are not aligned: the face's box with a margin, or the middle of the photo."""

import numpy as np

from faceops.faces.square_crop import square_crop


def box_crop(
    pixels: np.ndarray, box: tuple[float, float, float, float], margin: float, size: int = 112
) -> np.ndarray:
    """Return the square around `box` as uint8 (size, size, 3); black outside the photo.

    Args:
        pixels: uint8 (H, W, 3) RGB, upright.
        box: x, y, width, height in pixels.
        margin: added on each side, as a share of the box's longer side.
        size: side of the crop in pixels.
    """
    x, y, width, height = box
    side = max(width, height) * (1 + 2 * margin)
    return square_crop(pixels, x + (width - side) / 2, y + (height - side) / 2, side, size)


def center_crop(pixels: np.ndarray, ratio: float, size: int = 112) -> np.ndarray:
    """Return the middle of the photo as uint8 (size, size, 3), for photos cropped by others.

    Args:
        pixels: uint8 (H, W, 3) RGB, upright.
        ratio: side of the square as a share of the photo's shorter side, above 0, at most 1.
        size: side of the crop in pixels.
    """
    left, top, side = center_square(pixels.shape[1], pixels.shape[0], ratio)
    return square_crop(pixels, left, top, side, size)


def center_square(width: int, height: int, ratio: float) -> tuple[float, float, float]:
    """Return left, top and side in pixels of the square in the middle of a photo."""
    side = max(1.0, ratio * min(width, height))
    return (width - side) / 2, (height - side) / 2, side
