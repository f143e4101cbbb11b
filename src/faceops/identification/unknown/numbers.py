"""The numbers of unknown people, which stay the same from run to run.

They are kept in the state of the output folder: a group of faces keeps the number that most of its
faces had, and no number is given to other people later.
"""

import contextlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from faceops.base.errors import UsageError
from faceops.identification.state.schema import open_state

_TABLES = (
    "CREATE TABLE IF NOT EXISTS unknown_faces (photo_id TEXT, face_index INTEGER, number INTEGER, "
    "PRIMARY KEY (photo_id, face_index))",
    "CREATE TABLE IF NOT EXISTS unknown_given (number INTEGER)",  # one row: the highest so far
)
_NAMED = re.compile(r"unknown-0*([1-9][0-9]{0,9})", re.IGNORECASE)


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
        UsageError: it is no such name.
    """
    match = _NAMED.fullmatch(name.strip())
    if match is None:
        raise UsageError(
            f"{name} is not the name of an unknown person; give one such as unknown-007, as the "
            "report and unknown.csv show them."
        )
    return int(match.group(1))


def number_groups(state: Path, groups: Sequence[Sequence[FaceKey]]) -> list[int]:
    """Return the number of each group of faces, 1 and up, and store them in `state`.

    Of two groups whose faces had one number, the group with more of these faces keeps it. Faces
    without a group keep their number for later runs.

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
    """Delete the numbers of these faces.

    Raises:
        FaceOpsError: as `number_groups`.
    """
    with _opened(state) as db:
        db.executemany("DELETE FROM unknown_faces WHERE photo_id=? AND face_index=?", faces)


def _numbers_before(db: sqlite3.Connection, group: Sequence[FaceKey]) -> Iterator[int]:
    """Yield the earlier number of each face of the group that had one."""
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
