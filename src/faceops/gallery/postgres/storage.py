"""A gallery in the tables of a database."""

import hashlib
import json
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from faceops.base.errors import FaceOpsError, NotPermittedError, UsageError
from faceops.base.files import cache_folder
from faceops.gallery.backend import GalleryStorage
from faceops.gallery.faces_file import FORMAT_VERSION, UNSAVED, FaceTable
from faceops.gallery.journal import Journal
from faceops.gallery.postgres import tables
from faceops.gallery.postgres.address import Address
from faceops.gallery.postgres.connection import Database
from faceops.gallery.postgres.journal import PostgresJournal
from faceops.gallery.postgres.purge import cells, note_unpurged, purge

if TYPE_CHECKING:
    from psycopg import Connection

_PENDING = 32_000_000  # bytes of crops that wait for their faces in memory


class PostgresStorage(GalleryStorage):
    """The gallery that `address` names; its tables are made by the first write."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._db = Database(address)
        self._change = ""  # of the faces as they were last read or written here
        self._pending: dict[str, bytes] = {}

    def __str__(self) -> str:
        return self._address.shown

    @property
    def address(self) -> str:
        return self._address.shown

    @property
    def scratch(self) -> Path:
        key = hashlib.sha256(self._address.shown.encode()).hexdigest()[:16]
        return cache_folder() / "galleries" / key

    def stamp(self) -> str:
        def work(db: "Connection[Any]") -> str:
            row = self._row(db, "change || ' ' || (SELECT change FROM journal)")
            return str(row[0]) if row else ""

        return self._db.read(work)

    def contract_id(self) -> str:
        try:
            return str(self.statement()["contract_id"])
        except FaceOpsError:
            return ""

    def lock(self) -> AbstractContextManager[None]:
        return self._db.lock()

    def exists(self) -> bool:
        return bool(self.stamp())

    def statement(self) -> dict[str, Any]:
        return self._db.read(lambda db: self._stated(db)[0])

    def read(self, *, is_locked: bool = False) -> tuple[dict[str, Any], FaceTable]:
        def work(db: "Connection[Any]") -> tuple[dict[str, Any], FaceTable, str]:
            statement, change, number = self._stated(db)
            return statement, tables.read_faces(db, number, statement["embedding_size"]), change

        statement, faces, self._change = self._db.read(work)
        return statement, faces

    def _stated(self, db: "Connection[Any]") -> tuple[dict[str, Any], str, int]:
        row = self._row(db, "statement, change, vectors")
        if row is None:
            raise UsageError(
                f"{self} is not a gallery; enrol people first: faceops enrol PEOPLE_DIR --gallery "
                f"'{self}'"
            )
        statement = json.loads(row[0])
        if statement["schema_version"] > FORMAT_VERSION:
            raise FaceOpsError(
                f"{self} has schema version {statement['schema_version']}, this faceops reads "
                f"{FORMAT_VERSION}; use the faceops that wrote it."
            )
        return {**statement, "schema_version": FORMAT_VERSION}, row[1], row[2]

    def _row(self, db: "Connection[Any]", columns: str) -> tuple[Any, ...] | None:
        if not self._db.version:
            return None
        return db.execute(f"SELECT {columns} FROM gallery").fetchone()

    def write(self, statement: Mapping[str, Any], faces: FaceTable) -> FaceTable:
        pending, stated = dict(self._pending), json.dumps(statement, sort_keys=True)

        def work(db: "Connection[Any]") -> tuple[np.ndarray, str]:
            row = db.execute(
                "SELECT statement, change, vectors, next_id FROM gallery FOR UPDATE"
            ).fetchone()
            before, change, number, next_id = row or ("{}", "", 0, 0)
            if self._change and change != self._change:
                raise FaceOpsError(
                    f"{self} was changed by another process meanwhile; nothing was written: run "
                    "the command again."
                )
            old = json.loads(before)
            writing = _Writing(db, faces, old, number, next_id)
            if not writing.is_needed and before == stated:
                return writing.ids, change
            self._put_crops(db, pending, is_unsaved=False)
            is_same_set = all(old.get(k) == statement[k] for k in ("contract_id", "embedding_size"))
            number = writing.apply(not is_same_set)
            stale = writing.stale | ({"gallery"} if row and before != stated else set())
            note_unpurged(db, stale | self._drop_crops(db, writing.crops | pending.keys()))
            change = secrets.token_hex(16)
            db.execute(
                "INSERT INTO gallery VALUES (true, %s, %s, %s, %s) ON CONFLICT (one) DO UPDATE SET "
                "statement=excluded.statement, change=excluded.change, vectors=excluded.vectors, "
                "next_id=excluded.next_id",
                (stated, change, number, writing.next_id),
            )
            return writing.ids, change

        ids, self._change = self._db.write(work)
        self._pending = {key: png for key, png in self._pending.items() if key not in pending}
        return replace(faces, stored=ids)

    def prepare(self) -> None:
        """Migrate the tables; a killed writer leaves nothing that others see.

        Raises: NotPermittedError for a user who may not write, before work is done for nothing.
        """
        self._db.write(lambda db: db.execute("SELECT FROM gallery FOR UPDATE"))

    def store_png(self, png: bytes) -> str:
        if not png:
            return ""
        crop_id = hashlib.sha256(png).hexdigest()
        self._pending[crop_id] = png  # written with the faces
        if sum(map(len, self._pending.values())) > _PENDING:
            pending = dict(self._pending)
            self._db.write(lambda db: self._put_crops(db, pending, is_unsaved=True))
            self._pending = {}
        return crop_id

    def _put_crops(
        self, db: "Connection[Any]", crops: dict[str, bytes], *, is_unsaved: bool
    ) -> None:
        rows = [(crop_id, png, is_unsaved) for crop_id, png in crops.items()]
        text = "INSERT INTO crops VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
        db.cursor().executemany(text, rows)

    def _drop_crops(self, db: "Connection[Any]", crop_ids: Collection[str]) -> set[str]:
        """Delete those of the crops, and of the unsaved ones, that no face has; name the tables."""
        found = db.execute(
            "DELETE FROM crops WHERE (id = ANY(%s) OR unsaved) AND NOT EXISTS "
            "(SELECT FROM faces WHERE crop_id=crops.id) RETURNING tableoid::regclass::text",
            ([*set(crop_ids)],),
        ).fetchall()
        db.execute("UPDATE crops SET unsaved=false WHERE unsaved")
        return {name for (name,) in found}

    def png(self, crop_id: str) -> bytes:
        if crop_id in self._pending:
            return self._pending[crop_id]
        for (png,) in self._db.rows("SELECT png FROM crops WHERE id=%s", crop_id):
            return bytes(png)
        raise FileNotFoundError(f"{self}: crop {crop_id}")

    def unused_crops(self, used: Collection[str]) -> int:
        rows = self._db.rows("SELECT id FROM crops WHERE unsaved")
        return len({crop_id for (crop_id,) in rows}.difference(used))

    def journal(self) -> Journal:
        return PostgresJournal(self._db)

    def output_lines(self) -> list[bytes]:
        rows = self._db.rows("SELECT line FROM outputs ORDER BY number")
        return [line.encode() for (line,) in rows]

    def add_output_lines(self, lines: Sequence[bytes]) -> None:
        def work(db: "Connection[Any]") -> None:
            for line in lines:
                db.execute("INSERT INTO outputs (line) VALUES (%s)", (line.decode(),))

        try:
            self._db.write(work)
        except NotPermittedError as error:
            raise PermissionError(13, str(error)) from None

    def purge(self) -> list[str]:
        return purge(self._db)

    def cells(self) -> Iterator[tuple[str, str | memoryview]]:
        return cells(self._db)


class _Writing:
    """The difference between faces and what the tables hold, and its application.

    Attributes:
        ids: int64 (M,), of the faces afterwards.
        is_needed: whether there is a difference.
        crops: ids of crops that may belong to no face afterwards.
        stale: tables in which rows are removed or changed.
        next_id: of a face that is added later.
    """

    def __init__(
        self,
        db: "Connection[Any]",
        faces: FaceTable,
        old: Mapping[str, Any],
        number: int,
        next_id: int,
    ) -> None:
        self._db, self._faces, self._number, self.next_id = db, faces, number, next_id
        self._size = int(old.get("embedding_size", 0))
        present = tables.read_ids(db)
        # Faces that were removed since they were read are added again.
        self.ids = np.where(np.isin(faces.stored, present), faces.stored, UNSAVED)
        self.crops, self.stale = set[str](), set[str]()
        self._unsaved = np.flatnonzero(self.ids == UNSAVED)
        self._gone = np.setdiff1d(present, self.ids)
        self.is_needed = bool(len(self._unsaved) or len(self._gone))

    def apply(self, is_other_set: bool) -> int:
        """Change the tables; return the number of the set of embeddings, with others a new one."""
        db, faces, number = self._db, self._faces, self._number
        moved, vectors = self._keep_same_faces()
        self.crops = self._remove()
        added = np.flatnonzero(self.ids == UNSAVED)
        self.ids[added] = np.arange(self.next_id, self.next_id + len(added))
        self.next_id += len(added)
        tables.write_faces(db, faces.take(added), self.ids[added])
        if is_other_set:  # beside the old one, which others read until this is committed
            for text in tables.vectors_table(number + 1, faces.embeddings.shape[1]):
                db.execute(text)
            tables.write_vectors(db, number + 1, self.ids, faces.embeddings)
            db.execute(f"DROP TABLE IF EXISTS vectors_{number}")
            self.stale.discard(f"vectors_{number}")
            db.execute("DELETE FROM unpurged WHERE name=%s", (f"vectors_{number}",))
            return number + 1
        changed = moved[(vectors != faces.embeddings[moved]).any(axis=1)]
        if len(changed):
            self.stale.add(f"vectors_{number}")
            outdated = self.ids[changed].tolist()
            db.execute(f"DELETE FROM vectors_{number} WHERE id = ANY(%s)", (outdated,))
        some = np.union1d(changed, added)
        tables.write_vectors(db, number, self.ids[some], faces.embeddings[some])
        return number

    def _keep_same_faces(self) -> tuple[np.ndarray, np.ndarray]:
        """Reuse the stored rows of unsaved faces that differ at most in the person.

        Returns their rows, int64 (R,), and their stored embeddings.
        """
        if not (len(self._unsaved) and len(self._gone)):
            return np.zeros(0, np.int64), np.zeros((0, self._faces.embeddings.shape[1]))
        old = tables.read_faces(self._db, self._number, self._size, self._gone)
        new = self._faces.take(self._unsaved)
        found = tables.same_faces(new.columns, old.columns)
        is_same = found >= 0
        rows, kept = self._unsaved[is_same], old.take(found[is_same])
        self.ids[rows] = kept.stored
        self._gone = np.setdiff1d(self._gone, kept.stored)
        names = (kept.texts("person"), new.take(is_same).texts("person"))
        pairs = zip(kept.stored.tolist(), *names, strict=True)
        renamed = [(key, name) for key, before, name in pairs if name != before]
        if renamed:
            self.stale.add("faces")
            self._db.execute(
                "UPDATE faces SET person=new.person FROM unnest(%s::bigint[], %s::text[]) "
                "AS new(id, person) WHERE faces.id=new.id",
                [*map(list, zip(*renamed, strict=True))],
            )
        return rows, kept.embeddings

    def _remove(self) -> set[str]:
        if not len(self._gone):
            return set()
        vectors, gone = f"vectors_{self._number}", self._gone.tolist()
        self.stale.update(("faces", vectors))
        self._db.execute(f"DELETE FROM {vectors} WHERE id = ANY(%s)", (gone,))
        text = "DELETE FROM faces WHERE id = ANY(%s) RETURNING crop_id"
        return {crop_id for (crop_id,) in self._db.execute(text, (gone,))}
