"""Faces found by earlier runs: a photo that has not changed is not opened again.

SQLite in the output folder. A photo is known by its bytes (sha256) and by what found its faces, an
embedding by the contract too; a file is known by path, size and modification time, so that
unchanged files are not even read. Where crops are kept, another release embeds them without the
photo. Deleting it costs time, and it forgets which faces stay
without a name and the numbers of unknown people. It holds biometric data.
"""

import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceops.base.reasons import Reason
from faceops.faces.detector import Box
from faceops.identification.state.forgotten_places import (
    places_in,
    prepare_places,
    without_forgotten,
)
from faceops.identification.state.found_photo import FoundFace, FoundPhoto, decoded_crop
from faceops.identification.state.presence import BELOW, Presence, below, note_presence
from faceops.identification.state.schema import Method, adopt, prepare, state_errors
from faceops.photos.formats import decoder_id

NOT_READ = ""  # photo_id of a file that is empty or too large: it has a size and a time, no photo
BUSY_S = 60.0  # how long to wait for another process that writes
# One to go back to, and one for a second folder that is looked at in another way.
METHODS_KEPT = 3


class SeenFile(NamedTuple):
    """A file as it was when its photo was looked at."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class KeptPhoto:
    """What is kept of a photo.

    `crops`, uint8 (112, 112, 3) RGB by place in `photo.faces`, are of the faces that this contract
    has not embedded yet: until then their embedding is empty.
    """

    photo: FoundPhoto
    crops: Mapping[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Looked:
    """What is to be kept of a file.

    Attributes:
        file: None where the file could not be seen as it is: then only the photo is kept.
        found: the faces were found now, in the photo.
        embedded: they were embedded now.
        crops: by place in `photo.faces`, see `kept_crop`; empty where they are not to be kept.
    """

    file: SeenFile | None
    photo: FoundPhoto
    found: bool = False
    embedded: bool = False
    crops: Mapping[int, bytes] = field(default_factory=dict)


class FaceStore:
    """The faces of one method; safe to ask from several threads.

    Raises:
        FaceOpsError: as `state_errors`; from every method too.
    """

    def __init__(self, path: Path, method: Method) -> None:
        self._path = path
        self._finder, self._contract = method.finder, method.contract
        self._decoder = decoder_id()
        self._lock = threading.Lock()
        with state_errors(self._path):
            self._db = sqlite3.connect(
                path, timeout=BUSY_S, check_same_thread=False, isolation_level=None
            )
            self._db.execute("PRAGMA synchronous=NORMAL")
            # What is dropped is biometric: no bytes of it stay in the file.
            self._db.execute("PRAGMA secure_delete=ON")
            # Inside the transaction: of two processes that start at once, one makes the tables.
            with self._transaction():
                prepare(self._db)
                prepare_places(self._db)
                adopt(self._db, method)
                self._note_use()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def known(self, files: Sequence[SeenFile]) -> dict[SeenFile, KeptPhoto]:
        """Return what is kept of those of `files` that have not changed since they were seen."""
        paths = [os.fsencode(file.path) for file in files]
        with state_errors(self._path), self._lock:
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
        """Return whether files below `root` were there at the latest run."""
        with state_errors(self._path), self._lock:
            row = self._db.execute(
                f"SELECT 1 FROM files WHERE {BELOW} AND gone_since IS NULL LIMIT 1", below(root)
            )
            return row.fetchone() is not None

    def load(self, photo_ids: Sequence[str]) -> dict[str, KeptPhoto]:
        """Return what is kept of those of the photos that need not be opened.

        These are photos whose faces this finder has found, and of which every face has its
        embedding, its crop, or was forgotten.
        """
        faces: dict[str, list[FoundFace]] = defaultdict(list)
        crops: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
        lacking = set()
        places = _places(photo_ids)
        with state_errors(self._path), self._lock:
            photos = self._db.execute(
                "SELECT photo_id, reason, width, height, orientation, decoder FROM photos "
                f"WHERE finder=? AND photo_id IN ({places})",
                (self._finder, *photo_ids),
            ).fetchall()
            rows = self._db.execute(
                "SELECT f.photo_id, f.x, f.y, f.width, f.height, f.detector_score, f.quality, "
                "f.thumbnail, f.forgotten, e.embedding, "
                "CASE WHEN e.embedding IS NULL THEN f.crop END "
                "FROM faces f LEFT JOIN embeddings e ON e.photo_id=f.photo_id "
                "AND e.finder=f.finder AND e.face_index=f.face_index AND e.contract=? "
                f"WHERE f.finder=? AND f.photo_id IN ({places}) "
                "ORDER BY f.photo_id, f.face_index",
                (self._contract, self._finder, *photo_ids),
            ).fetchall()
        for photo_id, *box, score, quality, picture, forgotten, embedding, kept in rows:
            if embedding is None and not forgotten:
                crop = None if kept is None else decoded_crop(kept)
                if crop is None:
                    lacking.add(photo_id)
                else:
                    crops[photo_id][len(faces[photo_id])] = crop
            values = np.frombuffer(embedding or b"", np.float32)
            x, y, width, height = box
            faces[photo_id].append(
                FoundFace((x, y, width, height), score, quality, values, picture)
            )
        return {
            photo_id: KeptPhoto(
                FoundPhoto(
                    photo_id,
                    Reason(reason) if reason else None,
                    tuple(faces.get(photo_id, ())),
                    (width, height),
                    orientation,
                ),
                crops.get(photo_id, {}),
            )
            for photo_id, reason, width, height, orientation, decoder in photos
            # What one decoder could not open another one may.
            if decoder in (None, self._decoder) and photo_id not in lacking
        }

    def forgotten(self, photo_ids: Sequence[str]) -> dict[str, list[Box]]:
        """Return where faces were forgotten in those of the photos, whatever had found them."""
        with state_errors(self._path), self._lock:
            return places_in(self._db, photo_ids)

    def save(self, looked: Iterable[Looked]) -> None:
        """Keep photos, found or embedded now or before, in one transaction.

        Of a face that was forgotten since it was looked at, nothing but its box is kept.
        """
        with state_errors(self._path), self._lock, self._transaction():
            for one in looked:
                if one.file is not None:
                    self._db.execute(
                        "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, NULL)",
                        (
                            os.fsencode(one.file.path), one.file.size, one.file.mtime_ns,
                            one.photo.photo_id or NOT_READ,
                        ),
                    )  # fmt: skip
                if one.photo.photo_id is None:
                    continue
                photo_id = one.photo.photo_id
                places = places_in(self._db, [photo_id]).get(photo_id, ())
                photo = without_forgotten(one.photo, places)
                if one.found:
                    self._insert_found(photo, one.crops)
                if one.embedded:
                    self._insert_embeddings(photo)

    def note_presence(
        self, root: Path | None, present: Iterable[Path], unread: Collection[Path]
    ) -> Presence:
        """Note which files below `root` are gone, and drop what is gone for long.

        See `presence.note_presence`.
        """
        with state_errors(self._path), self._lock, self._transaction():
            return note_presence(self._db, root, present, unread, datetime.now(UTC))

    def forget_methods(self) -> None:
        """Drop what only methods of long ago found and embedded: the latest three stay."""
        pair = "(finder, contract)"
        with state_errors(self._path), self._lock, self._transaction():
            if self._db.execute("SELECT count(*) FROM methods").fetchone()[0] <= METHODS_KEPT:
                return
            self._db.execute(
                f"DELETE FROM methods WHERE {pair} NOT IN "
                "(SELECT finder, contract FROM methods ORDER BY used DESC LIMIT ?)",
                (METHODS_KEPT,),
            )
            self._db.execute(
                f"DELETE FROM embeddings WHERE {pair} NOT IN (SELECT finder, contract FROM methods)"
            )
            for table in ("faces", "photos"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE finder NOT IN (SELECT finder FROM methods)"
                )

    def _note_use(self) -> None:
        latest = self._db.execute(
            "SELECT finder, contract, used FROM methods ORDER BY used DESC LIMIT 1"
        ).fetchone()
        if latest is None or latest[:2] != (self._finder, self._contract):
            self._db.execute(
                "INSERT OR REPLACE INTO methods VALUES (?, ?, ?)",
                (self._finder, self._contract, latest[2] + 1 if latest else 1),
            )

    def _insert_found(self, photo: FoundPhoto, crops: Mapping[int, bytes]) -> None:
        key = (photo.photo_id, self._finder)
        before = self._db.execute(
            "SELECT x, y, width, height FROM faces WHERE photo_id=? AND finder=? "
            "ORDER BY face_index",
            key,
        ).fetchall()
        # Found again for want of crops: what other contracts have embedded stays.
        if before != [face.box for face in photo.faces]:
            for table in ("faces", "embeddings"):
                self._db.execute(f"DELETE FROM {table} WHERE photo_id=? AND finder=?", key)
        opened = photo.faces or photo.reason is Reason.NO_FACE
        decoder = None if opened else self._decoder
        reason = str(photo.reason) if photo.reason else None
        self._db.execute(
            "INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key, reason, decoder, *photo.size, photo.orientation),
        )
        self._db.executemany(
            # A crop that was kept stays where none is to be kept now.
            "INSERT OR REPLACE INTO faces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
            "CASE WHEN ? THEN NULL ELSE coalesce(?, (SELECT crop FROM faces "
            "WHERE photo_id=? AND finder=? AND face_index=?)) END)",
            (
                (
                    *key, index, *face.box, face.detector_score, face.quality, face.forgotten,
                    face.thumbnail, face.forgotten, crops.get(index), *key, index,
                )
                for index, face in enumerate(photo.faces)
            ),
        )  # fmt: skip

    def _insert_embeddings(self, photo: FoundPhoto) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?)",
            (
                (
                    photo.photo_id, self._finder, index, self._contract,
                    face.embedding.astype(np.float32).tobytes(),
                )
                for index, face in enumerate(photo.faces)
                if not face.forgotten
            ),
        )  # fmt: skip

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite has rolled back by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def _places(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


_DIGEST = np.dtype("S32")  # it compares as if filled up with zeros, so none is lost at the end


class PhotoIds:
    """A set of photo_ids, sha256 in hexadecimal: 32 bytes each."""

    def __init__(self, photo_ids: Iterable[str] = ()) -> None:
        self._sorted = np.unique(
            np.fromiter((bytes.fromhex(photo_id) for photo_id in photo_ids), _DIGEST)
        )

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, photo_id: object) -> bool:
        if not isinstance(photo_id, str):
            return False
        digest = np.array(bytes.fromhex(photo_id), _DIGEST)
        place = int(np.searchsorted(self._sorted, digest))
        return place < len(self._sorted) and bool(self._sorted[place] == digest)
