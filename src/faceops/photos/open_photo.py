"""Open one photo safely: any file gives its pixels or a reason."""

import hashlib
import io
import logging
import math
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from faceops.base.errors import FaceOpsError, ShortageError, printable, shortage
from faceops.base.reasons import Reason
from faceops.base.stores import is_url, shown, split
from faceops.photos import pixels
from faceops.photos.formats import PhotoFormat, PhotoLimits, format_of, unread_format


@dataclass(frozen=True, eq=False)
class Photo:
    pixels: np.ndarray  # uint8 (H, W, 3) RGB in sRGB, upright
    format: str  # the name of its `formats.PhotoFormat`, such as "JPEG"
    photo_id: str  # sha256 of the file's bytes, hexadecimal
    # Width and height of the upright photo in pixels; `pixels` may be a reduced copy
    size: tuple[int, int]
    orientation: int = 1  # stated by the file, see `orientation_of`; it is undone in `pixels`
    is_draft: bool = False  # whether `pixels` would be larger without `least_side`

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the photo at its full size per pixel of `pixels`, in x and y."""
        height, width = self.pixels.shape[:2]
        return self.size[0] / width, self.size[1] / height


class PhotoError(FaceOpsError):
    """A photo that cannot be used."""

    def __init__(
        self, path: Path, reason: Reason, sentence: str, *, transient: bool = False
    ) -> None:
        super().__init__(f"{printable(shown(path))} {sentence}")
        self.sentence = sentence  # the message after the file's name
        self.reason = reason
        # The cause is the disk, permissions or memory: the same bytes may open another time.
        self.transient = transient


class PhotoShortageError(PhotoError, ShortageError):
    """A photo that cannot be opened because the machine lacks memory, open files or the like."""


def open_photo(
    path: Path,
    limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
    *,
    least_side: int | None = None,
) -> Photo:
    """Return the photo in the file `path`, see `decode_photo`.

    Raises PhotoError: with the reason code and one sentence.
    """
    try:
        is_large = path.stat().st_size > LARGE_FILE
    except (OSError, ValueError):
        is_large = False  # opening it gives the reason
    with one_at_a_time(is_large):
        content = photo_bytes(path, limits.max_bytes)
        return decode_photo(content, path, limits, least_side=least_side)


def photo_bytes(path: Path, max_bytes: int) -> bytes:
    """Return the content of the regular file, or of the object in a store, `path`.

    Raises PhotoError: gone, no permission, not a regular file, empty, or more than `max_bytes`.
    """
    with open_file(path, max_bytes) as file:
        content = file.read(max_bytes + 1)
        check_length(path, len(content), max_bytes)
        return content


def hash_photo(path: Path, max_bytes: int) -> str:
    """Return the `photo_id` of the file `path`: the sha256 of its bytes, hexadecimal.

    Raises PhotoError: as `photo_bytes`.
    """
    with open_file(path, max_bytes) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


OpenFile = io.BufferedReader | io.BytesIO

# Memory does not grow with the number of threads that meet larger photos than these: one thread of
# a process at a time reads and decodes one, and a photo of more pixels is then reduced to so many.
LARGE_FILE = 50_000_000  # bytes
FULL_PIXELS = 100_000_000
_LARGE_PHOTO = threading.RLock()


def one_at_a_time(is_large: bool) -> AbstractContextManager[object]:
    """Wait until no other thread reads or decodes a large photo, if this one is."""
    return _LARGE_PHOTO if is_large else nullcontext()


@contextmanager
def open_file(path: Path, max_bytes: int, *, whole: bool = True) -> Iterator[OpenFile]:
    """Open the regular file `path` of a photo; errors as of `photo_bytes`.

    Of an object in a store at most `max_bytes` + 1 are read, at once, or without `whole` in blocks.
    """
    try:
        if is_url(path):
            yield _open_object(path, max_bytes, whole)
            return
        _require_regular_file(path, path.stat())
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())  # again: the name may have another file by now
            _require_regular_file(path, status)
            check_length(path, status.st_size, max_bytes)
            yield file
            return
    except (FileNotFoundError, NotADirectoryError):
        reason, sentence = Reason.VANISHED, "is gone; list the folder again."
    except PermissionError:
        reason = Reason.UNREADABLE
        sentence = "may not be read; give this user permission to read it."
    except MemoryError:
        raise no_memory(path) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        sentence = f"cannot be read ({why}); check the disk or the link."
        kind = PhotoShortageError if shortage(error) else PhotoError
        raise kind(path, Reason.UNREADABLE, sentence, transient=True) from None
    raise PhotoError(path, reason, sentence, transient=True)


def _open_object(path: Path, max_bytes: int, whole: bool) -> OpenFile:
    store, name = split(path)
    if not whole and (entry := store.entry(name)):
        return store.open(name, entry.size)
    return io.BytesIO(store.read(name, max_bytes + 1))


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

    Raises PhotoError: empty, or too large.
    """
    if length > max_bytes:
        raise PhotoError(
            path,
            Reason.TOO_LARGE,
            f"has {length / 1e6:.1f} megabytes, over the limit of {max_bytes / 1e6:g}; raise it by "
            "--max-megabytes (in params.yaml: validate.max_megabytes) or shrink the photo.",
        )
    if not length:
        raise PhotoError(path, Reason.EMPTY, "is empty; copy it again or remove it.")


# A decoder needs at most so many bytes a pixel, for its own coefficients and the RGB image.
_BYTES_PER_PIXEL = 8
_BYTES_BESIDE = 32_000_000
_PILLOW = r"PIL\."

