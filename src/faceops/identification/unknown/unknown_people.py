"""Unknown people: faces without a name that are one person in several photos, by number.

The numbers are kept in the state of the output folder, and stay the same from run to run. Its
table `unknown_faces` has a row for each unknown face: `number`, that of the person whom it belonged
to last, if to any; `grouped`, 1 if it belongs to them since the latest run, 0 if it belongs to
nobody, NULL if it was not there; `embedding`, a digest of what it was compared by.
"""

import contextlib
import itertools
import mmap
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base import arrow
from faceops.base.errors import UsageError
from faceops.base.files import csv_cell, write_csv
from faceops.base.reasons import Reason
from faceops.gallery.decisions import Decisions
from faceops.identification.records.output_folder import UNKNOWN_FILE
from faceops.identification.state import schema
from faceops.identification.unknown import groups
from faceops.release.bundle import Bundle

# A face that is nearly an enrolled person (`ambiguous`) is not an unknown person.
UNKNOWN_REASONS = (Reason.BELOW_THRESHOLD, Reason.GALLERY_EMPTY, Reason.REFUSED_BY_PERSON)
_COLUMNS = ("photo_id", "photo_path", "face_index", *groups.BOX, "quality")
_AT_ONCE = 4096  # rows
_SIMILAR = 2.0  # the number of faces may change by this factor before all are grouped anew
_KNOWN_SHARE = 0.5  # of the faces, from which only the others are grouped
FIELDS = ("unknown", "photos", *_COLUMNS)
FaceKey = tuple[str, int]  # photo_id and face_index
_FACES = "photo_id TEXT, face_index INTEGER, number INTEGER"
_SINCE = ("grouped", "embedding")  # integer columns that tables of earlier versions lack
_TABLES = (
    f"CREATE TABLE IF NOT EXISTS unknown_faces ({_FACES}, "
    f"{', '.join(f'{name} INTEGER' for name in _SINCE)}, PRIMARY KEY (photo_id, face_index))",
    "CREATE TABLE IF NOT EXISTS unknown_given (number INTEGER)",  # one row: the highest so far
    "CREATE TABLE IF NOT EXISTS unknown_grouping (faces INTEGER, threshold REAL, cosine REAL)",
)
_ROW = [("place", np.int64), ("number", np.int64), ("grouped", np.int64), ("embedding", np.int64)]
_FACES_AT_ONCE = 1 << 16  # faces
_NAMED = re.compile(r"unknown-0*([1-9][0-9]{0,9})", re.IGNORECASE)


def unknown_name(number: int) -> str:
    """Return the name of an unknown person, such as unknown-007."""
    return f"unknown-{number:03d}"


def is_unknown_name(name: str) -> bool:
    return _NAMED.fullmatch(name.strip()) is not None


def unknown_number(name: str) -> int:
    """Return the number in a name such as unknown-007. Raises UsageError: it is not such a name."""
    if match := _NAMED.fullmatch(name.strip()):
        return int(match[1])
    raise UsageError(
        f"{name} is not the name of an unknown person; give one such as unknown-007, as the report "
        "and unknown.csv show them."
    )


@dataclass(frozen=True, eq=False)
class UnknownPerson:
    """One unknown person: their number of photos, and rows of `UnknownPeople.faces`, int64."""

    number: int
    photos: int
    rows: np.ndarray = field(repr=False)

    @property
    def name(self) -> str:
        """Such as unknown-007."""
        return unknown_name(self.number)


@dataclass(frozen=True, eq=False)
class UnknownPeople:
    """The unknown faces of a run."""

    faces: pa.Table  # a row each, with columns of the records
    people: list[UnknownPerson]  # those seen in two photos or more, the most frequent first
    alone: np.ndarray  # int64, the rows of faces that belong to none of `people`

    @property
    def grouped_faces(self) -> int:
        return sum(len(person.rows) for person in self.people)


class Grouping(NamedTuple):
    """By what all faces were grouped last: how many, and from which probability two are linked.

    `cosine` is the lowest at which two reach that `threshold`.
    """

    faces: int
    threshold: float
    cosine: float


