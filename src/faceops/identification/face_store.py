"""Faces found by earlier runs: a photo that has not changed is not opened again.

SQLite in the output folder. A photo is known by its bytes (sha256) and by the contract that found
and embedded its faces; a file is known by path, size and modification time, so that unchanged
files are not even read. It is a cache: deleting it costs only time. It holds biometric data.
"""

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

from faceops.errors import FaceOpsError
from faceops.identification.found_photo import FoundFace, FoundPhoto
from faceops.photos.open_photo import PhotoLimits
from faceops.reasons import Reason
from faceops.release.contract import Release

SCHEMA_VERSION = 2
BUSY_S = 60.0  # how long to wait for another process that writes
_TABLES = """
CREATE TABLE files (path BLOB PRIMARY KEY, root BLOB, size INTEGER, mtime_ns INTEGER,
                    photo_id TEXT NOT NULL);
CREATE TABLE photos (photo_id TEXT, method TEXT, reason TEXT, decoder TEXT, width INTEGER,
                     height INTEGER, orientation INTEGER,
                     PRIMARY KEY (photo_id, method));
CREATE TABLE faces (photo_id TEXT, method TEXT, face_index INTEGER, x REAL, y REAL, width REAL,
                    height REAL, detector_score REAL, quality REAL, embedding BLOB, thumbnail BLOB,
                    PRIMARY KEY (photo_id, method, face_index));
"""


class SeenFile(NamedTuple):
    """A file as it was when its photo was looked at."""

    path: Path
    size: int
    mtime_ns: int


def method_id(release: Release, limits: PhotoLimits, detail: int) -> str:
    """Return the sha256 of all that decides which faces a photo's bytes give."""
    content = {
        "contract_id": release.contract_id,
        "detector_size": release.alignment.detector_size,
        "detector_threshold": release.alignment.detector_threshold,
        "detail": detail,
        "limits": str(limits),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def decoder_id() -> str:
    """Name what opens photos here: a photo that one decoder cannot open another one may."""
    heif = "+heif" if find_spec("pillow_heif") else ""
    return f"pillow {PIL.__version__}{heif}"


class FaceStore:
    """The faces of one method (see `method_id`); safe to ask from several threads.

    Raises:
        FaceOpsError: the file is damaged or cannot be written; from every method too.
    """

    def __init__(self, path: Path, method: str) -> None:
        self._path = path
        self._method = method
        self._decoder = decoder_id()
        self._lock = threading.Lock()
        with self._errors():
            self._db = sqlite3.connect(
                path, timeout=BUSY_S, check_same_thread=False, isolation_level=None
            )
            self._db.execute("PRAGMA synchronous=NORMAL")
            # Inside the transaction: of two processes that start at once, one makes the tables.
            with self._transaction():
                version = self._db.execute("PRAGMA user_version").fetchone()[0]
                if version != SCHEMA_VERSION:
                    for name in _NAMES:
                        self._db.execute(f"DROP TABLE IF EXISTS {name}")
                    for statement in filter(str.strip, _TABLES.split(";")):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def photo_id_of(self, file: SeenFile) -> str | None:
        """Return the photo_id of a file that has not changed since it was seen, else None."""
        with self._errors(), self._lock:
            row = self._db.execute(
                "SELECT photo_id FROM files WHERE path=? AND size=? AND mtime_ns=?",
                (os.fsencode(file.path), file.size, file.mtime_ns),
            ).fetchone()
        return row[0] if row else None

    def load(self, photo_id: str) -> FoundPhoto | None:
        """Return what was found in the photo, None when it was not seen by this method."""
        with self._errors(), self._lock:
            row = self._db.execute(
                "SELECT reason, decoder, width, height, orientation FROM photos "
                "WHERE photo_id=? AND method=?",
                (photo_id, self._method),
            ).fetchone()
            if row is None or row[1] not in (None, self._decoder):
                return None
            faces = self._db.execute(
                "SELECT x, y, width, height, detector_score, quality, embedding, thumbnail "
                "FROM faces WHERE photo_id=? AND method=? ORDER BY face_index",
                (photo_id, self._method),
            ).fetchall()
        return FoundPhoto(
            photo_id,
            Reason(row[0]) if row[0] else None,
            tuple(
                FoundFace(
                    box=face[:4],
                    detector_score=face[4],
                    quality=face[5],
                    embedding=np.frombuffer(face[6], np.float32),
                    thumbnail=face[7],
                )
                for face in faces
            ),
            size=row[2:4],
            orientation=row[4],
        )

    def save(self, root: Path, seen: Iterable[tuple[SeenFile, FoundPhoto, bool]]) -> None:
        """Keep photos in one transaction: each file, what was found, and whether that is new."""
        with self._errors(), self._lock, self._transaction():
            for file, photo, is_new in seen:
                if photo.photo_id is None:
                    continue
                self._db.execute(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                    (
                        os.fsencode(file.path), os.fsencode(root), file.size, file.mtime_ns,
                        photo.photo_id,
                    ),
                )  # fmt: skip
                if is_new:
                    self._insert(photo)

    def forget_vanished(self, root: Path, present: Iterable[Path]) -> None:
        """Drop the files below `root` that are not `present`, and photos that no file has."""
        with self._errors(), self._lock, self._transaction():
            self._db.execute("CREATE TEMP TABLE present (path BLOB PRIMARY KEY)")
            self._db.executemany(
                "INSERT OR IGNORE INTO present VALUES (?)",
                ((os.fsencode(path),) for path in present),
            )
            self._db.execute(
                "DELETE FROM files WHERE root=? AND path NOT IN (SELECT path FROM present)",
                (os.fsencode(root),),
            )
            for table in ("photos", "faces"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE photo_id NOT IN (SELECT photo_id FROM files)"
                )
            self._db.execute("DROP TABLE present")

    def _insert(self, photo: FoundPhoto) -> None:
        key = (photo.photo_id, self._method)
        self._db.execute("DELETE FROM faces WHERE photo_id=? AND method=?", key)
        opened = photo.faces or photo.reason is Reason.NO_FACE
        decoder = None if opened else self._decoder
        reason = str(photo.reason) if photo.reason else None
        self._db.execute(
            "INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key, reason, decoder, *photo.size, photo.orientation),
        )
        self._db.executemany(
            "INSERT INTO faces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    *key, index, *face.box, face.detector_score, face.quality,
                    face.embedding.astype(np.float32).tobytes(), face.thumbnail,
                )
                for index, face in enumerate(photo.faces)
            ),
        )  # fmt: skip

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise FaceOpsError(
                f"{self._path} cannot be used ({error}); delete it, and the photos are opened anew."
            ) from None


_NAMES = ("files", "photos", "faces")