# The errors of Pillow's decoders on broken bytes.
DECODER_ERRORS = (
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

    Its orientation is applied. Of an animation the first frame is returned. A JPEG is decoded at
    the smallest of 1/8, 1/4, 1/2 and 1 of its size whose `scaled_side` has `least_side` pixels,
    several times as fast; other formats are decoded in full. A photo of more than FULL_PIXELS is
    reduced to so many in any case. `path` is for messages; it is not opened.

    Raises PhotoError: with the reason code and one sentence.
    """
    check_length(path, len(content), limits.max_bytes)
    photo_format = format_in(content, path)
    silence_pillow()
    Image.MAX_IMAGE_PIXELS = None  # the limit below, which knows at which size a JPEG is decoded
    decoded = (0, 0)
    try:
        stated = photo_format.size(content) if photo_format.size else (limits.min_side,) * 2
        _check_size(path, stated, stated, limits)
        with one_at_a_time(math.prod(stated) > FULL_PIXELS):
            opened = Image.open(io.BytesIO(content), formats=(photo_format.name,))
        stored = opened.size
        is_draft = pixels.choose_scale(opened, least_side, min(limits.max_pixels, FULL_PIXELS))
        opened_size = opened.size
        decoded = opened.size if pixels.is_single_scan(content) else stored
        _check_size(path, stored, decoded, limits)
        if not _fits_into_memory(decoded):
            raise MemoryError
        with one_at_a_time(math.prod(opened.size) > FULL_PIXELS):
            orientation = pixels.orientation_of(opened) if photo_format.decoder_turns else 1
            opened.load()
            size = stored
            if not photo_format.decoder_turns:
                orientation = pixels.orientation_of(opened)
                size = size[::-1] if orientation in pixels.SIDEWAYS else size
            elif opened_size == stored:  # else a thumbnail in it was opened
                size = opened.size
            image = pixels.within(opened, FULL_PIXELS)
        if not photo_format.decoder_turns:
            image = pixels.upright(image, orientation)
        rgb = pixels.to_rgb(image)
    except MemoryError:
        raise no_memory(path) from None
    except DECODER_ERRORS as error:
        # Without memory, most decoders report broken bytes: "broken data stream".
        if shortage(error) or not _fits_into_memory(decoded):
            raise no_memory(path) from None
        raise broken_photo(path, error) from None
    photo_id = hashlib.sha256(content).hexdigest()
    return Photo(rgb, photo_format.name, photo_id, size, orientation, is_draft)


def broken_photo(path: Path, error: Exception) -> PhotoError:
    """Return the error for one of DECODER_ERRORS."""
    why = (str(error).splitlines() or [type(error).__name__])[0]
    broken = "image" if isinstance(error, UnidentifiedImageError) else f"image ({why})"
    return PhotoError(path, Reason.UNREADABLE, f"is a broken {broken}; copy it again or remove it.")


def no_memory(path: Path) -> PhotoShortageError:
    """Return the error for a photo that does not fit into memory, or the like."""
    sentence = "does not fit into memory now; close other programs, or use fewer threads."
    return PhotoShortageError(path, Reason.UNREADABLE, sentence, transient=True)


def _fits_into_memory(size: tuple[int, int]) -> bool:
    """Return whether there is memory to decode a photo of `size`, width and height in pixels."""
    try:
        np.empty(_BYTES_PER_PIXEL * size[0] * size[1] + _BYTES_BESIDE, np.uint8)  # not touched
    except MemoryError:
        return False
    return True


def format_in(content: bytes, path: Path) -> PhotoFormat:
    """Return the format of a file that begins with `content`, and register its plug-in.

    Raises PhotoError: it is not read, or needs an extra.
    """
    photo_format = format_of(content, path.suffix)
    if photo_format is None:
        reason, sentence = Reason.NOT_A_PHOTO, "is not an image that can be read; remove it."
        name, is_video = unread_format(content)
        if is_video:
            pattern = printable(f"*{path.suffix}" if path.suffix else path.name)
            sentence = f"is a video ({name}), not a photo; --exclude '{pattern}' skips such files."
        elif name:
            reason = Reason.UNSUPPORTED_FORMAT
            sentence = f"is a picture in the format {name}, which is not read; save it as JPEG."
        raise PhotoError(path, reason, sentence)
    try:
        photo_format.register()
    except ImportError as error:
        if shortage(error):
            raise no_memory(path) from None
        raise PhotoError(
            path,
            Reason.UNSUPPORTED_FORMAT,
            f"is {photo_format.name}, which needs the extra `{photo_format.extra}`; "
            f"pip install 'faceops[{photo_format.extra}]'.",
        ) from None
    return photo_format


def _check_size(
    path: Path, size: tuple[int, int], decoded: tuple[int, int], limits: PhotoLimits
) -> None:
    width, height = size
    if math.prod(decoded) > limits.max_pixels:
        raise PhotoError(
            path,
            Reason.TOO_LARGE,
            f"has {width} x {height} pixels, over the limit of {limits.max_pixels / 1e6:g} "
            "megapixels; raise it by --max-megapixels (in params.yaml: validate.max_megapixels) or "
            "shrink the photo.",
        )
    if min(width, height) < limits.min_side:
        raise PhotoError(
            path,
            Reason.TOO_SMALL,
            f"has {width} x {height} pixels, and each side needs {limits.min_side}; "
            "use a larger copy.",
        )


def silence_pillow() -> None:
    """Ignore what Pillow warns of and logs about odd files: reasons replace it."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # Adding the filter again would make Python repeat warnings of other libraries.
    if not any(getattr(entry[3], "pattern", "") == _PILLOW for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW)
