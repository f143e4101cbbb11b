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
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceops.errors import FaceOpsError
from faceops.identification.found_photo import FoundFace, FoundPhoto
from faceops.photos.decoder_id import decoder_id
from faceops.photos.photo_limits import PhotoLimits
from faceops.reasons import Reason
from faceops.release.contract import Release

SCHEMA_VERSION = 2
NOT_READ = ""  # photo_id of a file that is empty or too large: it has a size and a time, no photo
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

    def known(self, files: Sequence[SeenFile]) -> dict[SeenFile, FoundPhoto]:
        """Return what was found in those of `files` that have not changed since they were seen."""
        paths = [os.fsencode(file.path) for file in files]
        with self._errors(), self._lock:
            seen = {
                row[0]: row[1:]
                for row in self._db.execute(
                    "SELECT path, size, mtime_ns, photo_id FROM files "
                    f"WHERE path IN ({_places(paths)})",
                    paths,
                )
            }
        same = {
            file: seen[path][2]
            for file, path in zip(files, paths, strict=True)
            if seen.get(path, ())[:2] == (file.size, file.mtime_ns)
        }
        photos = self.load(list(same.values()))
        return {file: photos[photo_id] for file, photo_id in same.items() if photo_id in photos}

    def has_files_below(self, root: Path) -> bool:
        """Return whether files are kept for `root`."""
        with self._errors(), self._lock:
            row = self._db.execute("SELECT 1 FROM files WHERE root=? LIMIT 1", (os.fsencode(root),))
            return row.fetchone() is not None

    def load(self, photo_ids: Sequence[str]) -> dict[str, FoundPhoto]:
        """Return what was found in those of the photos that this method has seen."""
        faces: dict[str, list[FoundFace]] = defaultdict(list)
        keys = (self._method, *photo_ids)
        with self._errors(), self._lock:
            photos = self._db.execute(
                "SELECT photo_id, reason, width, height, orientation, decoder FROM photos "
                f"WHERE method=? AND photo_id IN ({_places(photo_ids)})",
                keys,
            ).fetchall()
            rows = self._db.execute(
                "SELECT photo_id, x, y, width, height, detector_score, quality, embedding, "
                f"thumbnail FROM faces WHERE method=? AND photo_id IN ({_places(photo_ids)}) "
                "ORDER BY photo_id, face_index",
                keys,
            ).fetchall()
        for photo_id, *box, score, quality, embedding, picture in rows:
            values = np.frombuffer(embedding, np.float32)
            x, y, width, height = box
            faces[photo_id].append(
                FoundFace((x, y, width, height), score, quality, values, picture)
            )
        return {
            photo_id: FoundPhoto(
                photo_id,
                Reason(reason) if reason else None,
                tuple(faces.get(photo_id, ())),
                (width, height),
                orientation,
            )
            for photo_id, reason, width, height, orientation, decoder in photos
            # What one decoder could not open another one may.
            if decoder in (None, self._decoder)
        }

    def save(self, root: Path, seen: Iterable[tuple[SeenFile, FoundPhoto, bool]]) -> None:
        """Keep photos in one transaction: each file, what was found, and whether that is new."""
        with self._errors(), self._lock, self._transaction():
            for file, photo, is_new in seen:
                self._db.execute(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                    (
                        os.fsencode(file.path), os.fsencode(root), file.size, file.mtime_ns,
                        photo.photo_id or NOT_READ,
                    ),
                )  # fmt: skip
                if is_new and photo.photo_id is not None:
                    self._insert(photo)

    def forget_vanished(self, root: Path, present: Iterable[Path]) -> int:
        """Drop the files below `root` that are not `present`, and photos that no file has.

        Returns how many files these were.
        """
        with self._errors(), self._lock, self._transaction():
            self._db.execute("CREATE TEMP TABLE present (path BLOB PRIMARY KEY)")
            self._db.executemany(
                "INSERT OR IGNORE INTO present VALUES (?)",
                ((os.fsencode(path),) for path in present),
            )
            gone = self._db.execute(
                "DELETE FROM files WHERE root=? AND path NOT IN (SELECT path FROM present)",
                (os.fsencode(root),),
            ).rowcount
            for table in ("photos", "faces"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE photo_id NOT IN (SELECT photo_id FROM files)"
                )
            self._db.execute("DROP TABLE present")
        return gone

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


def _places(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


_NAMES = ("files", "photos", "faces")
