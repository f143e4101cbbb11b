"""What is said when the state of an output folder cannot be used: hours of work may lie in it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faceops.base.errors import FaceOpsError

_DELETE = (
    "delete it, and the photos are opened anew; numbers of unknown people begin again, and faces "
    "that people forget removed have to be forgotten anew"
)
_SPACE = "free some space or check the disk; the next run continues where this one stopped"
_WAIT = "another process is writing to it: run this again when that one has ended"
_PERMIT = "give this user permission to write it and its folder"
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _DELETE,
    sqlite3.SQLITE_NOTADB: _DELETE,
    sqlite3.SQLITE_FULL: _SPACE,
    sqlite3.SQLITE_IOERR: _SPACE,
    sqlite3.SQLITE_BUSY: _WAIT,
    sqlite3.SQLITE_LOCKED: _WAIT,
    sqlite3.SQLITE_READONLY: _PERMIT,
    sqlite3.SQLITE_CANTOPEN: _PERMIT,
    sqlite3.SQLITE_PERM: _PERMIT,
}
_OTHER = "run this again; if it stays so, move the file away, and the photos are opened anew"
_PRIMARY = 0xFF  # the rest of a result code tells variants apart


@contextmanager
def state_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises about the state `path` into a sentence that tells what to do.

    Raises:
        FaceOpsError: it is damaged, locked, or cannot be read or written.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
        advice = _ADVICE.get(code, _OTHER)
        raise FaceOpsError(f"{path} cannot be used ({error}); {advice}.") from None
