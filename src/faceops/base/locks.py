"""Locks between processes, on files that name the process that holds them."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import lock_descriptor

from faceops.base.errors import FaceOpsError, InUseError
from faceops.base.files import write_error


@contextmanager
def file_lock(path: Path, busy: str, advice: str = "wait until it has ended") -> Iterator[None]:
    """Lock `path` for this process, or fail at once.

    The operating system releases the lock when the process ends, even when it is killed.

    Args:
        path: a lock file, created if absent, which names the process that holds it; or an existing
            folder, which cannot.
        busy: the beginning of the error message, such as "DIR is being rebuilt".
        advice: the end of it: what the user can do.

    Raises:
        InUseError: another process holds it.
        FaceOpsError: the file cannot be written or locked.
    """
    is_folder = path.is_dir()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise write_error(path, error) from None
    try:
        try:
            if not lock_descriptor(descriptor, blocking=False):
                holder = "" if is_folder else _holder(descriptor)
                raise InUseError(f"{busy} by another faceops process{holder}; {advice}.")
        except OSError as error:  # such as a network share without locks
            raise FaceOpsError(f"{path} cannot be locked ({error.strerror}).") from None
        if is_folder:
            yield
            return
        since = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with suppress(OSError):  # on a full disk the lock works without the note
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(note).encode(), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.truncate(descriptor, 0)
    finally:
        os.close(descriptor)  # releases the lock


def folder_lock(folder: Path) -> AbstractContextManager[None]:
    """Lock `folder`, created if absent, by its file `.lock`, see `file_lock`."""
    advice = "wait until it has ended, or choose another folder"
    return file_lock(folder / ".lock", f"{folder} is in use", advice)


def _holder(descriptor: int) -> str:
    try:
        note = json.loads(os.pread(descriptor, 1000, 0))
        return f" (pid {note['pid']} on {note['host']}, since {note['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ", which has just started"  # and is about to write its note