def find_unknown_people(
    records: Path | pa.Table,
    embeddings: np.ndarray,
    bundle: Bundle,
    state: Path,
    decisions: Decisions | None = None,
    *,
    keeps: bool = True,
) -> UnknownPeople:
    """Group the unknown faces of the run's Parquet file `records`, or of its rows, by person.

    Two faces are linked from the threshold at which a search among so many faces stays within the
    release's default budget of false identifications, see `Thresholds.for_groups`. The same photo
    under two paths is one photo.

    Faces that the latest run compared by the same embeddings keep their groups, and only the others
    are compared, with all faces. All are grouped anew where fewer than half of the faces are known,
    or where the threshold is another one. So that it does not change with each photo, it stays that
    of the number of faces that were grouped anew last, until there are twice or half as many.

    Args:
        embeddings: float32 (N, D), of each row of the records with a face, in order; may be mapped
            from a file.
        decisions: say which faces people have put together, or kept apart.
        keeps: whether the state keeps the groups; else they are those that the next run will find.

    Raises:
        FaceOpsError: see `state_errors`.
        ValueError: there are more or fewer embeddings than rows with a face.
    """
    faces, rows, count = (
        _rows_in_file(records)
        if isinstance(records, Path)
        else _rows_without_name(records.to_batches(), records.schema)
    )
    if count != len(embeddings):
        raise ValueError(f"{count} rows with a face, {len(embeddings)} embeddings")
    coded = faces["photo_id"].combine_chunks().dictionary_encode()
    photo_ids, photos = coded.dictionary, arrow.numbers(coded.indices).astype(np.int64)
    indices = arrow.numbers(faces["face_index"].combine_chunks()).astype(np.int64)
    # A number for each face, the same for the same face under two paths.
    face = photos * (int(indices.max(initial=0)) + 1) + indices
    _, first, face = np.unique(face, return_index=True, return_inverse=True)
    distinct = np.sort(first)
    own = np.asarray(embeddings[rows[distinct]], np.float32)
    if isinstance(embeddings.base, mmap.mmap):
        embeddings.base.madvise(mmap.MADV_DONTNEED)  # the file's pages count as memory
    photos, indices, digests = photos[distinct], indices[distinct], embedding_digests(own)
    with open_groups(state, _keys(photo_ids, photos, indices)) as stored:
        grouping = _grouping(bundle, len(own), stored.grouping)
        is_same = grouping == stored.grouping
        before = stored.before(digests) if is_same else np.full(len(own), groups.NEW)
        if (before != groups.NEW).sum() < _KNOWN_SHARE * len(own):
            grouping, before = _grouping(bundle, len(own), None), np.full(len(own), groups.NEW)
        known = groups.constraints_of(
            decisions, arrow.take_rows(faces, distinct), photo_ids, photos
        )
        found = groups.group_faces(own, photos, bundle.verify, grouping.threshold, before, known)
        numbers = stored.store(found, digests, grouping) if keeps else stored.numbers(found)
    group = found[np.searchsorted(distinct, first)][face]  # of each row
    counts = np.bincount(found[found >= 0])  # of photos, as a person has one face in each
    people = [
        UnknownPerson(number, count, members)
        for number, count, members in zip(numbers, counts.tolist(), _by_group(group), strict=True)
    ]
    people.sort(key=lambda person: (-person.photos, person.number))
    return UnknownPeople(faces, people, np.flatnonzero(group < 0))


def _grouping(bundle: Bundle, faces: int, before: Grouping | None) -> Grouping:
    """Return by what so many faces are grouped; as many as before, if nearly as many."""
    if before and before.faces < _SIMILAR * faces and faces < _SIMILAR * before.faces:
        faces = before.faces
    thresholds = bundle.release.thresholds
    threshold = thresholds.for_groups(thresholds.default_budget, max(1, faces))
    cosine = groups.lowest_cosine(bundle.verify, threshold, bundle.release.embedding_size)
    return Grouping(faces, threshold, cosine)


