"""Search photos in parts: large ones in tiles for small faces, panoramas in segments."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from faceops.faces.detector import (
    MAX_OVERLAP,
    Box,
    Detection,
    Detector,
    box_overlap,
    non_maximum_suppression,
    shared_area,
)
from faceops.photos.pixels import image_of, pixels_of

# A face that no tile contains is larger than this, and large enough to be found without tiles.
OVERLAP = 0.2  # of a tile
MAX_INSIDE = 0.6  # a box with a larger share of it inside another face is a part of that face
_EDGE = 2.0  # pixels of the tile: a box this near to an inner edge is cut
MAX_SEGMENTS = 40  # of a panorama


def detect_in_tiles(
    detector: Detector, pixels: np.ndarray, detail: int, known: list[Detection]
) -> list[Detection]:
    """Return the faces of `pixels` that `known` lacks, best score first.

    The photo is scaled down until its longest side is `detail`, and searched in overlapping
    squares of the detector's own size, so memory does not grow with the photo.

    Args:
        detector: its `size` is the side of a tile.
        pixels: uint8 (H, W, 3) RGB, upright.
        detail: pixels; a photo not larger than a tile gives nothing.
        known: faces found in the photo as a whole.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, detail / max(height, width))
    sides = round(width * scale), round(height * scale)
    if max(sides) <= detector.size:
        return []
    view = image_of(pixels)
    if scale < 1:
        view = view.resize(sides, Image.Resampling.BILINEAR, reducing_gap=2.0)
    back = width / sides[0], height / sides[1]
    found = [
        detection.moved(back, (left, top))
        for top in tile_starts(sides[1], detector.size)
        for left in tile_starts(sides[0], detector.size)
        for detection in _detect_in_tile(detector, view, left, top)
    ]
    if not found:
        return []
    boxes = np.array([detection.box for detection in found])
    scores = np.array([detection.score for detection in found])
    kept = non_maximum_suppression(boxes, scores, MAX_OVERLAP)
    return [found[i] for i in kept if not any(_is_same_face(found[i], other) for other in known)]


def tile_starts(length: int, tile: int, overlap: float = OVERLAP) -> list[int]:
    """Return where tiles start along a side of `length`, evenly, overlapping by `overlap` or more.

    `overlap` is a share of a tile.
    """
    if length <= tile:
        return [0]
    step = tile * (1 - overlap)
    count = 1 + int(np.ceil((length - tile) / step))
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]


def _detect_in_tile(detector: Detector, view: Image.Image, left: int, top: int) -> list[Detection]:
    right, bottom = min(left + detector.size, view.width), min(top + detector.size, view.height)
    tile = pixels_of(view.crop((left, top, right, bottom)))
    is_inner_edge = (left > 0, top > 0, right < view.width, bottom < view.height)
    found = detector.detect(tile, retry=False)
    return [each for each in found if not _is_cut(each.box, tile, is_inner_edge, _EDGE)]


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

    Args:
        search: returns the faces of a photo, uint8 (H, W, 3) RGB, upright.
        pixels: uint8 (H, W, 3) RGB, upright.
    """
    height, width = pixels.shape[:2]
    longer, shorter = max(height, width), min(height, width)
    length = max(2 * shorter, -(-2 * longer // (MAX_SEGMENTS + 1)))
    found = []
    for start in tile_starts(longer, length, overlap=0.5):
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
    kept: list[Detection] = []
    for one in sorted(found, key=lambda detection: -detection.score):
        if not any(_is_same_face(one, other) for other in kept):
            kept.append(one)
    return kept


def _is_same_face(one: Detection, other: Detection) -> bool:
    inside = shared_area(one.box, other.box) > MAX_INSIDE * one.box[2] * one.box[3]
    return inside or box_overlap(one.box, other.box) > MAX_OVERLAP
