"""The faces found by earlier runs, so that an unchanged photo is not opened again.

An SQLite file in the output folder. Faces are keyed by the photo's sha256 and the finder, their
embeddings also by the contract; a file is recognised by its `SourceFile`, so unchanged files are
not even read. Another release can embed stored crops without the photo.

It is biometric data. Deleting it costs time, and loses which faces were forgotten and the numbers
of unknown people.
"""

import contextlib
import json
import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.reasons import Reason
from faceops.faces.detector import Box
from faceops.identification.inputs import PhotoList, SourceFile
from faceops.identification.state import photo_block, schema
from faceops.identification.state.photo_block import FACE, NOT_EMBEDDED, Extraction, FoundPhoto
from faceops.photos.formats import PhotoLimits, decoder_id
from faceops.photos.pixels import scaled_side

NO_PHOTO = ""  # photo_id of a file that is empty or too large
_STAMP = ", ".join(SourceFile._fields[1:])  # the columns of `files` that show a change
IN_MEMORY = Path(":memory:")  # SQLite's; a process that is killed leaves no face on its disk
# The thumbnail and the crop, which may not be kept, of the faces of a photo, by index; encoded.
Pictures = Mapping[int, tuple[bytes, bytes | None]]
METHODS_KEPT = 3  # the current one, the previous one, and one for other settings


@dataclass(frozen=True, eq=False)
class StoredPhoto:
    """A photo in the store.

    `crops`, uint8 (112, 112, 3) RGB by index in `photo.faces`, are of faces not embedded yet under
    the current contract. `orientation_known` is False if an earlier version stored the orientation
    1 without knowing it.
    """

    photo: FoundPhoto
    crops: Mapping[int, np.ndarray] = field(default_factory=dict)
    orientation_known: bool = True


