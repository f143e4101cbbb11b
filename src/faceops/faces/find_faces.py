"""From a photo to its aligned faces: the one path of training, enrolment and identification.

Most of the time of a large photo goes into pixels that no crop needs: a face of 1,000 pixels is
averaged down to a crop of 112. So a large JPEG is first decoded at a half, a quarter or an eighth
of its size, which JPEG's transform gives cheaply, and in full only if it shows a small face.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from faceops.faces.align import align
from faceops.faces.detector import Detection, Detector
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.quality import Quality, measure, yaw
from faceops.faces.tiles import detect_in_segments, detect_in_tiles
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import Photo, decode_photo, open_photo, scaled_side

LEAST_SIDE = 1280  # longest side of a reduced photo, pixels: twice the detector's size
SHARP_FACE = 128.0  # shorter side of a box from which a crop of 112 pixels loses nothing


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a photo.

    Attributes:
        detection: box, refined landmarks, score.
        quality: measures of the crop.
        crop: uint8 (112, 112, 3) RGB, aligned.
    """

    detection: Detection
    quality: Quality
    crop: np.ndarray


@dataclass(frozen=True, eq=False)
class PhotoFaces:
    """A photo's faces, best score first, in pixels of the upright photo at its full size.

    `photo.pixels` may be of a reduced size; `photo.size` is the full one.
    """

    photo: Photo
    faces: list[Face]


class FaceFinder:
    """Detects, refines, aligns and measures faces. Threads may share it.

    Args:
        detail: longest side, in pixels, at which `detect_in_tiles` also searches large photos;
            0 disables.
    """

    def __init__(self, detector: Detector, refiner: LandmarkRefiner, detail: int = 0) -> None:
        self._detector = detector
        self._refiner = refiner
        self.detail = detail

    def at_detail(self, detail: int) -> "FaceFinder":
        """Return a finder with another `detail` on the same models."""
        return FaceFinder(self._detector, self._refiner, detail)

    def find(self, pixels: np.ndarray) -> list[Face]:
        """Return the faces of `pixels`, uint8 (H, W, 3) RGB upright, best score first."""
        return self.crop(pixels, self.detect(pixels))

    def detect(self, pixels: np.ndarray) -> list[Detection]:
        """Return where the faces are, best score first, with the detector's own landmarks."""
        height, width = pixels.shape[:2]
        if scaled_side(width, height) < max(width, height):
            return detect_in_segments(partial(self._detect, retry=False), pixels)
        return self._detect(pixels)

    def _detect(self, pixels: np.ndarray, *, retry: bool = True) -> list[Detection]:
        found = self._detector.detect(pixels, retry=retry)
        if not self.detail:
            return found
        found += detect_in_tiles(self._detector, pixels, self.detail, found)
        return sorted(found, key=lambda detection: -detection.score)

    def crop(
        self, pixels: np.ndarray, detections: list[Detection], scale: float = 1.0
    ) -> list[Face]:
        """Return the faces of `detections`, with refined landmarks and aligned crops.

        Args:
            pixels: uint8 (H, W, 3) RGB, upright.
            detections: in pixels of `pixels`.
            scale: pixels of the photo at its full size per pixel, for the size in quality.
        """
        faces = []
        for detection in self._refiner.refine(pixels, detections):
            crop = align(pixels, detection.landmarks)
            quality = measure(crop, yaw(detection.landmarks), detection.size * scale)
            faces.append(Face(detection, quality, crop))
        return faces


def find_in_photo(
    path: Path,
    finder: FaceFinder,
    limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
) -> PhotoFaces:
    """Return the faces of the photo in the file `path`.

    Raises:
        PhotoError: as `open_photo`.
    """
    return _find(partial(open_photo, path, limits), finder)


def find_in_bytes(
    content: bytes,
    name: Path,
    finder: FaceFinder,
    limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
) -> PhotoFaces:
    """Return the faces of the photo whose file has the bytes `content`: those of `find_in_photo`.

    `name` is for messages; it is not opened.

    Raises:
        PhotoError: as `decode_photo`.
    """
    return _find(partial(decode_photo, content, name, limits), finder)


def _find(decode: Callable[..., Photo], finder: FaceFinder) -> PhotoFaces:
    """Return the faces of the photo that `decode(least_side=...)` returns."""
    photo = decode(least_side=max(LEAST_SIDE, finder.detail))
    detections = finder.detect(photo.pixels)
    if photo.is_draft and any(detection.size < SHARP_FACE for detection in detections):
        draft, photo = photo.pixels.shape, decode()
        larger = photo.pixels.shape[1] / draft[1], photo.pixels.shape[0] / draft[0]
        detections = [detection.moved(larger) for detection in detections]
    faces = finder.crop(photo.pixels, detections, min(photo.scale))
    if photo.scale != (1.0, 1.0):
        faces = [replace(face, detection=face.detection.moved(photo.scale)) for face in faces]
    return PhotoFaces(photo, faces)
