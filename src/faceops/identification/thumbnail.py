"""Small pictures of faces for the report."""

import io

import numpy as np
from PIL import Image

SIDE = 96


def thumbnail(crop: np.ndarray) -> bytes:
    """Return uint8 (H, W, 3) RGB as a JPEG of 96 x 96 pixels, about 3 kB."""
    buffer = io.BytesIO()
    image = Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
