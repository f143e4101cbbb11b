"""The faces that earlier runs found: an unchanged photo is not opened again.

SQLite in the output folder. A photo is identified by its bytes (sha256) and its faces by the finder
too, an embedding also by the contract; a file is identified by its `SourceFile`, so that unchanged
files are not even read. Another release embeds stored crops without the photo.
Biometric data. Deleting the file costs time, and it loses which faces were forgotten and the
numbers of unknown people.
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

import numpy as np

from faceops.base.reasons import Reason
from faceops.faces.detector import Box
from faceops.identification.state import found_photo, presence, schema
from faceops.identification.state.found_photo import FoundFace, FoundPhoto
from faceops.identification.state.presence import SourceFile
from faceops.photos.formats import PhotoLimits, decoder_id
from faceops.photos.scale import scaled_side

NO_PHOTO = ""  # photo_id of a file that is empty or too large
_STAMP = ", ".join(SourceFile._fields[1:])  # the columns of `files` that show a change
METHODS_KEPT = 3  # the current one, one to go back to, and one for a folder with other settings


@dataclass(frozen=True, eq=False)
class StoredPhoto:
    """A photo in the store.

    `crops`, uint8 (112, 112, 3) RGB by index in `photo.faces`, are those of faces that the current
    contract has not embedded yet. `orientation_known` is False if an earlier version noted 1 as the
    orientation of the photo, right or not.
    """

    photo: FoundPhoto
    crops: Mapping[int, np.ndarray] = field(default_factory=dict)
    orientation_known: bool = True


@dataclass(frozen=True, eq=False)
class Extraction:
    """The faces of one photo file, from the store or from the photo.

    Attributes:
        file: None if it was not a readable file, or has to be tried again by later runs.
        failure: why it could not be read this time, although another run may; "" if it was read.
            `photo` is then what an earlier run found, if that is known.
        opened: the photo was decoded now.
        reembedded: its faces are embedded now, from stored crops.
        crops: uint8 (112, 112, 3) RGB by index in `photo.faces`, of faces to embed now.
    """

    path: Path
    file: SourceFile | None
    photo: FoundPhoto
    opened: bool = False
    reembedded: bool = False
    crops: Mapping[int, np.ndarray] = field(default_factory=dict)
    failure: str = ""


class FaceStore:
    """The faces of one method; may be shared by threads.

    Args:
        limits: on photos that are opened now; others look at photos again that were too large.

    Raises:
        FaceOpsError: see `state_errors`; from every method too.
    """

    def __init__(
        self,
        path: Path,
        method: schema.Method,
        limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
    ) -> None:
        self._path = path
        self._method = method
        self._decoder = decoder_id()
        self._limits = str(limits)
        self._lock = threading.Lock()
        with schema.state_errors(path):
            self._db = schema.connect(path)
            with schema.transaction(self._db):
                schema.prepare_tables(self._db)
                self._note_use()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def find_unchanged(self, files: Sequence[SourceFile]) -> dict[SourceFile, StoredPhoto]:
        """Return the photos of those of `files` that are as stored."""
        paths = [os.fsencode(file.path) for file in files]
        with self._reading() as db:
            rows = db.execute(
                f"SELECT path, {_STAMP}, photo_id FROM files WHERE path IN ({_marks(paths)})",
                paths,
            ).fetchall()
        stored = {SourceFile(Path(os.fsdecode(path)), *was): id for path, *was, id in rows}
        same = {file: stored[file] for file in files if file in stored}
        photos = self.load(list(same.values()))
        return {file: photos[photo_id] for file, photo_id in same.items() if photo_id in photos}

    def find_path(self, path: Path) -> tuple[bool, FoundPhoto | None]:
        """Return whether the latest run read the file `path`, and what was found there.

        Faces that another finder found are better than none; of another contract, they are not.
        """
        with self._reading() as db:
            row = db.execute(
                "SELECT photo_id FROM files WHERE path=? AND gone_since IS NULL",
                (os.fsencode(path),),
            ).fetchone()
            finders = db.execute(
                "SELECT finder FROM methods WHERE contract=? ORDER BY finder<>?, used DESC",
                (self._method.contract, self._method.finder),
            ).fetchall()
        for (finder,) in finders if row else ():
            stored = self.load(row, finder).get(row[0])
            if stored is not None and not stored.crops:
                return True, stored.photo
        return row is not None, None

    def missing(self, root: Path | None, paths: Iterable[Path]) -> tuple[list[Path], bool]:
        """Return the files below `root` that the latest run found and that `paths` lack.

        Also returns whether these are all that it found there, and at least one. None are missing
        where `root` is None.
        """
        if root is None:
            return [], False
        listed = set(map(os.fsencode, paths))
        seen = f"SELECT path FROM files WHERE {presence.BELOW} AND gone_since IS NULL"
        with self._reading() as db:
            found = [path for (path,) in db.execute(seen, presence.below(root))]
        missing = [Path(os.fsdecode(path)) for path in found if path not in listed]
        return missing, len(missing) == len(found) > 0

    def load(self, photo_ids: Sequence[str], finder: str | None = None) -> dict[str, StoredPhoto]:
        """Return those of the photos that need not be opened.

        The method's finder (or another `finder`) has found their faces, and each face has its
        embedding or its crop, or was forgotten.
        """
        finder = finder or self._method.finder
        faces: dict[str, list[FoundFace]] = defaultdict(list)
        crops: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
        incomplete = set()
        marks = _marks(photo_ids)
        with self._reading() as db:
            photos = db.execute(
                "SELECT photo_id, reason, width, height, orientation, turned, decoder FROM photos "
                f"WHERE finder=? AND photo_id IN ({marks})",
                (finder, *photo_ids),
            ).fetchall()
            rows = db.execute(
                "SELECT f.photo_id, f.x, f.y, f.width, f.height, f.detector_score, f.quality, "
                "f.thumbnail, f.forgotten, e.embedding, "
                "CASE WHEN e.embedding IS NULL THEN f.crop END "
                "FROM faces f LEFT JOIN embeddings e ON e.photo_id=f.photo_id "
                "AND e.finder=f.finder AND e.face_index=f.face_index AND e.contract=? "
                f"WHERE f.finder=? AND f.photo_id IN ({marks}) "
                "ORDER BY f.photo_id, f.face_index",
                (self._method.contract, finder, *photo_ids),
            ).fetchall()
        for photo_id, x, y, width, height, score, quality, jpeg, forgotten, embedding, webp in rows:
            if embedding is None and not forgotten:
                crop = None if webp is None else found_photo.decode_crop(webp)
                if crop is None:
                    incomplete.add(photo_id)
                else:
                    crops[photo_id][len(faces[photo_id])] = crop
            values = np.frombuffer(embedding or b"", np.float32)
            faces[photo_id].append(FoundFace((x, y, width, height), score, quality, values, jpeg))
        return {
            photo_id: StoredPhoto(
                FoundPhoto(
                    photo_id,
                    Reason(reason) if reason else None,
                    tuple(faces.get(photo_id, ())),
                    (width, height),
                    orientation or 1,
                    turned or 0,
                ),
                crops.get(photo_id, {}),
                orientation is not None,
            )
            for photo_id, reason, width, height, orientation, turned, decoder in photos
            if decoder == self._decoder_of(reason, (width, height)) and photo_id not in incomplete
        }

    def forgotten_places(self, photo_ids: Sequence[str]) -> dict[str, list[Box]]:
        """Return the boxes of forgotten faces by photo, whatever finder found them."""
        with self._reading() as db:
            return found_photo.places_in(db, photo_ids)

    def save(self, extractions: Iterable[Extraction], keep_crops: bool = False) -> None:
        """Store photos with their embeddings, and with `keep_crops` the crops of opened ones.

        All or nothing. Of a face that was forgotten in the meantime, only the box is stored.
        """
        encoded = [
            (one, {index: found_photo.encode_crop(crop) for index, crop in one.crops.items()})
            if keep_crops and one.opened
            else (one, {})
            for one in extractions
        ]
        with self._writing() as db:
            for one, crops in encoded:
                photo_id = one.photo.photo_id
                if one.file is not None:
                    path = os.fsencode(one.file.path)
                    db.execute(
                        f"INSERT OR REPLACE INTO files (path, {_STAMP}, photo_id) "
                        "VALUES (?, ?, ?, ?, ?, ?)",
                        (path, *one.file[1:], photo_id or NO_PHOTO),
                    )
                if photo_id is None:
                    continue
                places = found_photo.places_in(db, [photo_id]).get(photo_id, ())
                photo = one.photo.without(found_photo.forgotten_faces(one.photo, places))
                if one.opened:
                    self._insert_faces(photo, crops)
                if one.opened or one.reembedded:
                    self._insert_embeddings(photo)

    def note_presence(
        self, root: Path | None, listed: presence.PhotoList, unread: Collection[Path]
    ) -> presence.Presence:
        """Record which files below `root` are missing; see `presence.note_presence`."""
        with self._writing() as db:
            return presence.note_presence(db, root, listed, unread, datetime.now(UTC))

    def drop_old_methods(self) -> None:
        """Drop the faces and embeddings of all but the three methods used last."""
        pair = "(finder, contract)"
        with self._writing() as db:
            if db.execute("SELECT count(*) FROM methods").fetchone()[0] <= METHODS_KEPT:
                return
            db.execute(
                f"DELETE FROM methods WHERE {pair} NOT IN "
                "(SELECT finder, contract FROM methods ORDER BY used DESC LIMIT ?)",
                (METHODS_KEPT,),
            )
            db.execute(
                f"DELETE FROM embeddings WHERE {pair} NOT IN (SELECT finder, contract FROM methods)"
            )
            for table in ("faces", "photos"):
                db.execute(f"DELETE FROM {table} WHERE finder NOT IN (SELECT finder FROM methods)")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with schema.state_errors(self._path), self._lock:
            yield self._db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db, schema.transaction(db):
            yield db

    def _note_use(self) -> None:
        latest = self._db.execute(
            "SELECT finder, contract, used FROM methods ORDER BY used DESC LIMIT 1"
        ).fetchone()
        if latest is None or latest[:2] != self._method:
            self._db.execute(
                "INSERT OR REPLACE INTO methods VALUES (?, ?, ?)",
                (*self._method, latest[2] + 1 if latest else 1),
            )

    def _insert_faces(self, photo: FoundPhoto, crops: Mapping[int, bytes]) -> None:
        key = (photo.photo_id, self._method.finder)
        before = self._db.execute(
            "SELECT x, y, width, height FROM faces WHERE photo_id=? AND finder=? "
            "ORDER BY face_index",
            key,
        ).fetchall()
        # If the same faces were found again because crops were missing, other contracts' stay.
        if before != [face.box for face in photo.faces]:
            for table in ("faces", "embeddings"):
                self._db.execute(f"DELETE FROM {table} WHERE photo_id=? AND finder=?", key)
        reason = str(photo.reason) if photo.reason else None
        decoder = self._decoder_of(reason, photo.size)
        self._db.execute(
            "INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, reason, decoder, *photo.size, photo.orientation, photo.turned),
        )
        self._db.executemany(
            # A stored crop stays if no crop is to be stored now.
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

    def _decoder_of(self, reason: str | None, size: tuple[int, int]) -> str | None:
        """Return what a photo's result depends on beside its bytes and the method."""
        if reason in (None, Reason.NO_FACE):
            # Earlier versions searched panoramas as other photos, and found nothing.
            return "panorama" if scaled_side(*size) < max(size) else None
        limited = reason in (Reason.TOO_LARGE, Reason.TOO_SMALL)
        return f"{self._decoder} {self._limits}" if limited else self._decoder

    def _insert_embeddings(self, photo: FoundPhoto) -> None:
        finder, contract = self._method
        self._db.executemany(
            "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?)",
            (
                (photo.photo_id, finder, index, contract, face.embedding.astype("<f4").tobytes())
                for index, face in enumerate(photo.faces)
                if not face.forgotten
            ),
        )


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
