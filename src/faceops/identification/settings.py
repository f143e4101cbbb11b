"""What a run is asked for, beside its photos, gallery and release."""

from dataclasses import dataclass

from faceops.gallery.face_policy import IDENTIFICATION, FacePolicy
from faceops.photos.photo_limits import PhotoLimits

DETAIL = 1280  # longest side, pixels, at which large photos are searched in tiles


@dataclass(frozen=True)
class Settings:
    """All that decides a run's rows and is no file; see `run.identify`."""

    budget: float
    annotate: bool
    xmp: bool
    detail: int = DETAIL
    policy: FacePolicy = IDENTIFICATION
    limits: PhotoLimits = PhotoLimits()  # noqa: RUF009  frozen
    precision: str = "float32"  # of the release's embedder
