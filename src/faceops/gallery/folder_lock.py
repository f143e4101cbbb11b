"""One writer at a time in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faceops.base.errors import FaceOpsError

LOCK_FILE = ".lock"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` (made if absent) for this process.

    The operating system lets go of the lock when the process ends, however it ends.

    Raises:
        FaceOpsError: another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Append mode: opening must not wipe the pid of the process that holds the lock.
        file = (folder / LOCK_FILE).open("a+", encoding="ascii")
    except OSError as error:
        raise FaceOpsError(
            f"{folder} cannot be written ({error.strerror}); choose another folder."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise FaceOpsError(
                f"{folder} is in use by another faceops process (pid {holder}); "
                "wait until it has ended, or choose another folder."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
