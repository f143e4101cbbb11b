"""Which faces nobody could name are one and the same person: groups across photos.

Pairs that the verifier takes for one person are followed from the most alike to the least; two
groups join when their faces are alike on average too, and no photo would hold the person twice.
This is average linkage in the order of the single links: on LFW it gives the groups of the exact
one within .1 % of precision, and it needs no matrix of all pairs.

The numbers of unknown people, which stay the same from run to run.

They are kept in the state of the output folder: a group of faces keeps the number that most of its
faces had, and a number is never given to other people.
"""

import contextlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceops.base.errors import UsageError
from faceops.identification.state.schema import open_state
from faceops.verification.verifier import Verify, reaches

MEAN_SHARE = 0.9  # of the lowest cosine of a link, that two groups need on average to join
MOST_LINKS = 32  # a face, to later ones: more say nothing new
_BLOCK = 1 << 22  # cosines at a time, 16 MB
_PLANES = 64


def group_faces(
    embeddings: np.ndarray, photos: Sequence[int], verify: Verify, threshold: float
) -> np.ndarray:
    """Return int64 (N,), equal for faces of one person; of no other's group where it is -1.

    Groups are numbered from 0 by their first face, and have two faces or more.

    Args:
        embeddings: float32 (N, D), L2-normalised; may be mapped from a file.
        photos: of each face; two faces of one photo are two people.
        verify: probability of one person for rows of two (N, D).
        threshold: the probability from which two faces are linked.
    """
    group = np.full(len(embeddings), -1, np.int64)
    if len(embeddings) < 2 or not threshold <= 1:
        return group
    lowest = lowest_cosine(verify, threshold, embeddings.shape[1])
    first, second, cosines = _links(embeddings, lowest)
    if len(first):
        sure = reaches(verify(embeddings[first], embeddings[second]), threshold)
        first, second, cosines = first[sure], second[sure], cosines[sure]
    order = np.lexsort((second, first, -cosines))
    linked, ends = np.unique(np.stack([first[order], second[order]]), return_inverse=True)
    joined = _join(
        embeddings[linked].astype(np.float64),
        [{photos[face]} for face in linked.tolist()],
        ends.reshape(2, -1).T.tolist(),
        MEAN_SHARE * lowest,
    )
    roots, sizes = np.unique(joined, return_counts=True)
    kept = np.isin(joined, roots[sizes > 1])
    _, places, numbers = np.unique(joined[kept], return_index=True, return_inverse=True)
    group[linked[kept]] = np.argsort(np.argsort(places))[numbers]
    return group


def lowest_cosine(verify: Verify, threshold: float, size: int) -> float:
    """Return the lowest cosine at which two faces reach the threshold; 1 if none does.

    Exact where the verifier looks at the distance alone; else over some random directions.
    """
    draw = np.random.default_rng(0)
    planes = np.linalg.qr(draw.normal(size=(_PLANES, size, 2)))[0].astype(np.float32)
    one, other = planes[:, :, 0], planes[:, :, 1]
    low, high = np.full(_PLANES, -1.0), np.ones(_PLANES)
    for _ in range(30):
        middle = (low + high) / 2
        across = np.sqrt(1 - middle**2)[:, None]
        turned = (middle[:, None] * one + across * other).astype(np.float32)
        reached = reaches(verify(one, turned), threshold)
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return float(high.min())


def _links(embeddings: np.ndarray, lowest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs of faces and their cosines, not below `lowest`: the likest of each face."""
    faces = len(embeddings)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    start = 0
    while start < faces:
        stop = min(faces, start + max(16, _BLOCK // (faces - start)))
        block = embeddings[start:stop] @ embeddings[start:].T
        rows, columns = np.nonzero(block >= lowest)
        later = columns > rows
        rows, columns = rows[later], columns[later]
        cosines = block[rows, columns]
        order = np.lexsort((columns, -cosines, rows))
        rows, columns, cosines = rows[order], columns[order], cosines[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        few = rank < MOST_LINKS
        found.append((rows[few] + start, columns[few] + start, cosines[few]))
        start = stop
    first, second, cosines = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return first, second, cosines


def _join(
    sums: np.ndarray, photos: list[set[int]], links: list[list[int]], mean: float
) -> np.ndarray:
    """Return the root of each face's group; `sums` and `photos` become those of the groups."""
    root = list(range(len(sums)))
    size = [1] * len(sums)

    def find(face: int) -> int:
        while root[face] != face:
            root[face] = root[root[face]]
            face = root[face]
        return face

    for one, other in links:
        a, b = find(one), find(other)
        if a == b or not photos[a].isdisjoint(photos[b]):
            continue
        if sums[a] @ sums[b] < mean * size[a] * size[b]:
            continue
        if size[a] < size[b]:
            a, b = b, a
        root[b] = a
        size[a] += size[b]
        sums[a] += sums[b]
        photos[a] |= photos[b]
    return np.array([find(face) for face in range(len(root))], np.int64)


_TABLES = (
    "CREATE TABLE IF NOT EXISTS unknown_faces (photo_id TEXT, face_index INTEGER, number INTEGER, "
    "PRIMARY KEY (photo_id, face_index))",
    "CREATE TABLE IF NOT EXISTS unknown_given (number INTEGER)",  # one row: the highest ever given
)
_NAMED = re.compile(r"unknown-0*([1-9][0-9]{0,9})", re.IGNORECASE)


class FaceKey(NamedTuple):
    """A face of a photo, as the records name it."""

    photo_id: str
    face_index: int


def unknown_name(number: int) -> str:
    """Return how the person is called until somebody names them, as unknown-007."""
    return f"unknown-{number:03d}"


def unknown_number(name: str) -> int:
    """Return the number in a name such as unknown-007.

    Raises:
        UsageError: it is another text.
    """
    match = _NAMED.fullmatch(name.strip())
    if match is None:
        raise UsageError(
            f"{name} is not the name of an unknown person; give one such as unknown-007, as the "
            "report and unknown.csv show them."
        )
    return int(match.group(1))


def number_groups(state: Path, groups: Sequence[Sequence[FaceKey]]) -> list[int]:
    """Return the number of each group of faces, 1 and up, and keep them in `state`.

    Of two groups that had one number, the one with more of its faces has it from now on. Faces
    that are in no group now keep the number they had, for the day on which they are again.

    Raises:
        FaceOpsError: as `state_errors`.
    """
    with _opened(state) as db:
        votes = sorted(
            (-count, number, place)
            for place, group in enumerate(groups)
            for number, count in Counter(_numbers_before(db, group)).items()
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
    """Drop what is kept of these faces.

    Raises:
        FaceOpsError: as `number_groups`.
    """
    with _opened(state) as db:
        db.executemany("DELETE FROM unknown_faces WHERE photo_id=? AND face_index=?", faces)


def _numbers_before(db: sqlite3.Connection, group: Sequence[FaceKey]) -> Iterator[int]:
    """Yield the numbers that faces of the group had, one for each face that had one."""
    for face in group:
        yield from (
            number
            for (number,) in db.execute(
                "SELECT number FROM unknown_faces WHERE photo_id=? AND face_index=?", face
            )
        )


@contextlib.contextmanager
def _opened(state: Path) -> Iterator[sqlite3.Connection]:
    with open_state(state) as db:
        for statement in _TABLES:
            db.execute(statement)
        yield db
