"""The places of forgotten faces, in the state of an output folder.

A place is a box in a photo's bytes. It is kept when the photo is gone and when another method finds
the faces again. It does not say whose face it was: each forgetting has a random mark, by which its
places can be given back.
"""

import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from faceops.faces.detector import SAME_BOX, Box, box_overlap
from faceops.identification.state.found_photo import NOT_EMBEDDED, FoundPhoto


def new_mark() -> str:
    """Return the mark of one forgetting."""
    return secrets.token_hex(4)


def add_place(db: sqlite3.Connection, photo_id: str, box: Box, mark: str) -> None:
    """Note that the face at `box` was forgotten."""
    db.execute("INSERT INTO forgotten_places VALUES (?, ?, ?, ?, ?, ?)", (photo_id, *box, mark))


def places_in(db: sqlite3.Connection, photo_ids: Sequence[str]) -> dict[str, list[Box]]:
    """Return the boxes of forgotten faces by photo."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    for photo_id, x, y, width, height in db.execute(
        "SELECT photo_id, x, y, width, height FROM forgotten_places "
        f"WHERE photo_id IN ({','.join('?' * len(photo_ids))})",
        photo_ids,
    ):
        boxes[photo_id].append((x, y, width, height))
    return boxes


def remove_mark(db: sqlite3.Connection, mark: str) -> int:
    """Give back the faces forgotten under `mark`; return the number of places.

    Their photos are dropped, so that the next run opens them and finds the faces again.
    """
    photos = "SELECT photo_id FROM forgotten_places WHERE mark=?"
    db.execute(f"DELETE FROM photos WHERE photo_id IN ({photos})", (mark,))
    return db.execute("DELETE FROM forgotten_places WHERE mark=?", (mark,)).rowcount


def forgotten_faces(photo: FoundPhoto, places: Sequence[Box]) -> set[int]:
    """Return the indices of the photo's faces that lie at one of `places`."""
    return {
        index
        for index, face in enumerate(photo.faces)
        if any(box_overlap(face.box, place) >= SAME_BOX for place in places)
    }


def without_forgotten(photo: FoundPhoto, places: Sequence[Box]) -> FoundPhoto:
    """Return the photo; of faces at `places`, only the box is left."""
    gone = forgotten_faces(photo, places)
    faces = tuple(
        replace(face, embedding=NOT_EMBEDDED, thumbnail=b"") if index in gone else face
        for index, face in enumerate(photo.faces)
    )
    return replace(photo, faces=faces)