def _keys(photo_ids: pa.Array, photos: np.ndarray, indices: np.ndarray) -> Iterator[FaceKey]:
    for start in range(0, len(photos), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        ids = arrow.take_rows(photo_ids, photos[some]).to_pylist()
        yield from zip(ids, indices[some].tolist(), strict=True)


def write_unknown_people(found: UnknownPeople, folder: Path) -> None:
    """Write `folder`/unknown.csv: a row for each face of each unknown person, by number."""
    people = sorted(found.people, key=lambda person: person.number)
    of_row = np.repeat(np.arange(len(people)), [len(person.rows) for person in people])
    rows = np.concatenate([np.zeros(0, np.int64), *(person.rows for person in people)])

    def cells() -> Iterator[list[object]]:
        for start in range(0, len(rows), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            table = arrow.take_rows(found.faces, rows[some])
            columns = {name: table[name].to_pylist() for name in _COLUMNS}
            columns["photo_path"] = [csv_cell(path) for path in columns["photo_path"]]
            for place, *row in zip(of_row[some].tolist(), *columns.values(), strict=True):
                yield [people[place].name, people[place].photos, *row]

    write_csv(folder / UNKNOWN_FILE, FIELDS, cells())


def _rows_in_file(records: Path) -> tuple[pa.Table, np.ndarray, int]:
    with pq.ParquetFile(records) as file:
        batches = file.iter_batches(1 << 16, columns=[*_COLUMNS, "reason"])
        found = _rows_without_name(batches, file.schema_arrow)
    pa.default_memory_pool().release_unused()  # what reading took
    return found


def _rows_without_name(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> tuple[pa.Table, np.ndarray, int]:
    """Return the rows of unknown faces, their places among all faces, and how many these are."""
    parts, places, faces = [], [], 0
    for batch in batches:
        reasons = batch["reason"].dictionary_encode(null_encoding="encode")
        known = reasons.dictionary.to_pylist()
        wanted = [code for code, reason in enumerate(known) if reason in UNKNOWN_REASONS]
        is_unknown = np.isin(np.from_dlpack(reasons.indices), wanted)
        has_face = np.from_dlpack(batch["face_index"].is_valid().cast(pa.uint8())) > 0
        rows = np.flatnonzero(is_unknown & has_face)
        parts.append(arrow.take_rows(batch.select(_COLUMNS), rows))
        places.append(faces + np.cumsum(has_face)[rows] - 1)
        faces += int(has_face.sum())
    rows = np.concatenate([np.zeros(0, np.int64), *places])
    own = pa.schema([schema.field(name) for name in _COLUMNS])
    return pa.Table.from_batches(parts, own), rows, faces


def _by_group(group: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(group.max(initial=-1) + 2))
    return [order[start:end] for start, end in itertools.pairwise(ends.tolist())]


class StoredGroups:
    """What the state knows of the unknown faces of a run, in their order; see `open_groups`."""

    def __init__(self, db: sqlite3.Connection, faces: Iterable[FaceKey]) -> None:
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
            (given,) = db.execute("SELECT max(number) FROM unknown_given").fetchone()
        self.grouping, self._given = Grouping(*row) if row else None, int(given or 0)
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
        return np.where(known, np.where(self._grouped > 0, self._number, groups.ALONE), groups.NEW)

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
            highest = max([self._given, *numbers])
            db.execute("DELETE FROM unknown_given")
            db.execute("INSERT INTO unknown_given VALUES (?)", (highest,))
            db.execute("DELETE FROM unknown_grouping")
            db.execute("INSERT INTO unknown_grouping VALUES (?, ?, ?)", grouping)
            self._store_faces(np.array([*numbers, 0])[group], digests)
        return numbers

    def numbers(self, group: np.ndarray) -> list[int]:
        """Return the numbers that `store` gives to the groups; nothing is written."""
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
        places = range(int(group.max(initial=-1)) + 1)
        new = itertools.count(self._given + 1)
        return [numbers[place] if place in numbers else next(new) for place in places]

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
        for start in range(0, len(changed), _FACES_AT_ONCE):
            some = changed[start : start + _FACES_AT_ONCE]
            columns = (number[some], grouped[some], embedding[some], some + 1)
            db.executemany(
                "INSERT INTO unknown_faces SELECT photo_id, face_index, nullif(?, 0), ?, ? "
                "FROM run WHERE place=? ON CONFLICT DO UPDATE SET "
                "number=coalesce(excluded.number, number), grouped=excluded.grouped, "
                "embedding=excluded.embedding",
                zip(*(column.tolist() for column in columns), strict=True),
            )


@contextlib.contextmanager
def open_groups(state: Path, faces: Iterable[FaceKey]) -> Iterator[StoredGroups]:
    """Open what `state` knows of distinct `faces`, pairs of photo_id and face_index.

    It is read at once, and written at once by `StoredGroups.store`.

    Raises FaceOpsError: see `state_errors`.
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
