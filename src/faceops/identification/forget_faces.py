"""Take faces out of the store of an output folder, bytes and all."""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from faceops.errors import FaceOpsError
from faceops.faces.box_overlap import box_overlap
from faceops.identification.face_store import BUSY_S
from faceops.identification.forget_rows import NamedFace
from faceops.identification.unknown_numbers import FaceKey, forget_numbers

SAME_BOX = 0.5  # intersection over union


class Forgotten(NamedTuple):
    """What was stored of a face that is forgotten now."""

    embedding: bytes
    thumbnail: bytes


def forget_faces(path: Path, faces: Iterable[NamedFace]) -> list[Forgotten]:
    """Remove embedding and picture of `faces` from the store `path`, by whatever method found.

    A stored face is meant when it overlaps the box by half or more. Where it was stays, so that
    the next run does not find it anew. The freed bytes are overwritten.

    Raises:
        FaceOpsError: as `FaceStore`.
    """
    if not path.is_file():
        return []
    gone: list[Forgotten] = []
    keys: list[FaceKey] = []
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_S)) as db:
            db.execute("PRAGMA secure_delete=ON")
            for face in faces:
                rows = db.execute(
                    "SELECT rowid, face_index, embedding, thumbnail, x, y, width, height "
                    "FROM faces WHERE photo_id=? AND length(embedding)>0",
                    (face.photo_id,),
                ).fetchall()
                for rowid, index, embedding, thumbnail, x, y, width, height in rows:
                    if box_overlap(face.box, (x, y, width, height)) >= SAME_BOX:
                        gone.append(Forgotten(embedding, thumbnail))
                        keys.append(FaceKey(face.photo_id, index))
                        db.execute(
                            "UPDATE faces SET embedding=x'', thumbnail=x'' WHERE rowid=?", (rowid,)
                        )
            db.commit()
            if gone:
                db.execute("VACUUM")
    except sqlite3.DatabaseError as error:
        raise FaceOpsError(
            f"{path} cannot be cleaned ({error}); delete it, and the photos are opened anew."
        ) from None
    forget_numbers(path, keys)
    return gone
