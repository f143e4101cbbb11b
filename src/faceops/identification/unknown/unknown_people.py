"""Unknown people: faces without a name that are one person in several photos, by number.

The numbers are kept in the state of the output folder, and stay the same from run to run.
"""

import contextlib
import itertools
import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import UsageError
from faceops.base.reasons import Reason
from faceops.base.tables import csv_cell, write_csv
from faceops.identification.engine.decide import NamedPhoto
from faceops.identification.records.output_folder import UNKNOWN_FILE
from faceops.identification.state.schema import open_state
from faceops.identification.unknown.groups import group_faces
from faceops.release.bundle import Bundle

# A face that is nearly an enrolled person (`ambiguous`) is not an unknown person.
_UNKNOWN_REASONS = (Reason.BELOW_THRESHOLD, Reason.GALLERY_EMPTY)
_COLUMNS = ("photo_id", "photo_path", "face_index", "x", "y", "width", "height", "quality")
_AT_ONCE = 4096  # rows
FIELDS = ("unknown", "photos", *_COLUMNS)
_NAMED = re.compile(r"unknown-0*([1-9][0-9]{0,9})", re.IGNORECASE)
_TABLES = (
    "CREATE TABLE IF NOT EXISTS unknown_faces (photo_id TEXT, face_index INTEGER, number INTEGER, "
    "PRIMARY KEY (photo_id, face_index))",
    "CREATE TABLE IF NOT EXISTS unknown_given (number INTEGER)",  # one row: the highest so far
)
_FACE = "photo_id=? AND face_index=?"


class FaceKey(NamedTuple):
    """A face of a photo, as in the records."""

    photo_id: str
    face_index: int


def unknown_name(number: int) -> str:
    """Return the name of an unknown person, such as unknown-007."""
    return f"unknown-{number:03d}"


def unknown_number(name: str) -> int:
    """Return the number in a name such as unknown-007.

    Raises:
        UsageError: it is not such a name.
    """
    match = _NAMED.fullmatch(name.strip())
    if match is None:
        raise UsageError(
            f"{name} is not the name of an unknown person; give one such as unknown-007, as the "
            "report and unknown.csv show them."
        )
    return int(match.group(1))


class UnknownFaces:
    """Collects the embeddings of unknown faces in a temporary file, in the order of the records.

    A context manager; memory is bounded.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._file = tempfile.TemporaryFile(buffering=1 << 20, dir=folder, prefix=".embeddings-")  # noqa: SIM115
        self._size = size
        self.count = 0

    def __enter__(self) -> "UnknownFaces":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, named: NamedPhoto) -> None:
        """Add the unknown faces of one photo."""
        for face, decision in zip(named.photo.faces, named.decisions, strict=True):
            if decision.reason in _UNKNOWN_REASONS:
                self._file.write(face.embedding.astype(np.float32).tobytes())
                self.count += 1

    def embeddings(self) -> np.ndarray:
        """Return float32 (N, D), mapped from the file."""
        if not self.count:
            return np.zeros((0, self._size), np.float32)
        self._file.flush()
        return np.memmap(self._file, np.float32, "r+", shape=(self.count, self._size))

    def keep(self, rows: np.ndarray) -> None:
        """Keep only these rows, int (K,), ascending, and compact the file."""
        if len(rows) == self.count:
            return
        mapped = self.embeddings()
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            mapped[start : start + len(some)] = mapped[some]
        self.count = len(rows)


@dataclass(frozen=True)
class UnknownPerson:
    """One unknown person: their number of photos, and rows of `UnknownPeople.faces`."""

    number: int
    photos: int
    rows: list[int] = field(repr=False)

    @property
    def name(self) -> str:
        """Such as unknown-007."""
        return unknown_name(self.number)


@dataclass(frozen=True, eq=False)
class UnknownPeople:
    """The unknown faces of a run.

    Attributes:
        faces: a row each, with columns of the records.
        people: those seen in two photos or more, the most frequent first.
        alone: int64, the rows of faces that belong to none of `people`.
        grouped: the faces that belong to one of them.
    """

    faces: pa.Table
    people: list[UnknownPerson]
    alone: np.ndarray
    grouped: frozenset[FaceKey]

    @property
    def grouped_faces(self) -> int:
        """How many faces belong to one of `people`."""
        return sum(len(person.rows) for person in self.people)

    def rows(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Return those rows of `faces`."""
        return self.faces.take(_int64(numbers)).to_pylist()


