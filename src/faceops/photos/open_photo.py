"""Open one photo safely: whatever the file holds, pixels or a reason come out."""

from pathlib import Path

from faceops.photos.decode_photo import Photo, decode_photo
from faceops.photos.photo_bytes import photo_bytes
from faceops.photos.photo_error import PhotoError, printable
from faceops.photos.photo_limits import PhotoLimits

__all__ = ["Photo", "PhotoError", "PhotoLimits", "open_photo", "printable"]


def open_photo(
    path: Path,
    limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
    *,
    least_side: int | None = None,
) -> Photo:
    """Return the photo in the file `path`, as `decode_photo` does of its bytes.

    Raises:
        PhotoError: with the reason code and one sentence.
    """
    return decode_photo(photo_bytes(path, limits.max_bytes), path, limits, least_side=least_side)
