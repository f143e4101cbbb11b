"""Turn a photo as its camera was held."""

import struct

from PIL import Image

ORIENTATION = 0x0112  # the EXIF tag

# What undoes each of EXIF's orientations; 1 is upright.
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """Return the loaded `image` turned by its EXIF orientation; unknown values turn nothing."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except (AttributeError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        return image  # broken EXIF must not cost a good photo
    undo = _UNDO.get(orientation) if isinstance(orientation, int) else None
    if undo is None:
        return image
    turned = image.transpose(undo)
    turned.info = dict(image.info)
    return turned
