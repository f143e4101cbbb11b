"""The photos and faces in the states of a gallery's output folders, and crops of the faces."""

import contextlib
import io
import os
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.faces.detector import Box, best_overlap
from faceops.gallery.decisions import SAME_PLACE
from faceops.gallery.outputs import output_folders
from faceops.gallery.storage import GalleryPlace
from faceops.identification.records.output_folder import STATE_FILE
from faceops.identification.state.photo_block import FACE
from faceops.identification.state.schema import SCHEMA_VERSION, state_errors
from faceops.photos.open_photo import Photo
from faceops.photos.pixels import part_of

CONTEXT = 2.5  # side of a crop, in longer sides of the face's box
MAX_SIDE = 640  # pixels: the detector's input is no larger
QUALITY = 95  # of the JPEG
_AT_ONCE = 500  # photos of one query


@dataclass(frozen=True, eq=False)
class KnownPhotos:
    """Photos by photo_id.

    Attributes:
        paths: files that had these bytes when they were last seen.
        faces: `FACE` (F,), and embeddings float32 (F, D) of the contract, None if not embedded.
    """

    paths: dict[str, list[str]]
    faces: dict[str, tuple[np.ndarray, np.ndarray | None]]

    @classmethod
    def read(
        cls, gallery: GalleryPlace, photo_ids: Collection[str], contract: str
    ) -> "KnownPhotos":
        """Read the states of all output folders that are there.

        Raises:
            FaceOpsError: one is damaged, or of another version.
        """
        known = cls({}, {})
        for out in output_folders(gallery).folders:
            if (state := out / STATE_FILE).is_file():
                uri = f"{state.absolute().as_uri()}?mode=ro"
                with state_errors(state), contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
                    if db.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
                        raise FaceOpsError(
                            f"{state} was written by another version of faceops; run faceops "
                            f"identify into {out} first."
                        )
                    wanted = sorted(photo_ids)
                    for start in range(0, len(wanted), _AT_ONCE):
                        known._add(db, wanted[start : start + _AT_ONCE], contract)
        return known

    def _add(self, db: sqlite3.Connection, photo_ids: Sequence[str], contract: str) -> None:
        which = f"photo_id IN ({','.join('?' * len(photo_ids))})"
        for photo_id, path in db.execute(
            f"SELECT photo_id, path FROM files WHERE {which} AND gone_since IS NULL", photo_ids
        ):
            self.paths.setdefault(photo_id, []).append(os.fsdecode(path))
        for photo_id, content, matrix in db.execute(
            "SELECT photo_id, faces, embeddings FROM photos LEFT JOIN embeddings "
            f"ON photo=id AND contract LIKE ? WHERE {which}",
            (f"{contract}%", *photo_ids),  # with lengths or without, see `Method`
        ):
            faces = np.frombuffer(content, FACE)
            embedded = None
            if matrix is not None and len(faces):
                embedded = np.frombuffer(matrix, "<f4").reshape(len(faces), -1)
            if embedded is not None or photo_id not in self.faces:
                self.faces[photo_id] = faces, embedded

    def find(self, photo_id: str, box: Box) -> tuple[bool, np.ndarray | None]:
        """Return whether an unforgotten face is at `box`, and its embedding (D,) if known."""
        faces, embedded = self.faces.get(photo_id, (np.zeros(0, FACE), None))
        row = best_overlap(box, faces["box"].tolist(), SAME_PLACE)
        if row is None or faces[row]["forgotten"]:
            return False, None
        return True, None if embedded is None else embedded[row]


def cut_face(photo: Photo, box: Box) -> bytes:
    """Return a JPEG of a square around `box`, pixels of the upright photo; black outside it.

    The face is in the centre: the crop stage takes the most central one. The side is `MAX_SIDE`
    pixels at most.
    """
    across, down = photo.scale
    x, y, width, height = box[0] / across, box[1] / down, box[2] / across, box[3] / down
    side = max(round(CONTEXT * max(width, height)), 1)
    left, top = round(x + (width - side) / 2), round(y + (height - side) / 2)
    rows, columns = photo.pixels.shape[:2]
    inside = max(left, 0), max(top, 0), min(left + side, columns), min(top + side, rows)
    square = Image.new("RGB", (side, side))
    if inside[0] < inside[2] and inside[1] < inside[3]:
        square.paste(part_of(photo.pixels, inside), (inside[0] - left, inside[1] - top))
    if side > MAX_SIDE:
        square = square.resize((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    square.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()
