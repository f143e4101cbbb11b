"""People whom nobody has named: faces of several photos that are one person, listed by number."""

import csv
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.identification.cluster import group_faces
from faceops.identification.engine import NamedPhoto
from faceops.identification.output_folder import UNKNOWN_FILE
from faceops.identification.record_writers import csv_cell
from faceops.identification.unknown_numbers import FaceKey, number_groups, unknown_name
from faceops.reasons import Reason
from faceops.release.bundle import Bundle

# A face that is nearly somebody enrolled (`ambiguous`) is no unknown person.
_NOBODY = (Reason.BELOW_THRESHOLD, Reason.GALLERY_EMPTY)
_COLUMNS = ("photo_id", "photo_path", "face_index", "x", "y", "width", "height", "quality")
FIELDS = ("unknown", "photos", *_COLUMNS)


class UnknownFaces:
    """Collects the embeddings of the faces that nobody could name, in a file: memory is bounded.

    They come in the order of the records; a context manager.
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
        """Take in the faces of one photo."""
        for face, decision in zip(named.photo.faces, named.decisions, strict=True):
            if decision.reason in _NOBODY:
                self._file.write(face.embedding.astype(np.float32).tobytes())
                self.count += 1

    def embeddings(self) -> np.ndarray:
        """Return float32 (N, D), mapped from the file."""
        if not self.count:
            return np.zeros((0, self._size), np.float32)
        self._file.flush()
        return np.memmap(self._file, np.float32, "r", shape=(self.count, self._size))


@dataclass(frozen=True)
class UnknownPerson:
    """Faces of one person without a name: places in `UnknownPeople.faces`, by photo."""

    number: int
    photos: int
    rows: list[int] = field(repr=False)

    @property
    def name(self) -> str:
        """As unknown-007."""
        return unknown_name(self.number)


@dataclass(frozen=True, eq=False)
class UnknownPeople:
    """The faces that nobody could name, a row each with the columns of the records.

    `people` are those seen in two photos or more, the most frequent first; `alone` are the other
    rows, and `grouped` the faces that are not among these.
    """

    faces: pa.Table
    people: list[UnknownPerson]
    alone: list[int]
    grouped: frozenset[FaceKey]

    @property
    def grouped_faces(self) -> int:
        """How many faces belong to one of `people`."""
        return sum(len(person.rows) for person in self.people)

    def rows(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """Return those rows of `faces`."""
        return self.faces.take(_int64(places)).to_pylist()


def find_unknown_people(
    records: Path, unknown: UnknownFaces, bundle: Bundle, state: Path
) -> UnknownPeople:
    """Group the faces of the run's Parquet file `records` that nobody could name.

    Two faces are linked at the threshold that would name a stranger, among so many faces, no more
    often than the release's own budget allows. The same photo under two paths is one photo.

    Raises:
        FaceOpsError: as `number_groups`.
    """
    faces = _rows_without_name(records)
    columns = (faces["photo_id"].to_pylist(), faces["face_index"].to_pylist())
    keys = [FaceKey(photo_id, index) for photo_id, index in zip(*columns, strict=True)]
    places = {key: place for place, key in reversed([*enumerate(keys)])}
    distinct = sorted(places.values())
    photo_numbers: dict[str, int] = {}
    photos = [
        photo_numbers.setdefault(keys[place].photo_id, len(photo_numbers)) for place in distinct
    ]
    embeddings = unknown.embeddings()
    if len(distinct) < len(keys):
        embeddings = embeddings[distinct]
    thresholds = bundle.release.thresholds
    threshold = thresholds.for_search(thresholds.default_budget, max(1, len(distinct)))
    groups = group_faces(embeddings, photos, bundle.verify, threshold)
    by_key = {
        keys[place]: int(group) for place, group in zip(distinct, groups, strict=True) if group >= 0
    }
    rows: dict[int, list[int]] = defaultdict(list)
    alone = []
    for row, key in enumerate(keys):
        if key in by_key:
            rows[by_key[key]].append(row)
        else:
            alone.append(row)
    members = [list(dict.fromkeys(keys[row] for row in rows[group])) for group in sorted(rows)]
    numbers = number_groups(state, members)
    people = [
        UnknownPerson(number, len({key.photo_id for key in member}), rows[group])
        for number, member, group in zip(numbers, members, sorted(rows), strict=True)
    ]
    people.sort(key=lambda person: (-person.photos, person.number))
    return UnknownPeople(faces, people, alone, frozenset(by_key))


def write_unknown_people(found: UnknownPeople, folder: Path) -> None:
    """Write `folder`/unknown.csv: a row for each face of each unknown person, by number."""
    with (folder / UNKNOWN_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for person in sorted(found.people, key=lambda person: person.number):
            for row in found.rows(person.rows):
                cells = (person.name, person.photos, *(row[name] for name in _COLUMNS))
                writer.writerow([csv_cell(cell) for cell in cells])


def _rows_without_name(records: Path) -> pa.Table:
    with pq.ParquetFile(records) as file:
        parts = []
        for batch in file.iter_batches(columns=[*_COLUMNS, "reason"]):
            reasons = batch["reason"].to_pylist()
            rows = [row for row, reason in enumerate(reasons) if reason in _NOBODY]
            parts.append(batch.take(_int64(rows)).select(_COLUMNS))
        schema = pa.schema([file.schema_arrow.field(name) for name in _COLUMNS])
    return pa.Table.from_batches(parts, schema=schema)


def _int64(values: Sequence[int]) -> pa.Array:
    """Return the values for Arrow, which loads pandas to convert a list or to compare."""
    buffer = pa.py_buffer(np.asarray(values, np.int64))
    return pa.Array.from_buffers(pa.int64(), len(values), [None, buffer])
