"""What was found in one photo, before any decision, and the places of forgotten faces.

The faces of a photo are rows of a NumPy array of type `FACE` beside a matrix of embeddings, as the
state stores them; a run concatenates them, see `photo_block`.

A place is a box in a photo's bytes, in the state of an output folder. It is kept when the photo is
gone and when another method finds the faces again. It does not say whose face it was: each
forgetting has a random mark, by which its places can be given back.
"""

import io
import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from faceops.base.reasons import Reason
from faceops.faces.align import CROP_SIZE
from faceops.faces.detector import SAME_BOX, Box, box_overlap
from faceops.faces.find_faces import PhotoFaces

THUMBNAIL_SIZE = 96  # pixels
# A face. `box`: x, y, width, height in pixels of the upright photo; `detector_score` and `quality`:
# 0 to 1; `forgotten`: all but the box was removed on request. Stored as it is: a change needs a
# migration of the state.
FACE = np.dtype(
    [("box", "<f8", (4,)), ("detector_score", "<f8"), ("quality", "<f8"), ("forgotten", "?")]
)
NO_FACES = np.zeros(0, FACE)
NOT_EMBEDDED = np.zeros((0, 0), np.float32)
NOT_MEASURED = np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False, slots=True)
class FoundPhoto:
    """One photo: its faces, or the reason why it has none.

    Attributes:
        photo_id: sha256 of the bytes; None if they could not be read.
        size: width and height of the upright photo, pixels; (0, 0) if it could not be opened.
        orientation: stated by the file, 1 to 8, already applied.
        turned: degrees clockwise by which its faces were turned upright, see `PhotoFaces`.
        faces: `FACE` (F,).
        embeddings: float32 (F, D), L2-normalised, zeros for a forgotten face; D is 0 until the
            faces are embedded.
        lengths: float32 (F,), see `Embedded`; (0,) if they were not measured. `faces` do not
            depend on them: their quality is that of the photo.
    """

    photo_id: str | None
    reason: Reason | None
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    turned: int = 0
    faces: np.ndarray = field(default_factory=lambda: NO_FACES)
    embeddings: np.ndarray = field(default_factory=lambda: NOT_EMBEDDED)
    lengths: np.ndarray = field(default_factory=lambda: NOT_MEASURED)

    def without(self, gone: Collection[int]) -> "FoundPhoto":
        """Return the photo; of the faces with the indices `gone`, only the box is left."""
        if not gone:
            return self
        rows = list(gone)
        faces, embeddings, lengths = map(np.copy, (self.faces, self.embeddings, self.lengths))
        faces["forgotten"][rows] = True
        embeddings[rows] = 0
        if len(lengths):
            lengths[rows] = np.nan
        return replace(self, faces=faces, embeddings=embeddings, lengths=lengths)

    @classmethod
    def of(cls, found: PhotoFaces, embeddings: np.ndarray | None = None) -> "FoundPhoto":
        """Return the photo with the faces of `found`; `embeddings` float32 (F, D) if there are."""
        faces = np.array(
            [
                (face.detection.box, face.detection.score, face.quality.overall, False)
                for face in found.faces
            ],
            FACE,
        )
        photo = found.photo
        return cls(
            photo.photo_id,
            None if len(faces) else Reason.NO_FACE,
            photo.size,
            photo.orientation,
            found.turned,
            faces,
            np.zeros((len(faces), 0), np.float32) if embeddings is None else embeddings,
        )


def thumbnail(crop: np.ndarray) -> bytes:
    """Return uint8 (H, W, 3) RGB as a WebP of 96 x 96 pixels, about 1 kB."""
    buffer = io.BytesIO()
    size = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    picture = Image.fromarray(crop).resize(size, Image.Resampling.BILINEAR)
    picture.save(buffer, "WEBP", quality=75, method=2)
    return buffer.getvalue()


def encode_crop(crop: np.ndarray) -> bytes:
    """Return uint8 (112, 112, 3) RGB as lossless WebP, for the state.

    On 300 faces of LFW: 15.3 kB and 0.5 ms to write, 0.3 ms to read; PNG takes 20.6 kB, 1.2 and
    0.5 ms.
    """
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "WEBP", lossless=True, method=0, quality=50)
    return buffer.getvalue()


def decode_crop(content: bytes) -> np.ndarray | None:
    """Return uint8 (112, 112, 3) RGB; None if `content` is damaged."""
    try:
        with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
            crop = np.asarray(image)
    except Exception:  # noqa: BLE001  Pillow raises many kinds on broken files
        return None
    return crop if crop.shape == (CROP_SIZE, CROP_SIZE, 3) else None


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
        for index, box in enumerate(photo.faces["box"].tolist())
        if any(box_overlap(box, place) >= SAME_BOX for place in places)
    }
