"""One labelled photo to one crop, or to the reason why not."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from faceops.base.reasons import Reason
from faceops.faces.choose_face import Policy, choose_face
from faceops.faces.crop_modes import box_crop, center_crop, center_square
from faceops.faces.detection import Detection
from faceops.faces.find_faces import Face, FaceFinder
from faceops.faces.find_in_photo import find_in_photo
from faceops.faces.quality import Quality, measure
from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo


@dataclass(frozen=True)
class CropSettings:
    """How photos become crops; the fields are those of params.yaml's section `crop`."""

    mode: Literal["aligned", "box", "center"] = "aligned"
    several_faces: Policy = "most_central"
    min_face: float = 24
    min_quality: float = 0.0
    box_margin: float = 0.2
    center_ratio: float = 0.5
    limits: PhotoLimits = field(default_factory=PhotoLimits)


@dataclass(frozen=True, eq=False)
class CroppedPhoto:
    """What became of one photo.

    Attributes:
        crop: uint8 (112, 112, 3) RGB; None when rejected.
        box: x, y, width, height of the face (mode center: of the square); None without one.
        detection: of the chosen face; None without one, and in mode center.
        quality: of the chosen face.
        reason: None when accepted.
    """

    crop: np.ndarray | None = None
    box: tuple[float, float, float, float] | None = None
    detection: Detection | None = None
    quality: Quality | None = None
    reason: Reason | None = None


def crop_photo(path: Path, finder: FaceFinder, settings: CropSettings) -> CroppedPhoto:
    """Return the face of the person whose photo `path` is; never raises for a bad photo."""
    try:
        if settings.mode == "center":
            return _center(open_photo(path, settings.limits).pixels, settings)
        found = find_in_photo(path, finder, settings.limits)
    except PhotoError as error:
        return CroppedPhoto(reason=error.reason)
    faces, (width, height) = found.faces, found.photo.size
    face = choose_face(faces, width, height, settings.several_faces, settings.min_face)
    if face is None:
        return CroppedPhoto(reason=_why_none(faces, settings.min_face))
    crop = face.crop
    if settings.mode == "box":
        pixels = open_photo(path, settings.limits).pixels  # all of them, whatever the finder took
        crop = box_crop(pixels, face.detection.box, settings.box_margin)
    return _judged(
        CroppedPhoto(crop, face.detection.box, face.detection, face.quality), settings.min_quality
    )


def _center(pixels: np.ndarray, settings: CropSettings) -> CroppedPhoto:
    crop = center_crop(pixels, settings.center_ratio)
    left, top, side = center_square(pixels.shape[1], pixels.shape[0], settings.center_ratio)
    # Nothing is known of the pose: whoever cropped these photos has seen to it.
    quality = measure(crop, pose=0.0, size_px=side)
    return _judged(CroppedPhoto(crop, (left, top, side, side), None, quality), settings.min_quality)


def _judged(cropped: CroppedPhoto, min_quality: float) -> CroppedPhoto:
    assert cropped.quality is not None
    if cropped.quality.overall >= min_quality:
        return cropped
    return CroppedPhoto(None, cropped.box, cropped.detection, cropped.quality, Reason.LOW_QUALITY)


def _why_none(faces: list[Face], min_face: float) -> Reason:
    if not faces:
        return Reason.NO_FACE
    if all(face.detection.size < min_face for face in faces):
        return Reason.FACE_TOO_SMALL
    return Reason.SEVERAL_FACES
