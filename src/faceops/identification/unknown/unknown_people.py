"""Unknown people: faces without a name that are one person in several photos, by number.

The numbers are kept in the state of the output folder, and stay the same from run to run.
"""

import itertools
import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base import arrow
from faceops.base.errors import UsageError
from faceops.base.files import csv_cell, write_csv
from faceops.base.reasons import Reason
from faceops.gallery.decisions import Decisions
from faceops.identification.records.output_folder import UNKNOWN_FILE
from faceops.identification.unknown import groups
from faceops.identification.unknown.numbers import Grouping, embedding_digests, open_groups
from faceops.release.bundle import Bundle

# A face that is nearly an enrolled person (`ambiguous`) is not an unknown person.
UNKNOWN_REASONS = (Reason.BELOW_THRESHOLD, Reason.GALLERY_EMPTY, Reason.REFUSED_BY_PERSON)
BOX = ("x", "y", "width", "height")
_COLUMNS = ("photo_id", "photo_path", "face_index", *BOX, "quality")
_AT_ONCE = 4096  # rows
_SIMILAR = 2.0  # the number of faces may change by this factor before all are grouped anew
_KNOWN_SHARE = 0.5  # of the faces, from which only the others are grouped
FIELDS = ("unknown", "photos", *_COLUMNS)
_NAMED = re.compile(r"unknown-0*([1-9][0-9]{0,9})", re.IGNORECASE)


def unknown_name(number: int) -> str:
    """Return the name of an unknown person, such as unknown-007."""
    return f"unknown-{number:03d}"


def is_unknown_name(name: str) -> bool:
    """Return whether it is a name such as unknown-007."""
    return _NAMED.fullmatch(name.strip()) is not None


def unknown_number(name: str) -> int:
    """Return the number in a name such as unknown-007. Raises UsageError: it is not such a name."""
    match = _NAMED.fullmatch(name.strip())
    if match is None:
        raise UsageError(
            f"{name} is not the name of an unknown person; give one such as unknown-007, as the "
            "report and unknown.csv show them."
        )
    return int(match.group(1))


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
    """The unknown faces of a run.

    Attributes:
        faces: a row each, with columns of the records.
        people: those seen in two photos or more, the most frequent first.
        alone: int64, the rows of faces that belong to none of `people`.
    """

    faces: pa.Table
    people: list[UnknownPerson]
    alone: np.ndarray

    @property
    def grouped_faces(self) -> int:
        """How many faces belong to one of `people`."""
        return sum(len(person.rows) for person in self.people)

    def rows(self, numbers: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """Return those rows of `faces`."""
        found: list[dict[str, Any]] = arrow.take_rows(self.faces, np.asarray(numbers)).to_pylist()
        return found


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
        before = (
            np.full(len(own), groups.NEW) if grouping != stored.grouping else stored.before(digests)
        )
        if (before != groups.NEW).sum() < _KNOWN_SHARE * len(own):
            grouping, before = _grouping(bundle, len(own), None), np.full(len(own), groups.NEW)
        known = _constraints(decisions, arrow.take_rows(faces, distinct), photo_ids, photos)
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


def _constraints(
    decisions: Decisions | None, faces: pa.Table, photo_ids: pa.Array, photos: np.ndarray
) -> groups.Constraints | None:
    """Return what people decided about N unknown faces; journal persons without a name are groups.

    `photos`, int64 (N,), are places in `photo_ids`.
    """
    if not decisions:
        return None
    decided = decisions.photos()
    wanted = [at for at, one in enumerate(photo_ids.to_pylist()) if one in decided]
    rows = np.flatnonzero(np.isin(photos, wanted))
    if not len(rows):
        return None
    codes: dict[str, int] = {}
    group, apart = np.full(len(photos), -1, np.int64), []
    table = arrow.take_rows(faces, rows)
    boxes = list(zip(*(table[name].to_pylist() for name in BOX), strict=True))
    order = np.argsort(photos[rows], kind="stable")
    for some in np.split(order, np.flatnonzero(np.diff(photos[rows][order])) + 1):
        photo_id = photo_ids[int(photos[rows[some[0]]])].as_py()
        places = decisions.match(photo_id, [boxes[at] for at in some.tolist()])
        for row, place in zip(rows[some].tolist(), places, strict=True):
            if place is not None:
                people = {decisions.current(one) for one in (place.person, *place.refused) if one}
                code = {one: codes.setdefault(one, len(codes)) for one in sorted(people)}
                if place.person:
                    group[row] = code[decisions.current(place.person)]
                apart += [(row, code[decisions.current(one)]) for one in sorted(place.refused)]
    return groups.Constraints(group, np.array(apart, np.int64).reshape(-1, 2).T)


def _keys(
    photo_ids: pa.Array, photos: np.ndarray, indices: np.ndarray
) -> Iterator[tuple[str, int]]:
    for start in range(0, len(photos), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        ids = arrow.take_rows(photo_ids, photos[some]).to_pylist()
        yield from zip(ids, indices[some].tolist(), strict=True)


def write_unknown_people(found: UnknownPeople, folder: Path) -> None:
    """Write `folder`/unknown.csv: a row for each face of each unknown person, by number."""
    write_csv(folder / UNKNOWN_FILE, FIELDS, _csv_rows(found))


def _csv_rows(found: UnknownPeople) -> Iterator[list[object]]:
    people = sorted(found.people, key=lambda person: person.number)
    of_row = np.repeat(np.arange(len(people)), [len(person.rows) for person in people])
    rows = np.concatenate([np.zeros(0, np.int64), *(person.rows for person in people)])
    for start in range(0, len(rows), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        table = arrow.take_rows(found.faces, rows[some])
        columns = {name: table[name].to_pylist() for name in _COLUMNS}
        columns["photo_path"] = [csv_cell(path) for path in columns["photo_path"]]
        for place, *cells in zip(of_row[some].tolist(), *columns.values(), strict=True):
            yield [people[place].name, people[place].photos, *cells]


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
