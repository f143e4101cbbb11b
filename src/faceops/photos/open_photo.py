"""Open one photo safely: any file gives its pixels or a reason."""

import hashlib
import io
import os
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from faceops.base.errors import FaceOpsError, printable
from faceops.base.reasons import Reason
from faceops.photos.formats import PhotoFormat, PhotoLimits, format_of
from faceops.photos.pixels import SIDEWAYS, orientation_of, to_rgb, upright


@dataclass(frozen=True, eq=False)
class Photo:
    """An opened photo.

    Attributes:
        pixels: uint8 (H, W, 3) RGB in sRGB, upright.
        format: the name of its `formats.PhotoFormat`, such as "JPEG".
        photo_id: sha256 of the file's bytes, hexadecimal.
        size: width and height of the upright photo in pixels; `pixels` may be a reduced copy.
        orientation: EXIF's, 1 to 8, which is undone in `pixels`; 1 where the file has none.
    """

    pixels: np.ndarray
    format: str
    photo_id: str
    size: tuple[int, int]
    orientation: int = 1


class PhotoError(FaceOpsError):
    """A photo that cannot be used.

    Attributes:
        sentence: the message after the file's name, such as "is empty; copy it again or remove
            it."
        reason: the code for its row.
        transient: whether the cause lies outside the file's bytes (disk, permissions, memory), so
            that the same bytes may open another time.
    """

    def __init__(
        self, path: Path, reason: Reason, sentence: str, *, transient: bool = False
    ) -> None:
        super().__init__(f"{printable(path)} {sentence}")
        self.sentence = sentence
        self.reason = reason
        self.transient = transient


def open_photo(
    path: Path,
    limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
    *,
    least_side: int | None = None,
) -> Photo:
    """Return the photo in the file `path`, see `decode_photo`.

    Raises:
        PhotoError: with the reason code and one sentence.
    """
    return decode_photo(photo_bytes(path, limits.max_bytes), path, limits, least_side=least_side)


