"""One import at a time into a data folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faceops.base.errors import FaceOpsError


@contextmanager
def writing_lock(data: Path) -> Iterator[None]:
    """Hold the folder `data`, made if absent, for this process; one left empty is removed.

    The folder itself is locked: a lock file in it would be part of what DVC hashes.

    Raises:
        FaceOpsError: another process holds it, or it cannot be made.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        folder = os.open(data, os.O_RDONLY)
    except OSError as error:
        raise FaceOpsError(f"{data} cannot be used ({error.strerror}); choose another.") from None
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FaceOpsError(
                f"another import into {data} is running; wait until it has ended."
            ) from None
        try:
            yield
        finally:
            with suppress(OSError):  # only if nothing is in it
                data.rmdir()
    finally:
        os.close(folder)
