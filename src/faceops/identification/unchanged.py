"""Has anything changed since the latest run? If not, its results stand, and nothing is redone."""

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceops.gallery.store import Gallery
from faceops.identification.face_store import FaceStore
from faceops.identification.output_folder import PUBLISHED, SUMMARY_FILE
from faceops.identification.records import SCHEMA
from faceops.identification.summary import Summary


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


def run_that_stands(
    out: Path, decided_by: str, store: FaceStore, root: Path, paths: Sequence[Path]
) -> Summary | None:
    """Return the latest run into `out` if a new one would write the same rows, else None.

    That is so when it was decided by the same `fingerprint`, its files are all there, and the
    files below `root` are those that it saw, by path, size and modification time.
    """
    try:
        latest = Summary.from_dict(json.loads((out / SUMMARY_FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None  # there is none, or another version's
    if latest.decided_by != decided_by or not all((out / name).is_file() for name in PUBLISHED):
        return None
    now = sorted(map(os.fsencode, paths))
    seen = store.seen_below(root)
    for path in now:
        if next(seen, None) != (path, *_size_and_time(path)):
            return None
    return latest if next(seen, None) is None else None


def _size_and_time(path: bytes) -> tuple[int, int]:
    try:
        status = Path(os.fsdecode(path)).stat()
    except OSError:
        return -1, -1
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (-1, -1)
