"""Search photos in parts: large ones in tiles for small faces, panoramas in segments."""

from collections.abc import Callable

import numpy as np

from faceops.faces.detector import (
    MAX_OVERLAP,
    Box,
    Detection,
    Detector,
    non_maximum_suppression,
    scaled_down,
)

# A face that no tile contains is larger than this, and large enough to be found in the whole photo.
OVERLAP = 0.2  # of two tiles, in sides of the detector's size
MAX_TILE = 2  # longest side of a tile, in the same
MAX_INSIDE = 0.6  # a box with a larger share of it inside a better face is a part of that face
_EDGE = 2.0  # pixels of the tile: a box this near to an inner edge is cut
MAX_SEGMENTS = 40  # of a panorama
# How photos are searched in detail; increase it with every change that alters what is found.
DETAIL_VERSION = 3


def search_in_detail(
    detector: Detector, pixels: np.ndarray, detail: int
) -> tuple[list[Detection], Detection | None]:
    """Return the faces of a photo that is larger than the detector's size, see `Detector.search`.

    The photo is scaled down until its longest side is `detail` and searched in overlapping tiles;
    up to MAX_TILE times the detector's size it is one tile. Faces too large for a tile are found in
    the whole photo, scaled to the detector's size, or to half of the one tile.

    Args:
        detector: its `size` limits that of a tile, so memory does not grow with the photo.
        pixels: uint8 (H, W, 3) RGB, upright.
    """
    is_one_tile = detail <= MAX_TILE * detector.size  # smaller faces need smoother pixels
    view = scaled_down(pixels, detail / max(pixels.shape), fast=is_one_tile)
    height, width = view.shape[:2]
    share = min(detector.size / max(height, width), 1 / MAX_TILE)
    whole = scaled_down(view, share, fast=True)
    found, best = detector.search_at(whole, detector.size)
    back = width / whole.shape[1], height / whole.shape[0]
    found, places = [each.moved(back) for each in found], [best.moved(back)] if best else []
    for top, bottom in tiles_along(height, detector.size):
        for left, right in tiles_along(width, detector.size):
            tile = view[top:bottom, left:right]
            is_inner_edge = (left > 0, top > 0, right < width, bottom < height)
            in_tile, best = detector.search_at(tile, max(tile.shape))
            places += [best.moved((1, 1), (left, top))] if best else []
            found += [
                each.moved((1, 1), (left, top))
                for each in in_tile
                if not _is_cut(each.box, tile, is_inner_edge, _EDGE)
            ]
    back = pixels.shape[1] / width, pixels.shape[0] / height
    best = max(places, key=lambda place: place.score, default=None)
    return [each.moved(back) for each in _distinct(found)], best and best.moved(back)


def tiles_along(length: int, size: int) -> list[tuple[int, int]]:
    """Return where tiles along a side of `length` pixels start and end: few, and equally long.

    `size` is the detector's; MAX_TILE and OVERLAP are multiples of it.
    """
    overlap = round(OVERLAP * size)
    count = max(1, -(-(length - overlap) // (MAX_TILE * size - overlap)))
    tile = -(-(length + (count - 1) * overlap) // count)
    return [(start, start + tile) for start in _starts(length, tile, count)]


def _starts(length: int, part: int, count: int) -> list[int]:
    """Return where `count` parts start that are spread evenly over `length`."""
    return [round(number * (length - part) / max(count - 1, 1)) for number in range(count)]


def _distinct(found: list[Detection]) -> list[Detection]:
    """Return one detection of each face, best score first."""
    if not found:
        return []
    boxes = np.array([detection.box for detection in found])
    scores = np.array([detection.score for detection in found])
    return [found[i] for i in non_maximum_suppression(boxes, scores, MAX_OVERLAP, MAX_INSIDE)]


def _is_cut(
    box: Box, tile: np.ndarray, is_inner_edge: tuple[bool, bool, bool, bool], edge: float
) -> bool:
    """Return whether `box` is within `edge` pixels of an inner edge: left, top, right or bottom."""
    x, y, width, height = box
    gaps = (x, y, tile.shape[1] - x - width, tile.shape[0] - y - height)
    return any(inner and gap < edge for inner, gap in zip(is_inner_edge, gaps, strict=True))


def detect_in_segments(
    search: Callable[[np.ndarray], list[Detection]], pixels: np.ndarray
) -> list[Detection]:
    """Return the faces of a panorama, best score first.

    It is searched in segments that are twice as long as the shorter side and overlap by a half, so
    that each face is whole in one of them; of more than MAX_SEGMENTS they would be longer.

    `pixels`: uint8 (H, W, 3) RGB, upright.
    """
    height, width = pixels.shape[:2]
    longer, shorter = max(height, width), min(height, width)
    length = max(2 * shorter, -(-2 * longer // (MAX_SEGMENTS + 1)))
    found = []
    count = 1 + max(0, -(-2 * (longer - length) // length))
    for start in _starts(longer, length, count):
        before, after = start > 0, start + length < longer
        if width > height:
            segment, shift = pixels[:, start : start + length], (start, 0)
            is_inner_edge = (before, False, after, False)
        else:
            segment, shift = pixels[start : start + length], (0, start)
            is_inner_edge = (False, before, False, after)
        edge = _EDGE * length / 640
        found += [
            each.moved((1, 1), shift)
            for each in search(segment)
            if not _is_cut(each.box, segment, is_inner_edge, edge)
        ]
    return _distinct(found)
