"""The tables of a gallery: their versions, and how faces are read from and written to them.

A later version of the tables is a further step in `MIGRATIONS`. `FaceTable.stored` is the id of a
face: those with one are in the tables as they are. Faces are read and written as columns.
"""

import io
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from faceops.base.arrow import numbers, plain_array
from faceops.base.errors import DamageError
from faceops.gallery.faces_file import COLUMNS, UNSAVED, Embeddings, FaceTable

if TYPE_CHECKING:
    from psycopg import Connection


CROP_TABLES = 16  # forgetting rewrites only those that held a crop of the person

# Columns about people get no statistics: those would keep names and vectors of removed rows.
_PRIVATE = {
    "faces": ("person", "photo_id", "photo", "x", "y", "width", "height", "crop_id"),
    "entries": ("id", "time", "content"),
    "tried": ("entry", "contract", "reason"),
    "outputs": ("line",),
    "gallery": ("statement",),
}

_VERSION_1 = (
    # `change` is random and new with every change of statement or faces; `vectors` is the number
    # of the table with the embeddings, vectors_N, of the contract that the statement names.
    "CREATE TABLE gallery (one bool PRIMARY KEY CHECK (one), statement text NOT NULL, "
    "change text NOT NULL, vectors bigint NOT NULL, next_id bigint NOT NULL)",
    'CREATE TABLE faces (id bigint PRIMARY KEY, person text COLLATE "C" NOT NULL, '
    "photo_id text NOT NULL, photo text NOT NULL, x float8 NOT NULL, y float8 NOT NULL, "
    "width float8 NOT NULL, height float8 NOT NULL, detector_score float8 NOT NULL, "
    "quality float8 NOT NULL, crop_id text NOT NULL, origin text NOT NULL)",
    "CREATE INDEX faces_by_crop ON faces (crop_id)",
    # `unsaved`: stored before its face, by a writer that may have been killed.
    'CREATE TABLE crops (id text COLLATE "C" PRIMARY KEY, png bytea NOT NULL, '
    "unsaved bool NOT NULL) PARTITION BY HASH (id)",
    *(
        f"CREATE TABLE crops_{number} PARTITION OF crops "
        f"FOR VALUES WITH (MODULUS {CROP_TABLES}, REMAINDER {number})"
        for number in range(CROP_TABLES)
    ),
    *(
        f"ALTER TABLE crops_{number} ALTER id SET STATISTICS 0, ALTER png SET STATISTICS 0, "
        "ALTER png SET STORAGE EXTERNAL"
        for number in range(CROP_TABLES)
    ),
    "CREATE INDEX crops_unsaved ON crops (id) WHERE unsaved",
    # The journal of decisions, see `faceops.gallery.journal`.
    "CREATE TABLE journal (one bool PRIMARY KEY CHECK (one), change text NOT NULL)",
    "INSERT INTO journal VALUES (true, '')",
    'CREATE TABLE entries (id text COLLATE "C" PRIMARY KEY, time text COLLATE "C" NOT NULL, '
    "content text NOT NULL)",
    "CREATE INDEX entries_by_time ON entries (time, id)",
    "CREATE TABLE tried (entry text, contract text, reason text NOT NULL, "
    "PRIMARY KEY (entry, contract))",
    "CREATE TABLE outputs (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
    "line text NOT NULL)",
    # Tables from which rows were removed or changed since they were last rewritten.
    "CREATE TABLE unpurged (name text PRIMARY KEY)",
    *(
        f"ALTER TABLE {table} " + ", ".join(f"ALTER {one} SET STATISTICS 0" for one in columns)
        for table, columns in _PRIVATE.items()
    ),
)

MIGRATIONS: list[tuple[str, ...]] = [_VERSION_1]


def vectors_table(number: int, size: int) -> tuple[str, ...]:
    """Return the statements that make the table of a set of embeddings of `size` values."""
    name = f"vectors_{number}"
    storage = ", ALTER embedding SET STORAGE PLAIN" if size <= 1900 else ""  # fits in a page
    return (
        f"CREATE TABLE {name} (id bigint PRIMARY KEY, embedding vector({size}) NOT NULL)",
        f"ALTER TABLE {name} ALTER embedding SET STATISTICS 0{storage}",
    )


