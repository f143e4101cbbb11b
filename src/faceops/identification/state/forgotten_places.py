"""Where faces were forgotten, in the state of an output folder: kept apart from what was found.

A place is a box in a photo's bytes. It stays when the photo is gone for a while, and when another
method finds the faces anew. It says not whose face it was: each forgetting has a mark of its own,
random, by which its places can be given back.
"""

import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from faceops.faces.detector import SAME_BOX, Box, box_overlap
from faceops.identification.state.found_photo import NOT_EMBEDDED, FoundPhoto

_TABLE = (
    "CREATE TABLE forgotten_places "
    "(photo_id TEXT, x REAL, y REAL, width REAL, height REAL, mark TEXT)",
    "CREATE INDEX forgotten_photos ON forgotten_places (photo_id)",
    # States of before this table have them among the faces alone.
    "INSERT INTO forgotten_places SELECT photo_id, x, y, width, height, 'earlier' FROM faces "
    "WHERE forgotten",
)


def new_mark() -> str:
    """Return the mark of one forgetting."""
    return secrets.token_hex(4)


def prepare_places(db: sqlite3.Connection) -> None:
    """Make the table, after those of the state; inside a transaction."""
    there = db.execute("SELECT 1 FROM sqlite_master WHERE name='forgotten_places'").fetchone()
    if there is None:
        for statement in _TABLE:
            db.execute(statement)


def add_place(db: sqlite3.Connection, photo_id: str, box: Box, mark: str) -> None:
    """Note that the face at `box` was forgotten."""
    db.execute("INSERT INTO forgotten_places VALUES (?, ?, ?, ?, ?, ?)", (photo_id, *box, mark))


def places_in(db: sqlite3.Connection, photo_ids: Sequence[str]) -> dict[str, list[Box]]:
    """Return where faces were forgotten in those of the photos."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    for photo_id, x, y, width, height in db.execute(
        "SELECT photo_id, x, y, width, height FROM forgotten_places "
        f"WHERE photo_id IN ({','.join('?' * len(photo_ids))})",
        photo_ids,
    ):
        boxes[photo_id].append((x, y, width, height))
    return boxes


def lift_mark(db: sqlite3.Connection, mark: str) -> int:
    """Take back that these faces were forgotten; return how many places there were.

    Their photos are to be opened anew: that is the only place where the faces still are.
    """
    photos = "SELECT photo_id FROM forgotten_places WHERE mark=?"
    db.execute(f"DELETE FROM photos WHERE photo_id IN ({photos})", (mark,))
    return db.execute("DELETE FROM forgotten_places WHERE mark=?", (mark,)).rowcount


def forgotten_at(photo: FoundPhoto, places: Sequence[Box]) -> set[int]:
    """Return which of the photo's faces lie where one was forgotten."""
    return {
        index
        for index, face in enumerate(photo.faces)
        if any(box_overlap(face.box, place) >= SAME_BOX for place in places)
    }


def without_forgotten(photo: FoundPhoto, places: Sequence[Box]) -> FoundPhoto:
    """Return the photo with only the box left of the faces at `places`."""
    gone = forgotten_at(photo, places)
    faces = tuple(
        replace(face, embedding=NOT_EMBEDDED, thumbnail=b"") if index in gone else face
        for index, face in enumerate(photo.faces)
    )
    return replace(photo, faces=faces)
