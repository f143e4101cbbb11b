"""A gallery in the tables of a database: its faces, crops, notes, and journal of decisions."""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from faceops.base.errors import DamageError, FaceOpsError, NotPermittedError, UsageError
from faceops.base.files import cache_folder, json_texts
from faceops.gallery.backend import GalleryStorage
from faceops.gallery.faces_file import FORMAT_VERSION, FaceTable
from faceops.gallery.journal import Entry, Journal, as_sqlite, of_now
from faceops.gallery.postgres import tables
from faceops.gallery.postgres.connection import PATIENCE_S, Address, Database, value

if TYPE_CHECKING:
    from psycopg import Connection

_TEXTS = {
    "faces": ("person", "photo", "photo_id", "crop_id"),
    "gallery": ("statement",),
    "entries": ("content",),
    "tried": ("reason",),
    "outputs": ("line",),
}
_CROPS = 200  # read at once, about 20 kB each
_PENDING = 32_000_000  # bytes of crops that wait for their faces in memory
_Result = TypeVar("_Result")


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
            writing = tables.Writing(db, faces, old, number, next_id)
            if not writing.is_needed and before == stated:
                return writing.ids, change
            self._put_crops(db, pending, is_unsaved=False)
            is_same_set = all(old.get(k) == statement[k] for k in ("contract_id", "embedding_size"))
            number = writing.apply(not is_same_set)
            stale = writing.stale | ({"gallery"} if row and before != stated else set())
            tables.note_unpurged(db, stale | self._drop_crops(db, writing.crops | pending.keys()))
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
        for table, columns in _TEXTS.items():
            for column in columns:
                for (text,) in self._db.rows(f"SELECT DISTINCT {column} FROM {table}"):
                    yield f"{table}.{column}", text
                    if text.startswith("{"):
                        inner = json_texts(json.loads(text))
                        yield from ((f"{table}.{column}", one) for one in inner)
        for number, size in self._db.rows(
            "SELECT vectors, (statement::json ->> 'embedding_size')::int FROM gallery"
        ):
            ids = self._db.read(tables.read_ids)
            for start in range(0, len(ids), tables.BLOCK):
                some = ids[start : start + tables.BLOCK]
                read = partial(tables.read_vectors, number=number, size=size, ids=some)
                yield f"vectors_{number}", memoryview(self._db.read(read).tobytes())
        crops = [crop_id for (crop_id,) in self._db.rows("SELECT id FROM crops ORDER BY id")]
        for start in range(0, len(crops), _CROPS):
            block = crops[start : start + _CROPS]
            rows = self._db.rows("SELECT png FROM crops WHERE id = ANY(%s)", block)
            yield "crops", memoryview(b"".join(png for (png,) in rows))


