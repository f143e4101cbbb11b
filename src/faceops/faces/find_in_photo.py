"""From a photo's file to its faces: the one path of training, enrolment and identification.

Most of the time of a large photo goes into pixels that nobody needs: a face of 1,000 pixels is
averaged down to a crop of 112. So a large JPEG is first decoded at a half, a quarter or an eighth
(the reduction that JPEG's own transform gives), and in full only if it shows a face that is small.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from faceops.faces.detection import Detection
from faceops.faces.find_faces import Face, FaceFinder
from faceops.photos.decode_photo import Photo, decode_photo
from faceops.photos.open_photo import open_photo
from faceops.photos.photo_limits import PhotoLimits

LEAST_SIDE = 1280  # of a reduced photo's longest side, pixels: twice the detector's view
SHARP_FACE = 128.0  # shorter side of a box from which a crop of 112 pixels loses nothing


@dataclass(frozen=True, eq=False)
class PhotoFaces:
    """A photo's faces, best score first, in pixels of the upright photo at its full size.

    `photo.pixels` may be of a reduced size; `photo.size` is the full one.
    """

    photo: Photo
    faces: list[Face]


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

    `name` is what sentences call the photo; nothing is opened.

    Raises:
        PhotoError: as `decode_photo`.
    """
    return _find(partial(decode_photo, content, name, limits), finder)


def _find(photo_of: Callable[..., Photo], finder: FaceFinder) -> PhotoFaces:
    """Return the faces of the photo that `photo_of` decodes, at a part of its size if asked to."""
    photo = photo_of(least_side=max(LEAST_SIDE, finder.detail))
    detections = finder.detect(photo.pixels)
    scale = photo.size[0] / photo.pixels.shape[1], photo.size[1] / photo.pixels.shape[0]
    if scale == (1.0, 1.0):
        return PhotoFaces(photo, finder.cut(photo.pixels, detections))
    if any(detection.size < SHARP_FACE for detection in detections):
        photo = photo_of()
        return PhotoFaces(
            photo, finder.cut(photo.pixels, [_scaled(each, scale) for each in detections])
        )
    faces = finder.cut(photo.pixels, detections, pixels_per_pixel=min(scale))
    return PhotoFaces(
        photo, [replace(face, detection=_scaled(face.detection, scale)) for face in faces]
    )


def _scaled(detection: Detection, scale: tuple[float, float]) -> Detection:
    x, y, width, height = detection.box
    across, down = scale
    return Detection(
        (x * across, y * down, width * across, height * down),
        detection.landmarks * np.array(scale, np.float32),
        detection.score,
    )
