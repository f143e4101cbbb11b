"""A small photo for examples: a face that was drawn, not photographed, and that is found."""

import io

from PIL import Image, ImageDraw, ImageFilter

SIDE = 96  # pixels
_FINER = 4  # drawn so many times as large, then averaged down
_SKIN, _SHADE, _HAIR, _LIPS = (224, 178, 148), (203, 154, 126), (70, 50, 40), (180, 90, 90)
_WALL, _SHIRT, _WHITE, _IRIS = (150, 170, 185), (70, 80, 120), (245, 245, 245), (50, 35, 30)


def example_photo() -> bytes:
    """Return the JPEG of a drawn portrait, 96 x 96 pixels, under 2 kB."""
    side = SIDE * _FINER
    picture = Image.new("RGB", (side, side), _WALL)
    draw = ImageDraw.Draw(picture)

    def oval(left: float, top: float, right: float, bottom: float, colour: tuple[int, ...]) -> None:
        draw.ellipse([left * side, top * side, right * side, bottom * side], fill=colour)

    oval(0.12, 0.80, 0.88, 1.40, _SHIRT)
    oval(0.41, 0.62, 0.59, 0.92, _SHADE)  # neck
    oval(0.24, 0.10, 0.76, 0.62, _HAIR)
    oval(0.28, 0.18, 0.72, 0.80, _SKIN)
    oval(0.27, 0.12, 0.73, 0.32, _HAIR)
    for x in (0.40, 0.60):
        oval(x - 0.065, 0.385, x + 0.065, 0.405, _HAIR)  # brow
        oval(x - 0.055, 0.435, x + 0.055, 0.485, _WHITE)
        oval(x - 0.024, 0.435, x + 0.024, 0.483, _IRIS)
    nose = [(0.50, 0.46), (0.465, 0.585), (0.535, 0.585)]
    draw.polygon([(x * side, y * side) for x, y in nose], fill=_SHADE)
    oval(0.42, 0.655, 0.58, 0.70, _LIPS)
    small = picture.filter(ImageFilter.GaussianBlur(3)).resize((SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
