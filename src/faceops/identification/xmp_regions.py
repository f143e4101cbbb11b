"""Where a face lies as XMP states it: normalised, in the pixels as they are stored.

Metadata Working Group, Guidelines for Handling Image Metadata 2.0, chapter 5.9: an area is given by
its centre and size as shares of the stored image, before its orientation is applied.
"""

from typing import NamedTuple

from faceops.faces.box_overlap import Box, box_overlap
from faceops.photos.upright import SIDEWAYS


class Area(NamedTuple):
    """Centre, width and height as shares of the stored image, 0 to 1."""

    x: float
    y: float
    w: float
    h: float


def stored_area(
    box: tuple[float, float, float, float], size: tuple[int, int], orientation: int
) -> Area | None:
    """Return where `box` lies in the stored image; None when nothing of it is in the photo.

    Args:
        box: x, y, width, height in pixels of the upright photo; cut at its edges.
        size: width and height of the upright photo in pixels.
        orientation: EXIF's, 1 to 8, that was undone to make it upright.
    """
    width, height = size
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], width), min(box[1] + box[3], height)
    if left >= right or top >= bottom:
        return None
    x, y = (left + right) / 2 / width, (top + bottom) / 2 / height
    w, h = (right - left) / width, (bottom - top) / height
    places = {
        1: (x, y),
        2: (1 - x, y),
        3: (1 - x, 1 - y),
        4: (x, 1 - y),
        5: (y, x),
        6: (y, 1 - x),
        7: (1 - y, 1 - x),
        8: (1 - y, x),
    }
    sides = (h, w) if orientation in SIDEWAYS else (w, h)
    return Area(*places[orientation], *sides)


def overlap(one: Area, other: Area) -> float:
    """Return the intersection over union of two areas, 0 to 1."""
    return box_overlap(_box(one), _box(other))


def _box(area: Area) -> Box:
    return area.x - area.w / 2, area.y - area.h / 2, area.w, area.h
