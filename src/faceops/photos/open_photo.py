"""Decode one photo safely: whatever its bytes are, pixels or a reason come out."""

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

from faceops.base.errors import FaceOpsError
from faceops.base.reasons import Reason
from faceops.photos.formats import FORMATS, claims_a_format, claims_heif, public_name
from faceops.photos.pixels import SIDEWAYS, orientation_of, to_rgb, upright


class PhotoError(FaceOpsError):
    """A photo that cannot be used: one sentence for the user, a reason code for its row.

    `sentence` is the part after the file's name, such as "is empty; copy it again or remove it."
    `transient` when the file's bytes are not to blame (the disk, permissions, memory): the same
    bytes may open another time.
    """

    def __init__(
        self, path: Path, reason: Reason, sentence: str, *, transient: bool = False
    ) -> None:
        super().__init__(f"{printable(path)} {sentence}")
        self.sentence = sentence
        self.reason = reason
        self.transient = transient


def printable(path: Path) -> str:
    """Return `path` on one line: control characters and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))


# Opening a named pipe without this would wait for a writer.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def photo_bytes(path: Path, max_bytes: int) -> bytes:
    """Return the content of the regular file `path`, at most `max_bytes`.

    Raises:
        PhotoError: gone, no permission, not a regular file, empty, or too large.
    """
    try:
        _refuse_non_files(path, path.stat())
        descriptor = os.open(path, _FLAGS)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)  # again: the name may point elsewhere by now
            _refuse_non_files(path, status)
            if status.st_size > max_bytes:
                raise _too_large(path, status.st_size, max_bytes)
            content = file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise PhotoError(
            path, Reason.VANISHED, "is gone; list the folder again.", transient=True
        ) from None
    except PermissionError:
        raise PhotoError(
            path,
            Reason.UNREADABLE,
            "may not be read; give this user permission to read it.",
            transient=True,
        ) from None
    except MemoryError:
        raise PhotoError(
            path,
            Reason.UNREADABLE,
            "does not fit into memory now; close other programs, or use fewer threads.",
            transient=True,
        ) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise PhotoError(
            path,
            Reason.UNREADABLE,
            f"cannot be read ({why}); check the disk or the link.",
            transient=True,
        ) from None
    check_length(path, len(content), max_bytes)
    return content


def check_length(path: Path, length: int, max_bytes: int) -> None:
    """Refuse a photo of no bytes, or of more than `max_bytes`.

    Raises:
        PhotoError: empty, or too large.
    """
    if length > max_bytes:
        raise _too_large(path, length, max_bytes)
    if not length:
        raise PhotoError(path, Reason.EMPTY, "is empty; copy it again or remove it.")


def _refuse_non_files(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        if not os.access(path, os.R_OK | os.X_OK):
            raise PhotoError(
                path,
                Reason.UNREADABLE,
                "is a folder that may not be listed; give this user permission to read it.",
                transient=True,
            )
        raise PhotoError(
            path, Reason.NOT_A_PHOTO, "is a folder, not a photo; name a file.", transient=True
        )
    raise PhotoError(
        path,
        Reason.NOT_A_PHOTO,
        "is a pipe, socket or device, not a photo; remove it.",
        transient=True,
    )


def _too_large(path: Path, size: int, max_bytes: int) -> PhotoError:
    return PhotoError(
        path,
        Reason.TOO_LARGE,
        f"has {size / 1e6:.1f} megabytes, over the limit of {max_bytes / 1e6:g}; "
        "raise the limit or shrink the photo.",
    )


@dataclass(frozen=True)
class PhotoLimits:
    """Limits on one photo.

    Attributes:
        max_pixels: width times height, read from the header before anything is decoded.
        max_bytes: of the file, before it is read.
        min_side: smallest width or height in pixels.
    """

    max_pixels: int = 100_000_000
    max_bytes: int = 50_000_000
    min_side: int = 16


_PILLOW = r"PIL\."

# What Pillow's decoders let through when the bytes are broken.
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


@dataclass(frozen=True, eq=False)
class Photo:
    """An opened photo.

    Attributes:
        pixels: uint8 (H, W, 3) RGB in sRGB, upright.
        format: as Pillow names it: "JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF".
        photo_id: sha256 of the file's bytes, hexadecimal.
        size: width and height of the upright photo in pixels; `pixels` may be a reduced copy.
        orientation: EXIF's, 1 to 8, which is undone in `pixels`; 1 where the file has none.
    """

    pixels: np.ndarray
    format: str
    photo_id: str
    size: tuple[int, int]
    orientation: int = 1


def decode_photo(
    content: bytes,
    path: Path,
    limits: PhotoLimits = PhotoLimits(),
    *,
    least_side: int | None = None,
) -> Photo:
    """Return the photo that a file's bytes `content` are; they decide the format, not the name.

    EXIF orientation is applied; the first frame of an animation is taken. With `least_side` a
    JPEG is decoded at the smallest of 1/8, 1/4, 1/2 and 1 of its size whose longest side has so
    many pixels: several times as fast. `path` is what sentences call the photo; it is not opened.

    Raises:
        PhotoError: with the reason code and one sentence.
    """
    check_length(path, len(content), limits.max_bytes)
    _quieten_pillow()
    if limits.max_pixels > 2 * (Image.MAX_IMAGE_PIXELS or limits.max_pixels):
        Image.MAX_IMAGE_PIXELS = limits.max_pixels  # Pillow refuses at twice its own limit
    try:
        image = _identified(path, content)
        stored = image.size
        _check_size(path, stored, limits)
        reduced = least_side is not None and _reduce(image, least_side)
        image.load()
        orientation = orientation_of(image)
        pixels = to_rgb(upright(image, orientation))
    except Image.DecompressionBombError:
        raise PhotoError(
            path,
            Reason.TOO_LARGE,
            f"has more than the limit of {limits.max_pixels / 1e6:g} megapixels; "
            "raise the limit or shrink the photo.",
        ) from None
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError(
            path,
            Reason.UNREADABLE,
            "does not fit into memory now; close other programs, or use fewer threads.",
            transient=True,
        ) from None
    except _DECODER_ERRORS as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise PhotoError(
            path, Reason.UNREADABLE, f"is broken ({why}); copy it again or remove it."
        ) from None
    size = (pixels.shape[1], pixels.shape[0])
    if reduced:
        size = stored[::-1] if orientation in SIDEWAYS else stored
    photo_id = hashlib.sha256(content).hexdigest()
    return Photo(pixels, public_name(image.format or ""), photo_id, size, orientation)


def _identified(path: Path, content: bytes) -> Image.Image:
    formats = FORMATS
    if claims_heif(content):
        _register_heif(path)
        formats = ("HEIF",)
    try:
        return Image.open(io.BytesIO(content), formats=formats)
    except UnidentifiedImageError:
        if claims_a_format(content):
            raise PhotoError(
                path, Reason.UNREADABLE, "is a broken image; copy it again or remove it."
            ) from None
        raise PhotoError(
            path, Reason.NOT_A_PHOTO, "is not an image that can be read; remove it."
        ) from None


def _register_heif(path: Path) -> None:
    try:
        import pillow_heif
    except ImportError:
        raise PhotoError(
            path,
            Reason.UNREADABLE,
            "is HEIC, which needs the extra `heic`; pip install 'faceops[heic]'.",
        ) from None
    pillow_heif.register_heif_opener()


def _reduce(image: Image.Image, least_side: int) -> bool:
    """Let a JPEG be decoded at a part of its size, if it may; other formats know no such thing."""
    full = image.size
    share = least_side / max(full)
    if share < 1:
        image.draft(None, (int(full[0] * share) or 1, int(full[1] * share) or 1))
    return image.size != full


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


def _quieten_pillow() -> None:
    """Hide Pillow's warnings on odd files: limits and reasons say what there is to say."""
    for entry in warnings.filters:
        if getattr(entry[3], "pattern", "") == _PILLOW:
            return
    warnings.filterwarnings("ignore", module=_PILLOW)


def open_photo(
    path: Path,
    limits: PhotoLimits = PhotoLimits(),
    *,
    least_side: int | None = None,
) -> Photo:
    """Return the photo in the file `path`, as `decode_photo` does of its bytes.

    Raises:
        PhotoError: with the reason code and one sentence.
    """
    return decode_photo(photo_bytes(path, limits.max_bytes), path, limits, least_side=least_side)
