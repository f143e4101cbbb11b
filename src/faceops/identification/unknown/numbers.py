"""The numbers of unknown people in the state of an output folder, and how faces were grouped.

Table `unknown_faces` has a row for each unknown face: `number`, that of the person whom it belonged
to last, if to any; `grouped`, 1 if it belongs to them since the latest run, 0 if it belongs to
nobody, NULL if it was not there; `embedding`, a digest of what it was compared by.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceops.identification.state import schema
from faceops.identification.unknown.groups import ALONE, NEW

_FACES = "photo_id TEXT, face_index INTEGER, number INTEGER"
_SINCE = ("grouped", "embedding")  # integer columns that tables of earlier versions lack
_TABLES = (
    f"CREATE TABLE IF NOT EXISTS unknown_faces ({_FACES}, "
    f"{', '.join(f'{name} INTEGER' for name in _SINCE)}, PRIMARY KEY (photo_id, face_index))",
    "CREATE TABLE IF NOT EXISTS unknown_given (number INTEGER)",  # one row: the highest so far
    "CREATE TABLE IF NOT EXISTS unknown_grouping (faces INTEGER, threshold REAL, cosine REAL)",
)
_ROW = [("place", np.int64), ("number", np.int64), ("grouped", np.int64), ("embedding", np.int64)]
_BLOCK = 1 << 16  # faces


class FaceKey(NamedTuple):
    """A face of a photo, as in the records."""

    photo_id: str
    face_index: int


class Grouping(NamedTuple):
    """By what all faces were grouped last.

    Attributes:
        faces: how many there were.
        threshold: the probability from which two are linked.
        cosine: the lowest at which two reach it.
    """

    faces: int
    threshold: float
    cosine: float


class StoredGroups:
    """What the state knows of the unknown faces of a run, in their order; see `open_groups`."""

    def __init__(self, db: sqlite3.Connection, faces: Iterable[tuple[str, int]]) -> None:
        self._db = db
        with schema.transaction(db):
            schema.prepare_tables(db)
            create_tables(db)
            db.execute("CREATE TEMP TABLE run (place INTEGER PRIMARY KEY, photo_id, face_index)")
            db.executemany("INSERT INTO run (photo_id, face_index) VALUES (?, ?)", faces)
            (count,) = db.execute("SELECT count(*) FROM run").fetchone()
            rows = db.execute(
                "SELECT place, coalesce(number, 0), coalesce(grouped, -1), coalesce(embedding, 0) "
                "FROM run JOIN unknown_faces USING (photo_id, face_index)"
            )
            found = np.fromiter(rows, _ROW)
            row = db.execute("SELECT * FROM unknown_grouping").fetchone()
        self.grouping = Grouping(*row) if row else None
        self._number = np.zeros(count, np.int64)  # 0 for none
        self._grouped, self._embedding = np.full(count, -1), np.zeros(count, np.int64)
        place = found["place"] - 1
        self._number[place], self._grouped[place] = found["number"], found["grouped"]
        self._embedding[place] = found["embedding"]

    def before(self, digests: np.ndarray) -> np.ndarray:
        """Return the number of the person whom each face belongs to, int64 (N,), `ALONE` or `NEW`.

        A face is new unless the latest run compared it by an embedding with the same digest.
        """
        known = (self._grouped >= 0) & (self._embedding == digests)
        return np.where(known, np.where(self._grouped > 0, self._number, ALONE), NEW)

    def store(self, group: np.ndarray, digests: np.ndarray, grouping: Grouping) -> list[int]:
        """Store the groups of all faces; return the number of each group, 1 and up.

        A group keeps the number that most of its faces had, of two such groups the one with more of
        these faces; no number is given to other people later. Faces without a group keep theirs.

        Args:
            group: int64 (N,), 0 and up, `ALONE` for a face without a group.
            digests: of the embeddings by which they were grouped, see `embedding_digests`.
            grouping: by what else.
        """
        db = self._db
        with schema.transaction(db):
            numbers = self.numbers(group)
            highest = max([self._given(), *numbers])
            db.execute("DELETE FROM unknown_given")
            db.execute("INSERT INTO unknown_given VALUES (?)", (highest,))
            db.execute("DELETE FROM unknown_grouping")
            db.execute("INSERT INTO unknown_grouping VALUES (?, ?, ?)", grouping)
            self._store_faces(np.array([*numbers, 0])[group], digests)
        return numbers

    def _given(self) -> int:
        (given,) = self._db.execute("SELECT max(number) FROM unknown_given").fetchone()
        return int(given or 0)

    def numbers(self, group: np.ndarray) -> list[int]:
        """Return the numbers that `store` gives to the groups; nothing is written."""
        highest = self._given()
        voting = np.flatnonzero((group >= 0) & (self._number > 0))
        pairs, counts = np.unique(
            np.stack([group[voting], self._number[voting]]), axis=1, return_counts=True
        )
        order = np.lexsort((*pairs, -counts))
        numbers: dict[int, int] = {}
        taken: set[int] = set()
        for place, number in pairs[:, order].T.tolist():
            if place not in numbers and number not in taken:
                numbers[place] = number
                taken.add(number)
        groups = range(int(group.max(initial=-1)) + 1)
        new = iter(range(highest + 1, highest + 1 + len(groups)))
        return [numbers[place] if place in numbers else next(new) for place in groups]

    def _store_faces(self, number: np.ndarray, embedding: np.ndarray) -> None:
        """Write the rows that change; 0 is the number of a face without a group."""
        db, grouped = self._db, (number > 0).astype(np.int64)
        is_same = (self._grouped == grouped) & (self._embedding == embedding)
        changed = np.flatnonzero(~is_same | ((number > 0) & (number != self._number)))
        gone = "grouped IS NOT NULL"
        (marked,) = db.execute(f"SELECT count(*) FROM unknown_faces WHERE {gone}").fetchone()
        if marked > (self._grouped >= 0).sum():
            db.execute("CREATE INDEX temp.of_run ON run (photo_id, face_index)")
            db.execute(
                f"UPDATE unknown_faces SET grouped=NULL, embedding=NULL WHERE {gone} AND NOT EXISTS"
                " (SELECT 1 FROM run WHERE run.photo_id=unknown_faces.photo_id "
                "AND run.face_index=unknown_faces.face_index)"
            )
        for start in range(0, len(changed), _BLOCK):
            some = changed[start : start + _BLOCK]
            columns = (number[some], grouped[some], embedding[some], some + 1)
            db.executemany(
                "INSERT INTO unknown_faces SELECT photo_id, face_index, nullif(?, 0), ?, ? "
                "FROM run WHERE place=? ON CONFLICT DO UPDATE SET "
                "number=coalesce(excluded.number, number), grouped=excluded.grouped, "
                "embedding=excluded.embedding",
                zip(*(column.tolist() for column in columns), strict=True),
            )


@contextlib.contextmanager
def open_groups(state: Path, faces: Iterable[tuple[str, int]]) -> Iterator[StoredGroups]:
    """Open what `state` knows of distinct `faces`, pairs of photo_id and face_index.

    It is read at once, and written at once by `StoredGroups.store`.

    Raises:
        FaceOpsError: see `state_errors`.
    """
    with schema.state_errors(state), contextlib.closing(schema.connect(state)) as db:
        yield StoredGroups(db, faces)


def embedding_digests(embeddings: np.ndarray) -> np.ndarray:
    """Return a number for each row of float32 (N, D), int64 (N,): others for other rows."""
    if embeddings.shape[1] % 2:
        embeddings = np.pad(embeddings, ((0, 0), (0, 1)))
    pairs = np.ascontiguousarray(embeddings).view(np.uint64)
    draw = np.random.default_rng(0)
    weights = draw.integers(0, 1 << 64, pairs.shape[1], np.uint64) | np.uint64(1)
    return (pairs @ weights).view(np.int64)


def forget_numbers(state: Path, faces: Iterable[FaceKey]) -> None:
    """Delete what is stored of these faces. Raises FaceOpsError: see `state_errors`."""
    with schema.open_state(state) as db:
        create_tables(db)
        db.executemany("DELETE FROM unknown_faces WHERE photo_id=? AND face_index=?", faces)


def create_tables(db: sqlite3.Connection) -> None:
    """Create the tables, or the columns of tables of earlier versions, that are missing."""
    for statement in _TABLES:
        db.execute(statement)
    known = {row[1] for row in db.execute("PRAGMA table_info(unknown_faces)")}
    for name in _SINCE:
        if name not in known:
            db.execute(f"ALTER TABLE unknown_faces ADD COLUMN {name} INTEGER")
