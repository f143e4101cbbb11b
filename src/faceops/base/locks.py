"""A lock file that one process at a time holds, and that says who holds it."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from faceops.base.errors import FaceOpsError


@contextmanager
def process_lock(path: Path, busy: str) -> Iterator[None]:
    """Hold the file `path`, made if absent, for this process.

    The operating system lets go of the lock when the process ends, however it ends: what a killed
    one wrote into the file holds nobody up.

    Args:
        busy: what another process does that holds it, for the sentence; "it is being rebuilt".

    Raises:
        FaceOpsError: another process holds it, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Append mode: opening must not wipe what the holder wrote.
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise FaceOpsError(f"{path} cannot be written ({error.strerror}).") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FaceOpsError(
                f"{busy} by another process ({_holder(file.read())}); wait until it has ended."
            ) from None
        except OSError as error:  # such as a network share without locks
            raise FaceOpsError(f"{path} cannot be locked ({error.strerror}).") from None
        _note(file)
        try:
            yield
        finally:
            with suppress(OSError):
                file.truncate(0)


def _note(file: IO[str]) -> None:
    """Write who holds the lock; on a full disk it is held all the same."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), json.dumps(holder).encode())


def _holder(text: str) -> str:
    try:
        content = json.loads(text)
        return f"pid {content['pid']} on {content['host']}, since {content['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock, and is about to write
        return "just started"