BLOCK = 8192  # embeddings that are read or written at once
_BOX = ("x", "y", "width", "height")
_TEXTS = ("person", "photo_id", "photo", "crop_id", "origin")
_NUMBERS = (*_BOX, "detector_score", "quality")
_LAYOUT = pa.schema(
    [(name, pa.string()) for name in _TEXTS] + [(name, pa.float64()) for name in _NUMBERS]
)
_COLUMNS = ", ".join(_LAYOUT.names)


def read_ids(db: "Connection[Any]") -> np.ndarray:
    """Return the ids of all faces, int64 (N,)."""
    row = db.execute("SELECT coalesce(string_agg(int8send(id), ''), '') FROM faces", binary=True)
    (content,) = row.fetchone() or (b"",)
    return np.frombuffer(content, ">i8").astype(np.int64)


def read_faces(
    db: "Connection[Any]", number: int, size: int, ids: np.ndarray | None = None
) -> FaceTable:
    """Return all faces, or those of `ids`, with their embeddings of the table vectors_`number`.

    Raises DamageError: an embedding is missing.
    """
    chosen = "" if ids is None else f" WHERE id = ANY('{{{','.join(map(str, ids.tolist()))}}}')"
    buffer, schema = io.BytesIO(), pa.schema([*_LAYOUT, ("id", pa.int64())])
    select = f"SELECT {_COLUMNS}, id FROM faces{chosen}"
    with db.cursor().copy(f"COPY ({select}) TO STDOUT (FORMAT csv)") as copy:
        for block in copy:
            buffer.write(block)
    buffer.seek(0)
    table = schema.empty_table()
    if buffer.getbuffer().nbytes:
        table = csv.read_csv(
            buffer,
            csv.ReadOptions(column_names=schema.names),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(column_types=schema, strings_can_be_null=False),
        )
    found = numbers(table["id"]).astype(np.int64)
    corners = np.stack([numbers(table[name]) for name in _BOX], axis=1).astype(np.float64)
    box = plain_array(corners, COLUMNS.field("box").type)
    columns = [box if name == "box" else table[name] for name in COLUMNS.names]
    faces = pa.Table.from_arrays(columns, schema=COLUMNS)
    vectors = read_vectors(db, number, size, found)
    return FaceTable.joined(
        [FaceTable(faces, Embeddings.of(vectors, len(found), size), found)], size
    )


def read_vectors(db: "Connection[Any]", number: int, size: int, ids: np.ndarray) -> np.ndarray:
    """Return the embeddings of faces, float32 (N, size). Raises: DamageError if one is missing."""
    vectors, order = np.zeros((len(ids), size), np.float32), np.argsort(ids)
    missing = 0
    for start in range(0, len(ids), BLOCK):
        rows = order[start : start + BLOCK]
        own, block = _block(db, number, size, ids[rows])
        places = np.searchsorted(ids[rows], own)
        vectors[rows[places]] = block
        missing += len(rows) - len(own)
    if missing:
        raise DamageError(
            f"the embeddings of {missing} of {len(ids)} faces are missing; restore a backup of the "
            "database, or import an archive of `faceops gallery export`."
        )
    return vectors


