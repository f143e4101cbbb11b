"""Draw boxes and names on photos."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceops.identification.decide import Decision
from faceops.identification.found_photo import FoundFace
from faceops.identification.outcome import Outcome

_COLOURS = {
    Outcome.IDENTIFIED: (22, 130, 70),
    Outcome.UNKNOWN: (190, 110, 0),
    Outcome.REJECTED: (120, 120, 120),
}
# Wide coverage first; Pillow's own font has Latin letters only.
_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=64)
def font(size: int, latin: bool) -> Font:
    """Return a font of `size` pixels; for other than Latin text one of the system if it can be."""
    for name in () if latin else _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def annotated(
    pixels: np.ndarray, faces: tuple[FoundFace, ...], decisions: list[Decision]
) -> Image.Image:
    """Return the photo, uint8 (H, W, 3) RGB, with a box a face, and the name or the reason."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 400))
    # Least important first, so that names lie on top.
    order = sorted(range(len(faces)), key=lambda index: decisions[index].person is not None)
    for index in order:
        face, decision = faces[index], decisions[index]
        if face.forgotten:
            continue
        x, y, width, height = face.box
        colour = _COLOURS[decision.outcome]
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=line)
        _label(draw, image, face, label_of(decision), colour)
    return image


def label_of(decision: Decision) -> str:
    """Return what is written at a face."""
    if decision.person and decision.best:
        return f"{decision.person} {decision.best.probability:.2f}"
    return str(decision.reason or decision.outcome).replace("_", " ")


def _label(
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    face: FoundFace,
    text: str,
    colour: tuple[int, int, int],
) -> None:
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    letters = font(
        round(min(48, max(12, face.box[3] / 6))), all(ord(letter) < 0x250 for letter in shown)
    )
    left, top, right, bottom = draw.textbbox((0, 0), shown, font=letters)
    width, height = right - left + 8, bottom - top + 6
    x = min(max(face.box[0], 0), max(image.width - width, 0))
    below = face.box[1] + face.box[3]
    y = face.box[1] - height if face.box[1] >= height else min(below, image.height - height)
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 4 - left, y + 3 - top), shown, font=letters, fill=(255, 255, 255))


def save_annotated(image: Image.Image, path: Path, comment: bytes) -> None:
    """Save as a new JPEG at `path`.

    Raises:
        FileExistsError: there is one.
    """
    with path.open("xb") as file:
        image.save(file, "JPEG", quality=90, comment=comment)
