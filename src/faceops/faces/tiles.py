"""A closer look at large photos, tile by tile, for faces too small in the whole view."""

import numpy as np
from PIL import Image

from faceops.faces.detector import (
    LARGEST_OVERLAP,
    Detection,
    Detector,
    box_overlap,
    non_maximum_suppression,
    shared_area,
)

# A face that no tile shows whole is larger than this, and then large enough for the whole view.
OVERLAP = 0.2  # of a tile
# A box with this share of it inside another face is a part of that face.
LARGEST_INSIDE = 0.6
_EDGE = 2.0  # pixels of the tile: a box this near to an inner edge is cut


def detect_in_tiles(
    detector: Detector, pixels: np.ndarray, detail: int, known: list[Detection]
) -> list[Detection]:
    """Return the faces of `pixels` that `known` lacks, best score first.

    The photo is scaled down until its longest side is `detail`, and looked at in overlapping
    squares of the detector's own size, so memory does not grow with the photo. What the whole
    view has found keeps its box.

    Args:
        detector: its `size` is the side of a tile.
        pixels: uint8 (H, W, 3) RGB, upright.
        detail: pixels; a photo that is no larger than a tile gives nothing.
        known: faces of the whole view.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, detail / max(height, width))
    sides = round(width * scale), round(height * scale)
    if max(sides) <= detector.size:
        return []
    view = Image.fromarray(pixels)
    if scale < 1:
        view = view.resize(sides, Image.Resampling.BILINEAR, reducing_gap=2.0)
    back = width / sides[0], height / sides[1]
    found = [
        _moved(detection, left, top, back)
        for top in tile_starts(sides[1], detector.size)
        for left in tile_starts(sides[0], detector.size)
        for detection in _tile_faces(detector, view, left, top)
    ]
    if not found:
        return []
    boxes = np.array([detection.box for detection in found])
    scores = np.array([detection.score for detection in found])
    kept = non_maximum_suppression(boxes, scores, LARGEST_OVERLAP)
    return [found[i] for i in kept if not any(_same(found[i], other) for other in known)]


def tile_starts(length: int, tile: int) -> list[int]:
    """Return where tiles begin along a side of `length`: evenly, overlapping by OVERLAP or more."""
    if length <= tile:
        return [0]
    step = tile * (1 - OVERLAP)
    count = 1 + int(np.ceil((length - tile) / step))
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]


def _tile_faces(detector: Detector, view: Image.Image, left: int, top: int) -> list[Detection]:
    right, bottom = min(left + detector.size, view.width), min(top + detector.size, view.height)
    tile = np.asarray(view.crop((left, top, right, bottom)))
    inner = (left > 0, top > 0, right < view.width, bottom < view.height)
    return [
        detection
        for detection in detector.detect(tile, second_look=False)
        if not _is_cut(detection.box, inner, right - left, bottom - top)
    ]


def _is_cut(
    box: tuple[float, float, float, float],
    inner: tuple[bool, bool, bool, bool],
    width: int,
    height: int,
) -> bool:
    x, y, w, h = box
    gaps = (x, y, width - x - w, height - y - h)
    return any(edge and gap < _EDGE for edge, gap in zip(inner, gaps, strict=True))


def _moved(detection: Detection, left: int, top: int, back: tuple[float, float]) -> Detection:
    x, y, w, h = detection.box
    across, down = back
    box = ((x + left) * across, (y + top) * down, w * across, h * down)
    corner = np.array([left, top], np.float32)
    points = (detection.landmarks + corner) * np.array(back, np.float32)
    return Detection(box, points, detection.score)


def _same(one: Detection, other: Detection) -> bool:
    inside = shared_area(one.box, other.box) > LARGEST_INSIDE * one.box[2] * one.box[3]
    return inside or box_overlap(one.box, other.box) > LARGEST_OVERLAP