class FaceStore:
    """The faces of one method; may be shared by threads.

    Args:
        limits: on photos to open; photos that were too large for other limits are opened again.
        content: what another store holds, to start with, see `content`; for `IN_MEMORY`.

    Raises FaceOpsError: see `state_errors`; from every method too.
    """

    def __init__(
        self,
        path: Path,
        method: schema.Method,
        limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
        content: bytes | None = None,
    ) -> None:
        self._path, self._method, self._limits = path, method, limits
        self._decoder = decoder_id()
        self._lock = threading.Lock()
        with schema.state_errors(path):
            self._db = schema.connect(path)
            if content is not None:
                self._db.deserialize(content)
            with schema.transaction(self._db):
                has_free_pages = schema.prepare_tables(self._db)
                self._note_use()
            if has_free_pages:
                self._db.execute("VACUUM")

    def close(self) -> None:
        self._db.close()

    def find_unchanged(self, files: Sequence[SourceFile | None]) -> list[tuple[str, bool] | None]:
        """Return for each file its photo_id, and whether the method has embedded its faces.

        None for a file that is not as stored, or is not there.
        """
        paths = [os.fsencode(file.path) if file else b"" for file in files]
        finder, contract = self._method
        done = (
            "SELECT 1 FROM photos LEFT JOIN embeddings ON photo=id AND contract=? WHERE "
            "photos.photo_id=files.photo_id AND finder=? AND (photo IS NOT NULL OR faces=x'')"
        )
        with self._reading() as db:
            rows = db.execute(
                f"SELECT path, {_STAMP}, photo_id, EXISTS ({done}) FROM files "
                f"WHERE path IN ({','.join('?' * len(paths))})",
                (contract, finder, *paths),
            ).fetchall()
        stored = {row[0]: row[1:] for row in rows}
        found = ((file, stored.get(path)) for file, path in zip(files, paths, strict=True))
        return [
            (row[-2], bool(row[-1])) if file and row and row[:-2] == file[1:] else None
            for file, row in found
        ]

    def find_path(self, path: str) -> tuple[bool, FoundPhoto | None]:
        """Return whether the latest run read the file `path`, and what was found, by any finder."""
        query = "SELECT photo_id FROM files WHERE path=? AND gone_since IS NULL"
        with self._reading() as db:
            row = db.execute(query, (os.fsencode(path),)).fetchone()
        return row is not None, self.known(row).get(row[0]) if row else None

    def known(self, photo_ids: Sequence[str]) -> dict[str, FoundPhoto]:
        """Return what is known of these photos under the contract, the method's finder first."""
        with self._reading() as db:
            finders = db.execute(
                "SELECT finder FROM methods WHERE contract=? ORDER BY finder<>?, used DESC",
                (self._method.contract, self._method.finder),
            ).fetchall()
        found: dict[str, FoundPhoto] = {}
        for (finder,) in finders:
            stored = self.load([one for one in photo_ids if one not in found], finder)
            found |= {key: one.photo for key, one in stored.items() if not one.crops}
        return found

    def paths(self, photo_ids: Collection[str]) -> dict[str, list[str]]:
        """Return the files that held these photos when the latest run saw them, by photo_id."""
        found: dict[str, list[str]] = defaultdict(list)
        with self._reading() as db:
            for path, photo_id in db.execute(
                "SELECT path, photo_id FROM files WHERE gone_since IS NULL ORDER BY path"
            ):
                if photo_id in photo_ids:
                    found[photo_id].append(os.fsdecode(path))
        return found

    def replaced(self, paths: Sequence[str]) -> dict[str, str]:
        """Return by path the photo_id of files rewritten since the latest complete run."""
        query = "SELECT photo_id FROM replaced WHERE path=?"
        with self._reading() as db:
            if not db.execute("SELECT 1 FROM replaced LIMIT 1").fetchone():
                return {}
            rows = [db.execute(query, (os.fsencode(path),)).fetchone() for path in paths]
        return {path: row[0] for path, row in zip(paths, rows, strict=True) if row}

    def missing(self, root: Path | None, paths: Iterable[str]) -> tuple[list[str], bool]:
        """Return the files below `root` that the latest run found and that `paths` lack.

        Also returns whether these are all files that it found, and at least one. If `root` is None,
        nothing is missing.
        """
        if root is None:
            return [], False
        listed = set(map(os.fsencode, paths))
        seen = f"SELECT path FROM files WHERE {schema.BELOW} AND gone_since IS NULL"
        with self._reading() as db:
            found = [path for (path,) in db.execute(seen, schema.below(root))]
        missing = [os.fsdecode(path) for path in found if path not in listed]
        return missing, len(missing) == len(found) > 0

    def load(self, photo_ids: Sequence[str], finder: str | None = None) -> dict[str, StoredPhoto]:
        """Return those of the photos that need not be opened.

        The method's finder (or another `finder`) has found their faces, and each face has its
        embedding or its crop, or was forgotten.
        """
        finder = finder or self._method.finder
        with self._reading() as db:
            rows = db.execute(
                "SELECT id, photo_id, reason, width, height, orientation, turned, decoder, faces, "
                "embeddings, lengths FROM photos LEFT JOIN embeddings ON photo=id AND contract=? "
                "LEFT JOIN lengths USING (photo, contract) "
                f"WHERE finder=? AND photo_id {schema.IN_LIST}",
                (self._method.contract, finder, json.dumps(photo_ids)),
            ).fetchall()
        found = {}
        for number, photo_id, reason, width, height, orientation, turned, decoder, *blobs in rows:
            size, (content, matrix, lengths) = (width, height), blobs
            if decoder != self._decoder_of(reason, size):
                continue
            faces, embeddings, crops = np.frombuffer(content, FACE), NOT_EMBEDDED, {}
            if matrix is not None:
                embeddings = np.frombuffer(matrix, "<f4").reshape(len(faces), -1)
            elif len(faces):
                embeddings = np.zeros((len(faces), 0), np.float32)
                crops = self._crops_of(number)
                if crops.keys() != set(np.flatnonzero(~faces["forgotten"]).tolist()):
                    continue
            why, raw = Reason(reason) if reason else None, np.frombuffer(lengths or b"", "<f4")
            turns = orientation or 1, turned or 0
            photo = FoundPhoto(photo_id, why, size, *turns, faces, embeddings, raw)
            found[photo_id] = StoredPhoto(photo, crops, orientation is not None)
        return found

    def _crops_of(self, photo: int) -> dict[int, np.ndarray]:
        query = "SELECT face_index, crop FROM pictures WHERE photo=? AND crop IS NOT NULL"
        with self._reading() as db:
            rows = db.execute(query, (photo,)).fetchall()
        decoded = ((index, photo_block.decode_crop(webp)) for index, webp in rows)
        return {index: crop for index, crop in decoded if crop is not None}

    def thumbnails(self, faces: Collection[tuple[str, int]]) -> dict[tuple[str, int], bytes]:
        """Return the pictures of these faces, (photo_id, face index), WebP or JPEG, if stored."""
        photo_ids = sorted({photo_id for photo_id, _ in faces})
        with self._reading() as db:
            rows = db.execute(
                "SELECT photo_id, face_index, thumbnail FROM photos JOIN pictures ON photo=id "
                f"WHERE finder=? AND photo_id {schema.IN_LIST}",
                (self._method.finder, json.dumps(photo_ids)),
            ).fetchall()
        found = {(photo_id, index): picture for photo_id, index, picture in rows}
        return {face: found[face] for face in faces if face in found}

    def forgotten_places(self, photo_ids: Sequence[str]) -> dict[str, list[Box]]:
        """Return the boxes of forgotten faces by photo, whatever finder found them."""
        with self._reading() as db:
            return schema.places_in(db, photo_ids)

    def save(self, extractions: Iterable[Extraction], keep_crops: bool = False) -> None:
        """Store photos with their embeddings, and with `keep_crops` the crops of opened ones.

        All or nothing. Of a face that was forgotten in the meantime, only the box is stored.
        """

        def pictures(crop: np.ndarray) -> tuple[bytes, bytes | None]:
            kept = photo_block.encode_crop(crop) if keep_crops else None
            return photo_block.thumbnail(crop), kept

        opened = ((one, one.crops.items() if one.opened else ()) for one in extractions)
        # Encoded before the transaction, for which other processes wait.
        self._save([(one, {at: pictures(crop) for at, crop in crops}) for one, crops in opened])

    def _save(self, found: Iterable[tuple[Extraction, Pictures]]) -> None:
        with self._writing() as db:
            for one, pictures in found:
                photo_id = one.photo.photo_id
                if one.file is not None:
                    path = os.fsencode(one.file.path)
                    db.execute(
                        "INSERT OR IGNORE INTO replaced SELECT path, photo_id FROM files "
                        "WHERE path=? AND photo_id NOT IN (?, ?)",
                        (path, photo_id or NO_PHOTO, NO_PHOTO),
                    )
                    db.execute(
                        f"INSERT OR REPLACE INTO files (path, {_STAMP}, photo_id) "
                        "VALUES (?, ?, ?, ?, ?, ?)",
                        (path, *one.file[1:], photo_id or NO_PHOTO),
                    )
                if photo_id is None or not (one.opened or one.reembedded):
                    continue
                places = schema.places_in(db, [photo_id]).get(photo_id, ())
                photo = one.photo.without(one.photo.faces_at(places))
                self._save_photo(photo, pictures if one.opened else None)

    def content(self) -> bytes:
        """Return all that is stored, for `take_in` of another store."""
        with self._reading() as db:
            return db.serialize()

    def take_in(self, content: bytes) -> bool:
        """Store as `save` does what another store of the same method holds, its `content`.

        Returns whether it could be read; of damaged content nothing is stored.
        """
        if not content:  # SQLite takes it for a lack of memory
            return False
        try:
            other = FaceStore(IN_MEMORY, self._method, self._limits, content)
            with contextlib.closing(other):
                found = list(other._stored())
        except (FaceOpsError, TypeError, ValueError):
            return False
        self._save(found)
        return True

    def _stored(self) -> Iterator[tuple[Extraction, Pictures]]:
        """Yield all files with what was found in them and its pictures, in the order of paths."""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT path, {_STAMP}, photo_id FROM files WHERE gone_since IS NULL ORDER BY path"
            ).fetchall()
            pictures: dict[str, dict[int, tuple[bytes, bytes | None]]] = defaultdict(dict)
            for photo_id, index, thumbnail, crop in db.execute(
                "SELECT photo_id, face_index, thumbnail, crop FROM photos JOIN pictures "
                "ON photo=id WHERE finder=?",
                (self._method.finder,),
            ):
                pictures[photo_id][index] = thumbnail, crop
        found = self.load(list({photo_id for *_, photo_id in rows}))
        for path, *stamp, photo_id in rows:
            file = SourceFile(os.fsdecode(path), *stamp)
            photo = found[photo_id].photo if photo_id in found else FoundPhoto(None, None)
            yield Extraction(file.path, file, photo, opened=photo_id in found), pictures[photo_id]

    def note_presence(
        self, root: Path | None, listed: PhotoList, unread: Collection[str]
    ) -> schema.Presence:
        """Record which files below `root` are missing; see `schema.note_presence`."""
        with self._writing() as db:
            return schema.note_presence(db, root, listed, unread)

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
            for table in ("embeddings", "lengths"):
                db.execute(
                    f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM photos JOIN methods "
                    f"USING (finder) WHERE id=photo AND methods.contract={table}.contract)"
                )
            db.execute("DELETE FROM photos WHERE finder NOT IN (SELECT finder FROM methods)")

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

    def _save_photo(self, photo: FoundPhoto, pictures: Pictures | None) -> None:
        """Store the faces, unless `pictures` is None (they are stored), and their embeddings.

        `pictures`: thumbnail and crop by face; a stored crop stays if the new one is None.
        """
        key = (photo.photo_id, self._method.finder)
        row = self._db.execute(
            "SELECT id, faces FROM photos WHERE photo_id=? AND finder=?", key
        ).fetchone()
        if pictures is not None:
            # If the same faces were found again because crops were missing, other contracts'
            # embeddings stay.
            if row and not np.array_equal(np.frombuffer(row[1], FACE)["box"], photo.faces["box"]):
                self._db.execute("DELETE FROM photos WHERE id=?", row[:1])
                row = None
            reason = str(photo.reason) if photo.reason else None
            about = (*photo.size, photo.orientation, photo.turned, photo.faces.tobytes())
            columns = ("reason", "decoder", "width", "height", "orientation", "turned", "faces")
            row = self._db.execute(
                f"INSERT INTO photos (photo_id, finder, {', '.join(columns)}) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                f"{', '.join(f'{name}=excluded.{name}' for name in columns)} RETURNING id",
                (*key, reason, self._decoder_of(reason, photo.size), *about),
            ).fetchone()
        if row is None:
            return  # dropped by another process in the meantime
        gone = np.flatnonzero(photo.faces["forgotten"]).tolist()
        self._db.executemany(
            "INSERT INTO pictures VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "thumbnail=excluded.thumbnail, crop=coalesce(excluded.crop, crop)",
            [(row[0], face, *both) for face, both in (pictures or {}).items() if face not in gone],
        )
        if gone:
            drawn = f"photo=? AND face_index {schema.IN_LIST}"
            self._db.execute(f"DELETE FROM pictures WHERE {drawn}", (row[0], json.dumps(gone)))
        if len(photo.faces):
            for table, array in (("embeddings", photo.embeddings), ("lengths", photo.lengths)):
                self._db.execute(
                    f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)",
                    (row[0], self._method.contract, array.astype("<f4").tobytes()),
                )

    def _decoder_of(self, reason: str | None, size: tuple[int, int]) -> str | None:
        """Return what a photo's result depends on beside its bytes and the method."""
        if reason in (None, Reason.NO_FACE):
            # Earlier versions searched panoramas as other photos, and found nothing.
            return "panorama" if scaled_side(*size) < max(size) else None
        limited = reason in (Reason.TOO_LARGE, Reason.TOO_SMALL)
        return f"{self._decoder} {self._limits}" if limited else self._decoder
