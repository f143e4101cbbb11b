"""Read a file's bytes once, without ever blocking on something that is no file."""

import os
import stat
from pathlib import Path

from faceops.base.reasons import Reason
from faceops.photos.photo_error import PhotoError

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