class PostgresJournal(Journal):
    """The tables `entries` and `tried`; see `Journal` for what the methods do and raise."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(self) -> list[Entry]:
        rows = self._database.rows("SELECT content FROM entries ORDER BY time, id")
        try:
            return [Entry.from_json(content) for (content,) in rows]
        except ValueError as error:
            raise DamageError(
                f"the journal of {self._database.address.shown} is damaged ({error}); restore a "
                "backup of the database."
            ) from None

    def count(self) -> int:
        return sum(number for (number,) in self._database.rows("SELECT count(*) FROM entries"))

    def append(self, entries: Iterable[Entry]) -> list[Entry]:
        new = list(entries)

        def work(db: "Connection[Any]") -> list[Entry]:
            return _put(db, of_now(new, value(db, "SELECT max(time) FROM entries")))

        return self._change(work)

    def merge(self, entries: Iterable[Entry]) -> list[Entry]:
        given = list(entries)

        def work(db: "Connection[Any]") -> list[Entry]:
            known = {one for (one,) in db.execute("SELECT id FROM entries")}
            return _put(db, [entry for entry in given if entry.id not in known])

        return self._change(work)

    def remove(self, entries: Collection[str], instead: Iterable[Entry] = ()) -> int:
        gone, more = list(entries), list(instead)
        if not self._database.read(lambda db: self._database.version):
            return 0

        def work(db: "Connection[Any]") -> int:
            number = db.execute("DELETE FROM entries WHERE id = ANY(%s)", (gone,)).rowcount
            db.execute("DELETE FROM tried WHERE entry = ANY(%s)", (gone,))
            tables.note_unpurged(db, ["entries", "tried"])
            _put(db, more)
            return number

        removed = self._change(work)
        purge(self._database)
        return removed

    def content(self) -> bytes:
        tried = self._database.rows(
            "SELECT entry, contract, reason FROM tried ORDER BY entry, contract"
        )
        return as_sqlite(self.entries(), tried)

    def check(self) -> None:
        self.entries()

    def tried(self, contract: str) -> dict[str, str]:
        return dict(
            self._database.rows("SELECT entry, reason FROM tried WHERE contract=%s", contract)
        )

    def note_tried(self, contract: str, reasons: Mapping[str, str]) -> None:
        rows = [(entry, contract, reason) for entry, reason in reasons.items()]
        text = (
            "INSERT INTO tried VALUES (%s, %s, %s) ON CONFLICT (entry, contract) "
            "DO UPDATE SET reason=excluded.reason"
        )
        if rows:
            self._database.write(lambda db: db.cursor().executemany(text, rows))

    def _change(self, work: Callable[["Connection[Any]"], _Result]) -> _Result:
        def changing(db: "Connection[Any]") -> _Result:
            # Other writers wait here, so that times rise.
            db.execute("UPDATE journal SET change=%s", (secrets.token_hex(16),))
            return work(db)

        return self._database.write(changing)


def _put(db: "Connection[Any]", entries: list[Entry]) -> list[Entry]:
    rows = [(entry.id, entry.time, entry.as_json()) for entry in entries]
    text = "INSERT INTO entries VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
    db.cursor().executemany(text, rows)
    return entries


def purge(database: Database) -> list[str]:
    """Rewrite the tables from which rows were removed; return what is left of these rows, and why.

    VACUUM alone would leave their bytes in free space of the pages. Rows that a transaction of
    others still sees are waited for. Raises: FaceOpsError.
    """
    names = database.rows("SELECT name FROM unpurged ORDER BY name")
    left = []
    for (name,) in names:
        if problem := _rewrite(database, name):
            left.append(f"{database.address.shown}: removed rows of {name}: {problem}")
            continue

        def done(db: "Connection[Any]", name: str = name) -> None:
            db.execute("DELETE FROM unpurged WHERE name=%s", (name,))

        database.write(done)
    if names:  # the old files are deleted at a checkpoint; the log of earlier changes is not
        for text in ("CHECKPOINT", "SELECT pg_switch_wal()"):
            try:
                database.outside(lambda db, text=text: db.execute(text))  # type: ignore[misc]
            except FaceOpsError:
                break  # only administrators may; the server does so in minutes
    return left


def _rewrite(database: Database, name: str) -> str:
    def work(db: "Connection[Any]") -> str:
        details: list[str] = []

        def listen(notice: Any) -> None:
            if notice.severity_nonlocalized == "INFO" and notice.message_detail:
                details.append(notice.message_detail)

        db.add_notice_handler(listen)
        try:
            db.execute(f"VACUUM (FULL, VERBOSE) {name}")
        finally:
            db.remove_notice_handler(listen)
        # In any language the first number of the detail is that of rows that others still see.
        seen = [int(found[0]) for detail in details if (found := re.search(r"\d+", detail))]
        if not seen:
            return "this user may not VACUUM it; its owner has to run VACUUM FULL on it"
        return f"{max(seen)} rows are seen by an older transaction" if max(seen) else ""

    deadline = time.monotonic() + PATIENCE_S
    while True:
        problem = database.outside(work)
        if not problem or "older" not in problem:
            return problem
        if time.monotonic() > deadline:
            return f"{problem}; run people forget again when that has ended"
        time.sleep(1)