def photo_bytes(path: Path, max_bytes: int) -> bytes:
    """Return the content of the regular file `path`.

    Raises:
        PhotoError: gone, no permission, not a regular file, empty, or more than `max_bytes`.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        _require_regular_file(path, path.stat())
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())  # again: the name may have another file by now
            _require_regular_file(path, status)
            check_length(path, status.st_size, max_bytes)
            content = file.read(max_bytes + 1)
        check_length(path, len(content), max_bytes)
        return content
    except (FileNotFoundError, NotADirectoryError):
        reason, sentence = Reason.VANISHED, "is gone; list the folder again."
    except PermissionError:
        reason = Reason.UNREADABLE
        sentence = "may not be read; give this user permission to read it."
    except MemoryError:
        reason, sentence = Reason.UNREADABLE, _NO_MEMORY
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        reason, sentence = Reason.UNREADABLE, f"cannot be read ({why}); check the disk or the link."
    raise PhotoError(path, reason, sentence, transient=True)


def _require_regular_file(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    reason, sentence = Reason.NOT_A_PHOTO, "is a pipe, socket or device, not a photo; remove it."
    if stat.S_ISDIR(status.st_mode):
        sentence = "is a folder, not a photo; name a file."
        if not os.access(path, os.R_OK | os.X_OK):
            reason = Reason.UNREADABLE
            sentence = "is a folder that may not be listed; give this user permission to read it."
    raise PhotoError(path, reason, sentence, transient=True)


def check_length(path: Path, length: int, max_bytes: int) -> None:
    """Refuse a photo of no bytes, or of more than `max_bytes`.

    Raises:
        PhotoError: empty, or too large.
    """
    if length > max_bytes:
        raise PhotoError(
            path,
            Reason.TOO_LARGE,
            f"has {length / 1e6:.1f} megabytes, over the limit of {max_bytes / 1e6:g}; "
            "raise the limit or shrink the photo.",
        )
    if not length:
        raise PhotoError(path, Reason.EMPTY, "is empty; copy it again or remove it.")


_NO_MEMORY = "does not fit into memory now; close other programs, or use fewer threads."
_PILLOW = r"PIL\."

# The errors of Pillow's decoders on broken bytes.
_DECODER_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def decode_photo(
    content: bytes,
    path: Path,
    limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
    *,
    least_side: int | None = None,
) -> Photo:
    """Return the photo that is encoded in `content`, the bytes of a file.

    EXIF orientation is applied. Of an animation the first frame is returned.

    Args:
        path: for messages; it is not opened.
        least_side: decode a JPEG at the smallest of 1/8, 1/4, 1/2 and 1 of its size whose longest
            side has so many pixels; several times as fast. Other formats are decoded in full.

    Raises:
        PhotoError: with the reason code and one sentence.
    """
    check_length(path, len(content), limits.max_bytes)
    photo_format = format_of(content)
    if photo_format is None:
        raise PhotoError(path, Reason.NOT_A_PHOTO, "is not an image that can be read; remove it.")
    _register(photo_format, path)
    _silence_pillow()
    if limits.max_pixels > 2 * (Image.MAX_IMAGE_PIXELS or limits.max_pixels):
        Image.MAX_IMAGE_PIXELS = limits.max_pixels  # Pillow refuses at twice its own limit
    try:
        image = Image.open(io.BytesIO(content), formats=(photo_format.pillow_name,))
        stored = image.size
        _check_size(path, stored, limits)
        if least_side is not None:
            _reduce(image, least_side)
        is_reduced = image.size != stored
        image.load()
        orientation = orientation_of(image)
        pixels = to_rgb(upright(image, orientation))
    except Image.DecompressionBombError:
        limit = f"has more than the limit of {limits.max_pixels / 1e6:g} megapixels"
        raise PhotoError(
            path, Reason.TOO_LARGE, f"{limit}; raise the limit or shrink the photo."
        ) from None
    except MemoryError:
        raise PhotoError(path, Reason.UNREADABLE, _NO_MEMORY, transient=True) from None
    except _DECODER_ERRORS as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        broken = "image" if isinstance(error, UnidentifiedImageError) else f"image ({why})"
        raise PhotoError(
            path, Reason.UNREADABLE, f"is a broken {broken}; copy it again or remove it."
        ) from None
    size = (pixels.shape[1], pixels.shape[0])
    if is_reduced:
        size = stored[::-1] if orientation in SIDEWAYS else stored
    photo_id = hashlib.sha256(content).hexdigest()
    return Photo(pixels, photo_format.name, photo_id, size, orientation)


def _register(photo_format: PhotoFormat, path: Path) -> None:
    try:
        photo_format.register()
    except ImportError:
        raise PhotoError(
            path,
            Reason.UNREADABLE,
            f"is {photo_format.name}, which needs the extra `{photo_format.extra}`; "
            f"pip install 'faceops[{photo_format.extra}]'.",
        ) from None


def _check_size(path: Path, size: tuple[int, int], limits: PhotoLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise PhotoError(
            path,
            Reason.TOO_LARGE,
            f"has {width} x {height} pixels, over the limit of {limits.max_pixels / 1e6:g} "
            "megapixels; raise the limit or shrink the photo.",
        )
    if min(width, height) < limits.min_side:
        raise PhotoError(
            path,
            Reason.TOO_SMALL,
            f"has {width} x {height} pixels, and each side needs {limits.min_side}; "
            "use a larger copy.",
        )


def _silence_pillow() -> None:
    """Ignore Pillow's warnings about odd files: reasons replace them."""
    # Adding the filter again would make Python repeat warnings of other libraries.
    if not any(getattr(entry[3], "pattern", "") == _PILLOW for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW)


def _reduce(image: Image.Image, least_side: int) -> None:
    """Choose the scale at which a JPEG is decoded; `draft` does nothing for other formats."""
    width, height = image.size
    share = least_side / max(width, height)
    if share < 1:
        image.draft(None, (int(width * share) or 1, int(height * share) or 1))