def find_unknown_people(
    records: Path, unknown: UnknownFaces, bundle: Bundle, state: Path
) -> UnknownPeople:
    """Group the unknown faces of the run's Parquet file `records` by person.

    Two faces are linked from the threshold at which a search among so many faces stays within the
    release's default budget of false identifications. The same photo under two paths is one photo,
    and `unknown` keeps its faces once.

    Raises:
        FaceOpsError: as `number_groups`.
    """
    faces = _rows_without_name(records)
    coded = faces["photo_id"].combine_chunks().dictionary_encode()
    photo_ids, photos = coded.dictionary.to_pylist(), _int64_rows(coded.indices)
    indices = _int64_rows(faces["face_index"].combine_chunks())
    # A number for each face, the same for the same face under two paths.
    face = photos * (int(indices.max(initial=0)) + 1) + indices
    _, first, face = np.unique(face, return_index=True, return_inverse=True)
    distinct = np.sort(first)
    unknown.keep(distinct)
    thresholds = bundle.release.thresholds
    threshold = thresholds.for_search(thresholds.default_budget, max(1, len(distinct)))
    found = group_faces(unknown.embeddings(), photos[distinct].tolist(), bundle.verify, threshold)
    group = found[np.searchsorted(distinct, first)][face]  # of each row
    rows = _by_group(group)
    members = [
        [
            FaceKey(photo_ids[photo], index)
            for photo, index in zip(photos[own].tolist(), indices[own].tolist(), strict=True)
        ]
        for own in _by_group(found, distinct)
    ]
    numbers = number_groups(state, members)
    people = [
        UnknownPerson(number, len({key.photo_id for key in member}), own.tolist())
        for number, member, own in zip(numbers, members, rows, strict=True)
    ]
    people.sort(key=lambda person: (-person.photos, person.number))
    grouped = frozenset(key for member in members for key in member)
    return UnknownPeople(faces, people, np.flatnonzero(group < 0), grouped)


def write_unknown_people(found: UnknownPeople, folder: Path) -> None:
    """Write `folder`/unknown.csv: a row for each face of each unknown person, by number."""
    rows = (
        [csv_cell(cell) for cell in (person.name, person.photos, *(row[n] for n in _COLUMNS))]
        for person in sorted(found.people, key=lambda person: person.number)
        for row in found.rows(person.rows)
    )
    write_csv(folder / UNKNOWN_FILE, FIELDS, rows)


def _rows_without_name(records: Path) -> pa.Table:
    with pq.ParquetFile(records) as file:
        parts = []
        for batch in file.iter_batches(columns=[*_COLUMNS, "reason"]):
            reasons = batch["reason"].to_pylist()
            rows = [row for row, reason in enumerate(reasons) if reason in _UNKNOWN_REASONS]
            parts.append(batch.take(_int64(rows)).select(_COLUMNS))
        schema = pa.schema([file.schema_arrow.field(name) for name in _COLUMNS])
    return pa.Table.from_batches(parts, schema=schema)


def _by_group(group: np.ndarray, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """Return the places of each group from 0 up, ascending; or the `rows` at these places."""
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(group.max(initial=-1) + 2))
    places = order if rows is None else rows[order]
    return [places[start:end] for start, end in itertools.pairwise(ends.tolist())]


def _int64(values: Sequence[int]) -> pa.Array:
    """Return the values for Arrow, which loads pandas to convert a list or to compare."""
    buffer = pa.py_buffer(np.asarray(values, np.int64))
    return pa.Array.from_buffers(pa.int64(), len(values), [None, buffer])


def _int64_rows(values: pa.Array) -> np.ndarray:
    """Return integers without nulls as int64 (N,); Arrow's own `to_numpy` loads pandas."""
    return np.from_dlpack(values).astype(np.int64)


def number_groups(state: Path, groups: Sequence[Sequence[FaceKey]]) -> list[int]:
    """Return the number of each group of faces, 1 and up, and store them in `state`.

    A group keeps the number that most of its faces had, of two such groups the one with more of
    these faces; no number is given to other people later. Faces without a group keep theirs.

    Raises:
        FaceOpsError: as `state_errors`.
    """
    with _opened(state) as db:
        votes = sorted(
            (-count, number, place)
            for place, group in enumerate(groups)
            for number, count in Counter(
                number
                for face in group
                for (number,) in db.execute(f"SELECT number FROM unknown_faces WHERE {_FACE}", face)
            ).items()
        )
        numbers: dict[int, int] = {}
        taken: set[int] = set()
        for _, number, place in votes:
            if place not in numbers and number not in taken:
                numbers[place] = number
                taken.add(number)
        highest = db.execute("SELECT max(number) FROM unknown_given").fetchone()[0] or 0
        for place in range(len(groups)):
            if place not in numbers:
                highest += 1
                numbers[place] = highest
        db.execute("DELETE FROM unknown_given")
        db.execute("INSERT INTO unknown_given VALUES (?)", (highest,))
        db.executemany(
            "INSERT INTO unknown_faces VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
            "SET number=excluded.number WHERE number<>excluded.number",
            ((*face, numbers[place]) for place, group in enumerate(groups) for face in group),
        )
    return [numbers[place] for place in range(len(groups))]


def forget_numbers(state: Path, faces: Iterable[FaceKey]) -> None:
    """Delete the numbers of these faces; errors as `number_groups`."""
    with _opened(state) as db:
        db.executemany(f"DELETE FROM unknown_faces WHERE {_FACE}", faces)


@contextlib.contextmanager
def _opened(state: Path) -> Iterator[sqlite3.Connection]:
    with open_state(state) as db:
        create_tables(db)
        yield db


def create_tables(db: sqlite3.Connection) -> None:
    """Create the tables of the numbers, if they are missing."""
    for statement in _TABLES:
        db.execute(statement)
