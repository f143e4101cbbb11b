"""From a photo to its aligned faces: the one path of training, enrolment and identification.

Most of the time of a large photo goes into pixels that no crop needs: a face of 1,000 pixels is
averaged down to a crop of 112. So a large JPEG is first decoded at a half, a quarter or an eighth
of its size, which JPEG's transform gives cheaply, and in full only if it shows a small face.

A photo may lie on its side or head: scanned so, turned in pixels, or with its orientation in a
place that does not count. The detector then finds fewer faces, at lower scores, and always draws
upright landmarks, so only the score tells. Of 600 turned photos of LFW 599 had a best score below
UPRIGHT_SCORE. Such a photo is looked at in the three other turns, small; one without any face only
around the place that scores best. Where a turn shows a face, the photo is searched in that turn.

Large photos are searched in tiles for small faces, panoramas in segments.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from faceops.faces.align import align
from faceops.faces.detector import Box, Detection, Detector, distinct, scaled_down
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.quality import Quality, measure, yaw
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import Photo, decode_photo, open_photo
from faceops.photos.pixels import scaled_side

LEAST_SIDE = 1280  # longest side of a reduced photo, pixels: twice the detector's size
SHARP_FACE = 128.0  # shorter side of a box from which a crop of 112 pixels loses nothing
PHOTO_SIDE = 208  # of a photo with a weak face that is looked at in other turns, pixels
PLACE_SIDE = 128  # of the best place of a photo without a face, pixels
PLACE_SHARE = 2.5  # what is looked at around that place, of its box
SEEN_SCORE = 0.5  # from which a turn is tried on the whole photo
UPRIGHT_SCORE = 0.9  # from which a face certainly stands upright
TURNED_SCORE = 0.8  # least score of a face for which the photo is turned
TURNED_LEAD = 0.03  # least lead of that score over the best one without turning


@dataclass(frozen=True, eq=False)
class Face:
    detection: Detection  # box, refined landmarks, score
    quality: Quality  # measures of the crop
    crop: np.ndarray  # uint8 (112, 112, 3) RGB, aligned


@dataclass(frozen=True, eq=False)
class PhotoFaces:
    """A photo's faces, best score first, in pixels of the upright photo at its full size.

    `photo.pixels` may be of a reduced size; `photo.size` is the full one. `turned` is 0, 90, 180 or
    270, the degrees clockwise by which the photo was turned to find the faces; boxes and landmarks
    are those of the photo before that.
    """

    photo: Photo
    faces: list[Face]
    turned: int = 0


class FaceFinder:
    """Detects, refines, aligns and measures faces. Threads may share it.

    Args:
        detail: longest side, in pixels, at which large photos are also searched, see
            `search_in_detail`; 0 disables.
        turns: whether to turn photos whose faces do not stand upright; training takes photos as
            they are.
    """

    def __init__(
        self, detector: Detector, refiner: LandmarkRefiner, detail: int = 0, *, turns: bool = False
    ) -> None:
        self._detector = detector
        self._refiner = refiner
        self._turns = turns
        self.detail = detail

    def at_detail(self, detail: int) -> "FaceFinder":
        """Return a finder with another `detail` on the same models."""
        return FaceFinder(self._detector, self._refiner, detail, turns=self._turns)

    def find(self, pixels: np.ndarray) -> list[Face]:
        """Return the faces of `pixels`, uint8 (H, W, 3) RGB upright, best score first."""
        return self.crop(pixels, self._search(pixels)[0])

    def detect_turned(self, pixels: np.ndarray) -> tuple[list[Detection], int]:
        """Return where the faces are after the turn that shows them best, and that turn, 0 to 3.

        `pixels` uint8 (H, W, 3) RGB, upright as far as the file says; the faces are in pixels of
        `np.rot90(pixels, turns)`. The turn is 0 if the finder does not turn photos.
        """
        found, place = self._search(pixels)
        if not self._turns or place is None:
            return found, 0
        best = max(detection.score for detection in (place, *found))
        if best >= UPRIGHT_SCORE:
            return found, 0
        if found:
            turns = self._best_turn(scaled_down(pixels, PHOTO_SIDE / max(pixels.shape)))
        else:
            turns = self._best_turn(_around(place.box, pixels))
        turned = self._search(np.rot90(pixels, turns), retry=False)[0] if turns else []
        if turned and turned[0].score >= max(TURNED_SCORE, best + TURNED_LEAD):
            return turned, turns
        return found, 0

    def _best_turn(self, small: np.ndarray) -> int:
        """Return the turn, 1 to 3, in which `small` shows the best face; 0 if it shows none."""
        side = max(small.shape)
        row = np.zeros((side, 3 * side, 3), np.uint8)  # all turns in one call
        for turns in (1, 2, 3):
            turned = np.rot90(small, turns)
            start = (turns - 1) * side
            row[: turned.shape[0], start : start + turned.shape[1]] = turned
        _, seen = self._detector.search(row, retry=False)
        if seen is None or seen.score < SEEN_SCORE:
            return 0
        return 1 + int(np.clip((seen.box[0] + seen.box[2] / 2) // side, 0, 2))

    def _search(
        self, pixels: np.ndarray, *, retry: bool = True
    ) -> tuple[list[Detection], Detection | None]:
        """Return the faces, and the place that scores best, see `Detector.search`."""
        height, width = pixels.shape[:2]
        if scaled_side(width, height) < max(width, height):
            return detect_in_segments(lambda part: self._look(part, False)[0], pixels), None
        return self._look(pixels, retry)

    def _look(self, pixels: np.ndarray, retry: bool) -> tuple[list[Detection], Detection | None]:
        if min(self.detail, max(pixels.shape)) <= self._detector.size:
            return self._detector.search(pixels, retry=retry)
        found, place = search_in_detail(self._detector, pixels, self.detail)
        return found or (self._detector.search_framed(pixels) if retry else []), place

    def crop(
        self, pixels: np.ndarray, detections: list[Detection], scale: float = 1.0
    ) -> list[Face]:
        """Return the faces of `detections`, with refined landmarks and aligned crops.

        `pixels` uint8 (H, W, 3) RGB, upright; a pixel of it is `scale` pixels of the photo at its
        full size, for the size in quality.
        """
        faces = []
        for detection in self._refiner.refine(pixels, detections):
            crop = align(pixels, detection.landmarks)
            pose, size = yaw(detection.landmarks), detection.size * scale
            quality = measure(crop, pose, size, detection.score)
            faces.append(Face(detection, quality, crop))
        return faces


def _around(box: Box, pixels: np.ndarray) -> np.ndarray:
    """Return the surroundings of a box as uint8 (H, W, 3), PLACE_SIDE pixels or less a side."""
    x, y, width, height = box
    margin = (PLACE_SHARE - 1) / 2 * max(width, height)
    left, top = max(int(x - margin), 0), max(int(y - margin), 0)
    around = pixels[top : int(y + height + margin) + 1, left : int(x + width + margin) + 1]
    step = max(1, max(around.shape) // PLACE_SIDE)  # resampling all pixels takes longer
    return scaled_down(around[::step, ::step], step * PLACE_SIDE / max(around.shape))


def find_in_photo(
    path: Path,
    finder: FaceFinder,
    limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
    content: bytes | None = None,
) -> PhotoFaces:
    """Return the faces of the photo in the file `path`, or of the one with the bytes `content`.

    With `content`, `path` is not opened: it is for messages. Raises PhotoError: as `open_photo`.
    """
    decode: Callable[..., Photo] = partial(open_photo, path, limits)
    if content is not None:
        decode = partial(decode_photo, content, path, limits)
    photo = decode(least_side=max(LEAST_SIDE, finder.detail))
    detections, turns = finder.detect_turned(photo.pixels)
    view = np.rot90(photo.pixels, turns)
    if photo.is_draft and any(detection.size < SHARP_FACE for detection in detections):
        draft, photo = view.shape, decode()
        view = np.rot90(photo.pixels, turns)
        larger = view.shape[1] / draft[1], view.shape[0] / draft[0]
        detections = [detection.moved(larger) for detection in detections]
    faces = finder.crop(view, detections, min(photo.scale))
    size = view.shape[1], view.shape[0]
    faces = [replace(f, detection=f.detection.turned_back(turns, size)) for f in faces]
    if photo.scale != (1.0, 1.0):
        faces = [replace(face, detection=face.detection.moved(photo.scale)) for face in faces]
    return PhotoFaces(photo, faces, -90 * turns % 360)


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

    `pixels` uint8 (H, W, 3) RGB, upright, are scaled down until the longest side is `detail` and
    searched in overlapping tiles of the detector's size, so memory does not grow with the photo; up
    to MAX_TILE times that size it is one tile. Faces too large for a tile are found in the whole
    photo, scaled to the detector's size, or to half of the one tile.
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
    return [each.moved(back) for each in distinct(found, MAX_INSIDE)], best and best.moved(back)


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
    return distinct(found, MAX_INSIDE)
