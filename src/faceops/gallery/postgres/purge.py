"""Rewriting tables so that no bytes of removed rows are left, and reading all that they hold."""

import json
import re
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.files import json_texts
from faceops.gallery.postgres.connection import PATIENCE_S, Database
from faceops.gallery.postgres.tables import BLOCK, read_ids, read_vectors

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


def note_unpurged(db: "Connection[Any]", tables: Collection[str]) -> None:
    """Note, in the transaction that removes rows, the tables that `purge` has to rewrite."""
    for name in tables:
        db.execute("INSERT INTO unpurged VALUES (%s) ON CONFLICT DO NOTHING", (name,))


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


def cells(database: Database) -> Iterator[tuple[str, str | memoryview]]:
    """Yield the place and the content of all that the tables hold: texts, and bytes in blocks."""
    for table, columns in _TEXTS.items():
        for column in columns:
            for (text,) in database.rows(f"SELECT DISTINCT {column} FROM {table}"):
                yield f"{table}.{column}", text
                if text.startswith("{"):
                    inner = json_texts(json.loads(text))
                    yield from ((f"{table}.{column}", one) for one in inner)
    for number, size in database.rows(
        "SELECT vectors, (statement::json ->> 'embedding_size')::int FROM gallery"
    ):
        ids = database.read(read_ids)
        for start in range(0, len(ids), BLOCK):

            def block(db: "Connection[Any]", some: np.ndarray = ids[start : start + BLOCK]) -> Any:
                return read_vectors(db, number, size, some)  # noqa: B023

            yield f"vectors_{number}", memoryview(database.read(block).tobytes())
    crops = [crop_id for (crop_id,) in database.rows("SELECT id FROM crops ORDER BY id")]
    for start in range(0, len(crops), _CROPS):
        some = crops[start : start + _CROPS]
        rows = database.rows("SELECT png FROM crops WHERE id = ANY(%s)", some)
        yield "crops", memoryview(b"".join(png for (png,) in rows))
