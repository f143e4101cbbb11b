"""Take faces out of the store of an output folder, bytes and all."""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from faceops.faces.box_overlap import SAME_BOX, box_overlap
from faceops.identification.face_store import BUSY_S
from faceops.identification.forget_rows import NamedFace
from faceops.identification.forgotten_places import add_place, prepare_places
from faceops.identification.presence import drop_gone
from faceops.identification.state_errors import state_errors
from faceops.identification.state_schema import prepare
from faceops.identification.unknown_numbers import FaceKey, forget_numbers


class Forgotten(NamedTuple):
    """What was stored of a face that is forgotten now: embeddings, thumbnail and crop."""

    parts: tuple[bytes, ...]


def forget_faces(path: Path, faces: Iterable[NamedFace], mark: str) -> list[Forgotten]:
    """Remove embeddings and pictures of `faces` from the store `path`, by whatever method found.

    A stored face is meant when it overlaps the box by half or more. Where it was stays, so that
    no run finds it anew, under `mark` (see `forgotten_places`). What is kept of photos that are
    gone is dropped. The freed bytes are overwritten.

    Raises:
        FaceOpsError: as `FaceStore`.
    """
    if not path.is_file():
        return []
    gone: list[Forgotten] = []
    keys: list[FaceKey] = []
    with (
        state_errors(path),
        contextlib.closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as db,
    ):
        db.execute("PRAGMA secure_delete=ON")
        db.execute("BEGIN IMMEDIATE")  # closing without COMMIT takes all of it back
        prepare(db)
        prepare_places(db)
        for face in faces:
            rows = db.execute(
                "SELECT finder, face_index, thumbnail, crop, x, y, width, height "
                "FROM faces WHERE photo_id=? AND NOT forgotten",
                (face.photo_id,),
            ).fetchall()
            for finder, index, thumbnail, crop, *box in rows:
                x, y, width, height = box
                if box_overlap(face.box, (x, y, width, height)) >= SAME_BOX:
                    key = (face.photo_id, finder, index)
                    add_place(db, face.photo_id, (x, y, width, height), mark)
                    gone.append(Forgotten((*_removed(db, key), thumbnail, crop or b"")))
                    keys.append(FaceKey(face.photo_id, index))
        # Of photos that are gone nobody can tell any more whom an earlier run saw there.
        drop_gone(db)
        db.execute("COMMIT")
        if gone:
            db.execute("VACUUM")
    forget_numbers(path, keys)
    return gone


def _removed(db: sqlite3.Connection, key: tuple[str, str, int]) -> list[bytes]:
    """Blank the face in the store; return the embeddings that it had there."""
    where = "photo_id=? AND finder=? AND face_index=?"
    embeddings = db.execute(f"SELECT embedding FROM embeddings WHERE {where}", key).fetchall()
    db.execute(f"DELETE FROM embeddings WHERE {where}", key)
    db.execute(f"UPDATE faces SET forgotten=1, thumbnail=x'', crop=NULL WHERE {where}", key)
    return [embedding for (embedding,) in embeddings]
