"""Cut a square out of a photo, also over its edge."""

import numpy as np
from PIL import Image


def square_crop(pixels: np.ndarray, left: float, top: float, side: float, size: int) -> np.ndarray:
    """Return a square of the photo as uint8 (size, size, 3), anti-aliased; black outside.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        left: of the square, pixels, may be negative; so may top.
        top: of the square, pixels.
        side: of the square, pixels; at least 1 is taken.
        size: side of the result, pixels.
    """
    side = max(side, 1.0)
    x0, y0 = int(np.floor(left)), int(np.floor(top))
    x1, y1 = int(np.ceil(left + side)), int(np.ceil(top + side))
    window = np.zeros((y1 - y0, x1 - x0, 3), dtype=np.uint8)
    inside = pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    rows, columns = inside.shape[:2]
    if rows and columns:
        down, along = max(-y0, 0), max(-x0, 0)
        window[down : down + rows, along : along + columns] = inside
    extent = (left - x0, top - y0, left - x0 + side, top - y0 + side)
    image = Image.fromarray(window)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=extent))
