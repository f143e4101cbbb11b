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
SIDEWAYS = frozenset({5, 6, 7, 8})  # width and height change places


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of the loaded `image`, 1 to 8; 1 where it states none of them."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except (AttributeError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        return 1  # broken EXIF must not cost a good photo
    return orientation if isinstance(orientation, int) and orientation in _UNDO else 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the loaded `image` turned by `orientation`, 1 to 8."""
    if orientation == 1:
        return image
    turned = image.transpose(_UNDO[orientation])
    turned.info = dict(image.info)
    return turned
