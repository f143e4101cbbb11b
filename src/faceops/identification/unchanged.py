"""Has anything changed since the latest run? If not, its results stand, and nothing is redone."""

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceops.gallery.store import Gallery
from faceops.identification.engine import NamedPhoto
from faceops.identification.output_folder import PUBLISHED
from faceops.identification.records import SCHEMA
from faceops.identification.summary import Summary, read_summary

NO_FILE = (-1, -1)  # size and time of what is none, or is gone


def fingerprint(gallery: Gallery, **settings: Any) -> str:
    """Return the sha256 of all that decides a run's rows, apart from the photos themselves.

    Args:
        settings: further values, each with a text that says all of it.
    """
    stated = {name: str(value) for name, value in settings.items()}
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
    digest.update(json.dumps([SCHEMA.names, gallery.persons]).encode())
    digest.update(gallery.embeddings.tobytes())
    return digest.hexdigest()


class FolderDigest:
    """The sha256 of the files that a run looked at: paths, sizes and modification times."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, path: Path, size: int, mtime_ns: int) -> None:
        """Take in the next file, in the order of the walk."""
        self._digest.update(os.fsencode(path) + f"\0{size}\0{mtime_ns}\0".encode())

    def add_named(self, named: NamedPhoto) -> None:
        """Take in the next photo of a run as it was when it was looked at."""
        file = named.file
        self.add(named.path, *((file.size, file.mtime_ns) if file else NO_FILE))

    def hexdigest(self) -> str:
        """Return the digest so far."""
        return self._digest.hexdigest()


def run_that_stands(out: Path, decided_by: str, paths: Sequence[Path]) -> Summary | None:
    """Return the latest run into `out` if a new one would write the same rows, else None.

    That is so when it was decided by the same `fingerprint`, its files are all there, and `paths`
    are the files that this very run looked at, by path, size and modification time. What the
    state knows does not count: shards and runs that were cut short fill it without any results.
    """
    try:
        latest = read_summary(out)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # there is none, or another version's
    if latest.decided_by != decided_by or not all((out / name).is_file() for name in PUBLISHED):
        return None
    now = FolderDigest()
    for path in paths:
        now.add(path, *_size_and_time(path))
    return latest if now.hexdigest() == latest.saw else None


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return NO_FILE
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else NO_FILE