def _block(
    db: "Connection[Any]", number: int, size: int, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # One value: an object for each row would take seconds for a million.
    is_range = ids[-1] - ids[0] == len(ids) - 1
    chosen = "BETWEEN %s AND %s" if is_range else "= ANY(%s)"
    row = db.execute(
        "SELECT coalesce(string_agg(int8send(id) || vector_send(embedding), ''), '') "
        f"FROM vectors_{number} WHERE id {chosen}",
        (int(ids[0]), int(ids[-1])) if is_range else (ids.tolist(),),
        binary=True,
    ).fetchone()
    rows = np.frombuffer(row[0] if row else b"", _record(size, is_copied=False))
    return rows["id"].astype(np.int64), rows["vector"].astype(np.float32)


def _record(size: int, *, is_copied: bool) -> np.dtype[Any]:
    """Return the layout of a row, as PostgreSQL sends it or, with `is_copied`, as COPY takes it."""
    vector = [("values", ">i2"), ("unused", ">i2"), ("vector", ">f4", (size,))]
    if not is_copied:
        return np.dtype([("id", ">i8"), *vector])
    return np.dtype(
        [("fields", ">i2"), ("id_bytes", ">i4"), ("id", ">i8"), ("vector_bytes", ">i4"), *vector]
    )


def write_vectors(
    db: "Connection[Any]", number: int, ids: np.ndarray, embeddings: np.ndarray
) -> None:
    """Add embeddings, float32 (N, D), to a set."""
    size = embeddings.shape[1]
    with db.cursor().copy(f"COPY vectors_{number} FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\x00" + bytes(8))
        for start in range(0, len(ids), BLOCK):
            rows = slice(start, start + BLOCK)
            block = np.zeros(len(ids[rows]), _record(size, is_copied=True))
            block["fields"], block["id_bytes"], block["id"] = 2, 8, ids[rows]
            block["vector_bytes"], block["values"] = 4 + 4 * size, size
            block["vector"] = embeddings[rows]
            copy.write(block.tobytes())
        copy.write(b"\xff\xff")


def write_faces(db: "Connection[Any]", faces: FaceTable, ids: np.ndarray) -> None:
    """Add faces without their embeddings."""
    table = _flat(faces.columns).append_column("id", plain_array(ids, pa.int64()))
    options = csv.WriteOptions(include_header=False, quoting_style="all_valid")
    with db.cursor().copy(f"COPY faces ({_COLUMNS}, id) FROM STDIN (FORMAT csv)") as copy:
        csv.write_csv(table, _Sink(copy.write), options)


def _flat(columns: pa.Table) -> pa.Table:
    corners = numbers(columns["box"].combine_chunks().flatten()).reshape(-1, 4)
    flat = {name: plain_array(corners[:, place], pa.float64()) for place, name in enumerate(_BOX)}
    flat |= {name: columns[name] for name in columns.column_names}
    return pa.Table.from_arrays([flat[name] for name in _LAYOUT.names], schema=_LAYOUT)


class _Sink(io.RawIOBase):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._take(bytes(content))
        return len(content)


def same_faces(new: pa.Table, old: pa.Table) -> np.ndarray:
    """Return the row of `old` that is the face of each row of `new`, int64, -1 without one.

    It is the same face if all but its person is equal; one of the same person is preferred. No row
    is taken twice.
    """
    new, old = _flat(new), _flat(old)
    rows = np.full(len(new), -1, np.int64)
    for ignored in ([], ["person"]):
        left, right = np.flatnonzero(rows < 0), np.setdiff1d(np.arange(len(old)), rows)
        if not (len(left) and len(right)):
            break
        tables = [
            table.take(pa.array(some)).drop_columns(ignored).append_column(name, pa.array(some))
            for table, some, name in ((new, left, "_new"), (old, right, "_old"))
        ]
        joined = tables[0].join(tables[1], tables[1].column_names[:-1], join_type="inner")
        before, after = numbers(joined["_old"]), numbers(joined["_new"])
        _, first = np.unique(after, return_index=True)
        _, once = np.unique(before[first], return_index=True)
        rows[after[first][once]] = before[first][once]
    return rows


class Writing:
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
        present = read_ids(db)
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
        write_faces(db, faces.take(added), self.ids[added])
        if is_other_set:  # beside the old one, which others read until this is committed
            for text in vectors_table(number + 1, faces.embeddings.shape[1]):
                db.execute(text)
            write_vectors(db, number + 1, self.ids, faces.embeddings)
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
        write_vectors(db, number, self.ids[some], faces.embeddings[some])
        return number

    def _keep_same_faces(self) -> tuple[np.ndarray, np.ndarray]:
        """Reuse the stored rows of unsaved faces that differ at most in the person.

        Returns their rows, int64 (R,), and their stored embeddings.
        """
        if not (len(self._unsaved) and len(self._gone)):
            return np.zeros(0, np.int64), np.zeros((0, self._faces.embeddings.shape[1]))
        old = read_faces(self._db, self._number, self._size, self._gone)
        new = self._faces.take(self._unsaved)
        found = same_faces(new.columns, old.columns)
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


def note_unpurged(db: "Connection[Any]", names: Collection[str]) -> None:
    """Note, in the transaction that removes rows, the tables that `purge` has to rewrite."""
    for name in names:
        db.execute("INSERT INTO unpurged VALUES (%s) ON CONFLICT DO NOTHING", (name,))
