"""Alterations of photos: rotation, blur, compression, lighting, size, occlusion.

Each alteration is a pure function of a photo and the face in it. Strengths that depend on the
face are in shares of its box or of the distance between the eyes, so that they mean the same in
a small photo as in a large one.
"""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from faceops.faces.detector import Detection

BLUR = 0.03  # standard deviation, of the shorter side of the face box
JPEG_QUALITY = 30
DARK, BRIGHT = 0.25, 2.2  # factors of the pixel values
MASK, GLASSES = (150, 190, 215), (15, 15, 18)  # RGB


@dataclass(frozen=True, eq=False)
class Altered:
    """A photo uint8 (H', W', 3) RGB; `moved` float64 (2, 3) maps old (x, y, 1) to its pixels."""

    pixels: np.ndarray
    moved: np.ndarray = field(default_factory=lambda: np.eye(2, 3))

    def place(self, points: np.ndarray) -> np.ndarray:
        """Return where `points` float (N, 2) of the unaltered photo are in this one."""
        return np.asarray(points) @ self.moved[:, :2].T + self.moved[:, 2]


Alteration = Callable[[np.ndarray, Detection], Altered]


def rotated(pixels: np.ndarray, face: Detection, *, degrees: float) -> Altered:
    """Return the photo rotated anticlockwise; the frame grows to hold it, filled with black."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    # Centre onto centre; pixel centres lie half a pixel inside.
    shift = (np.array(image.size) - 1) / 2 - turn @ ((np.array([width, height]) - 1) / 2)
    return Altered(np.asarray(image), np.column_stack([turn, shift]))


def blurred(pixels: np.ndarray, face: Detection) -> Altered:
    """Return the photo out of focus: a Gaussian of `BLUR` of the face."""
    blur = ImageFilter.GaussianBlur(BLUR * face.size)
    return Altered(np.asarray(Image.fromarray(pixels).filter(blur)))


def compressed(pixels: np.ndarray, face: Detection) -> Altered:
    """Return the photo after JPEG at quality 30."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY)
    return Altered(np.asarray(Image.open(file).convert("RGB")))


def lit(pixels: np.ndarray, face: Detection, *, factor: float) -> Altered:
    """Return the photo with all values times `factor`, at most 255."""
    image = Image.fromarray(pixels).point(lambda value: min(round(value * factor), 255))
    return Altered(np.asarray(image))


def shrunk(pixels: np.ndarray, face: Detection, *, side: int) -> Altered:
    """Return the photo so small that the face box's shorter side is `side` pixels; never larger."""
    height, width = pixels.shape[:2]
    scale = side / face.size
    if scale >= 1:
        return Altered(pixels)
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.LANCZOS))
    factors = np.array(sides) / (width, height)
    return Altered(small, np.column_stack([np.diag(factors), (factors - 1) / 2]))


def grey(pixels: np.ndarray, face: Detection) -> Altered:
    """Return the photo without colour (ITU-R 601 luma in all three channels)."""
    return Altered(np.asarray(Image.fromarray(pixels).convert("L").convert("RGB")))


def masked(pixels: np.ndarray, face: Detection) -> Altered:
    """Return the photo with a mask from the bridge of the nose to below the chin."""
    across = [-0.95, -0.45, 0.0, 0.45, 0.95, 0.85, 0.45, -0.45, -0.85]
    down = [0.55, 0.48, 0.35, 0.48, 0.55, 1.45, 1.9, 1.9, 1.45]
    return _covered(pixels, face, across, down, MASK)


def sunglasses(pixels: np.ndarray, face: Detection) -> Altered:
    """Return the photo with a dark bar over both eyes, from temple to temple."""
    return _covered(pixels, face, [-1.0, 1.0, 1.0, -1.0], [-0.3, -0.3, 0.32, 0.32], GLASSES)


def _covered(
    pixels: np.ndarray,
    face: Detection,
    across: list[float],
    down: list[float],
    colour: tuple[int, int, int],
) -> Altered:
    """Return the photo with a polygon, fixed to the face, painted in one colour.

    Its corners are in eye distances along the axes of the face: along the eyes, and down from the
    middle between them. The axis down goes through the middle of the mouth, which is 1.15 eye
    distances below in a face seen from the front; a longer or shorter one is followed.
    """
    left, right, _, *mouth = face.landmarks.astype(np.float64)
    middle = (left + right) / 2
    below = (np.mean(mouth, axis=0) - middle) / 1.15
    corners = middle + np.outer(across, right - left) + np.outer(down, below)
    if not np.isfinite(corners).all():
        return Altered(pixels)
    image = Image.fromarray(pixels)
    limit = 10.0 * max(image.size)  # landmarks far off must not overflow the drawing
    polygon = [(float(x), float(y)) for x, y in corners.clip(-limit, limit)]
    ImageDraw.Draw(image).polygon(polygon, fill=colour)
    return Altered(np.asarray(image))


ALTERATIONS: Mapping[str, Alteration] = MappingProxyType(
    {
        "rotation_15": partial(rotated, degrees=15),
        "rotation_30": partial(rotated, degrees=30),
        "blur": blurred,
        "jpeg_30": compressed,
        "dark": partial(lit, factor=DARK),
        "bright": partial(lit, factor=BRIGHT),
        "face_48_px": partial(shrunk, side=48),
        "face_32_px": partial(shrunk, side=32),
        "mask": masked,
        "sunglasses": sunglasses,
        "greyscale": grey,
    }
)
