"""Turn and brighten a face in fixed-point arithmetic: the same pixels on every CPU."""

import math

import numpy as np

_ONE = 1 << 16  # fixed point with 16 bits behind the point


def turned(tile: np.ndarray, degrees: int) -> np.ndarray:
    """Return uint8 (S, S, C) turned clockwise about its middle, bilinear, edges repeated."""
    side = tile.shape[0]
    cosine = round(math.cos(math.radians(degrees)) * _ONE)
    sine = round(math.sin(math.radians(degrees)) * _ONE)
    # Twice the distance from the middle is a whole number for even sides too.
    offset = 2 * np.arange(side, dtype=np.int64) - (side - 1)
    across, down = offset[None, :], offset[:, None]
    middle = (side - 1) * _ONE
    x = np.clip((across * cosine + down * sine + middle) // 2, 0, (side - 1) * _ONE)
    y = np.clip((down * cosine - across * sine + middle) // 2, 0, (side - 1) * _ONE)
    left, top = x // _ONE, y // _ONE
    right, bottom = np.minimum(left + 1, side - 1), np.minimum(top + 1, side - 1)
    fx, fy = ((x % _ONE) >> 8)[..., None], ((y % _ONE) >> 8)[..., None]  # 8 bits each
    pixels = tile.astype(np.int64)
    upper = pixels[top, left] * (256 - fx) + pixels[top, right] * fx
    lower = pixels[bottom, left] * (256 - fx) + pixels[bottom, right] * fx
    return ((upper * (256 - fy) + lower * fy + (1 << 15)) >> 16).astype(np.uint8)


def brightened(tile: np.ndarray, percent: int) -> np.ndarray:
    """Return uint8 pixels times `percent` / 100."""
    return np.clip(tile.astype(np.int32) * percent // 100, 0, 255).astype(np.uint8)
