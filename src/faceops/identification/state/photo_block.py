"""The faces of photos, as columns: how they travel from detector and state to the records.

What was found in one photo is a `FoundPhoto`: rows of a NumPy array of type `FACE` beside a matrix
of embeddings, as the state stores them. A run concatenates them to a `PhotoBlock`.
"""

import io
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from faceops.base.reasons import Reason
from faceops.faces.align import CROP_SIZE
from faceops.faces.detector import SAME_BOX, Box, box_overlap
from faceops.faces.find_faces import PhotoFaces
from faceops.identification.inputs import SourceFile
from faceops.verification.thresholds import Thresholds

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
_ARRAYS = ("stamps", "sizes", "orientations", "turned", "opened", "reembedded")  # a row a photo
_NO_FILE = (-1,) * (len(SourceFile._fields) - 1)


@dataclass(frozen=True, eq=False, slots=True)
class FoundPhoto:
    """One photo: its faces, or the reason why it has none."""

    photo_id: str | None  # sha256 of the bytes; None if they could not be read
    reason: Reason | None
    size: tuple[int, int] = (0, 0)  # of the upright photo, pixels; (0, 0) if it could not be opened
    orientation: int = 1  # stated by the file, 1 to 8, already applied
    turned: int = 0  # degrees clockwise by which its faces were turned upright, see `PhotoFaces`
    faces: np.ndarray = field(default_factory=lambda: NO_FACES)  # `FACE` (F,)
    # float32 (F, D), L2-normalised, zeros for a forgotten face; D is 0 until the faces are embedded
    embeddings: np.ndarray = field(default_factory=lambda: NOT_EMBEDDED)
    # float32 (F,), see `Embedded`; (0,) if they were not measured. `faces` do not depend on them:
    # their quality is that of the photo.
    lengths: np.ndarray = field(default_factory=lambda: NOT_MEASURED)

    def faces_at(self, places: Sequence[Box]) -> set[int]:
        """Return the indices of the faces that lie at one of `places`."""
        return {
            index
            for index, box in enumerate(self.faces["box"].tolist())
            if any(box_overlap(box, place) >= SAME_BOX for place in places)
        }

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
        rows = [(f.detection.box, f.detection.score, f.quality.overall, False) for f in found.faces]
        faces, photo = np.array(rows, FACE), found.photo
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
    size = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    picture = Image.fromarray(crop).resize(size, Image.Resampling.BILINEAR)
    return _webp(picture, quality=75, method=2)


def encode_crop(crop: np.ndarray) -> bytes:
    """Return uint8 (112, 112, 3) RGB as lossless WebP, for the state.

    On 300 faces of LFW: 15.3 kB and 0.5 ms to write, 0.3 ms to read; PNG takes 20.6 kB, 1.2 and
    0.5 ms.
    """
    return _webp(Image.fromarray(crop), lossless=True, method=0, quality=50)


def _webp(picture: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **options)
    return buffer.getvalue()


def decode_crop(content: bytes) -> np.ndarray | None:
    """Return uint8 (112, 112, 3) RGB; None if `content` is damaged."""
    try:
        with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
            crop = np.asarray(image)
    except Exception:  # noqa: BLE001  Pillow raises many kinds on broken files
        return None
    return crop if crop.shape == (CROP_SIZE, CROP_SIZE, 3) else None


@dataclass(frozen=True, eq=False)
class Extraction:
    """The faces of one photo file, from the store or from the photo."""

    path: str
    file: SourceFile | None  # None if it could not be read, or later runs have to try again
    photo: FoundPhoto
    opened: bool = False  # the photo was decoded now
    reembedded: bool = False  # its faces are embedded now, from stored crops
    # uint8 (112, 112, 3) RGB by index in `photo.faces`, of faces to embed now
    crops: Mapping[int, np.ndarray] = field(default_factory=dict)
    # Why it could not be read this time, although another run may; "" if it was read. `photo` is
    # then what an earlier run found, if that is known.
    failure: str = ""


@dataclass(frozen=True, eq=False)
class PhotoBlock:
    """P photos and their F faces; the faces of one photo are adjacent and in order."""

    paths: Sequence[str]  # of the files
    stamps: np.ndarray  # int64 (P, 4), the values of `SourceFile` after the path; -1 without a file
    # photo_ids, reasons, sizes, orientations, turned: those of `FoundPhoto`; the last three are
    # int32 (P, 2), (P,) and (P,)
    photo_ids: list[str | None]
    reasons: list[Reason | None]
    sizes: np.ndarray
    orientations: np.ndarray
    turned: np.ndarray
    # opened, reembedded: bool (P,), as in `Extraction`
    opened: np.ndarray
    reembedded: np.ndarray
    failures: Mapping[int, str]  # by photo, as in `Extraction`; only those that are not ""
    starts: np.ndarray  # int64 (P + 1,), the faces of photo p are rows starts[p] to starts[p + 1]
    faces: np.ndarray  # `FACE` (F,), with their quality after embedding
    embeddings: np.ndarray  # float32 (F, D), L2-normalised, zeros for a forgotten face

    @classmethod
    def of(
        cls,
        extractions: Sequence[Extraction],
        embedding_size: int,
        thresholds: Thresholds | None = None,
    ) -> "PhotoBlock":
        """Return the photos `extractions`, whose faces are embedded, in this order.

        With `thresholds`, those of the release, `faces` have their quality after embedding.
        """
        photos = [one.photo for one in extractions]
        count = len(photos)
        # Of a photo whose faces were all forgotten before they were embedded, there is no matrix.
        embedded = [
            photo.embeddings
            if photo.embeddings.size
            else np.zeros((len(photo.faces), embedding_size), np.float32)
            for photo in photos
            if len(photo.faces)
        ]
        # NumPy compares the fields of each array that it concatenates.
        faces = np.frombuffer(bytearray().join(photo.faces.data for photo in photos), FACE)
        if thresholds is not None and len(faces):
            faces["quality"] = thresholds.quality_after(faces["quality"], lengths_of(photos))
        return cls(
            paths=[one.path for one in extractions],
            stamps=np.array(
                [one.file[1:] if one.file else _NO_FILE for one in extractions], np.int64
            ).reshape(count, -1),
            photo_ids=[photo.photo_id for photo in photos],
            reasons=[photo.reason for photo in photos],
            sizes=np.array([photo.size for photo in photos], np.int32).reshape(count, 2),
            orientations=np.array([photo.orientation for photo in photos], np.int32),
            turned=np.array([photo.turned for photo in photos], np.int32),
            opened=np.array([one.opened for one in extractions], bool),
            reembedded=np.array([one.reembedded for one in extractions], bool),
            failures={place: one.failure for place, one in enumerate(extractions) if one.failure},
            starts=np.cumsum([0, *(len(photo.faces) for photo in photos)]),
            faces=faces,
            embeddings=np.concatenate([np.zeros((0, embedding_size), np.float32), *embedded]),
        )

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def photo_of_face(self) -> np.ndarray:
        """int64 (F,), the photo of each face."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def face_index(self) -> np.ndarray:
        """int64 (F,), the place of each face in its photo, 0 and up."""
        return np.arange(len(self.faces)) - self.starts[self.photo_of_face]

    @property
    def has_id(self) -> np.ndarray:
        """bool (P,), whether the photo's bytes could be read."""
        return np.array([photo_id is not None for photo_id in self.photo_ids], bool)

    @property
    def without_file(self) -> np.ndarray:
        """int64 (K,), the photos that were not a readable file."""
        return np.flatnonzero(self.stamps[:, 0] < 0)

    def file(self, photo: int) -> SourceFile | None:
        """Return the file of a photo, None if it was not a readable one."""
        stamp = tuple(self.stamps[photo].tolist())
        return None if stamp == _NO_FILE else SourceFile(self.paths[photo], *stamp)

    def rows_of(self, photo: int) -> slice:
        return slice(int(self.starts[photo]), int(self.starts[photo + 1]))

    def take(self, photos: np.ndarray) -> "PhotoBlock":
        """Return these photos, int64 (K,), with their faces, in this order."""
        places = photos.tolist()
        rows = self.rows_of_all(photos)
        columns = {name: getattr(self, name)[photos] for name in _ARRAYS}
        return PhotoBlock(
            **columns,
            paths=[self.paths[place] for place in places],
            photo_ids=[self.photo_ids[place] for place in places],
            reasons=[self.reasons[place] for place in places],
            failures={
                at: why for at, place in enumerate(places) if (why := self.failures.get(place))
            },
            starts=np.concatenate([[0], np.cumsum(np.diff(self.starts)[photos])]),
            faces=self.faces[rows],
            embeddings=self.embeddings[rows],
        )

    def rows_of_all(self, photos: np.ndarray) -> np.ndarray:
        """Return the rows of the faces of these photos, int64 (K,), one photo after the other."""
        counts = np.diff(self.starts)[photos]
        before = np.cumsum(counts) - counts
        rows: np.ndarray = np.repeat(self.starts[photos] - before, counts)
        return rows + np.arange(len(rows))


def lengths_of(photos: Sequence[FoundPhoto]) -> np.ndarray:
    """Return the lengths, float32 (F,), of the faces of one photo or more, NaN for unknown ones."""
    unknown = np.full(max(len(photo.faces) for photo in photos), np.nan, np.float32)
    return np.concatenate(
        [one.lengths if len(one.lengths) else unknown[: len(one.faces)] for one in photos]
    )


class EmbeddingFile:
    """The embeddings of a run in a temporary file in `folder`, float32 (N, `size`), in order.

    A context manager. Memory does not grow with N.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._file = tempfile.TemporaryFile(buffering=1 << 20, dir=folder, prefix=".embeddings-")  # noqa: SIM115
        self._size = size
        self._count = 0

    def __enter__(self) -> "EmbeddingFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, embeddings: np.ndarray) -> None:
        """Add rows, float32 (K, size)."""
        self._file.write(np.ascontiguousarray(embeddings, "<f4").data)
        self._count += len(embeddings)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return these rows as an array in memory."""
        return np.array(self.all()[start:stop])

    def all(self) -> np.ndarray:
        """Return all rows, mapped from the file."""
        if not self._count:
            return np.zeros((0, self._size), np.float32)
        self._file.flush()
        return np.memmap(self._file, "<f4", "r", shape=(self._count, self._size))


def joined(blocks: Sequence[PhotoBlock]) -> PhotoBlock:
    """Return the photos of all `blocks`, one or more, as one block."""
    columns: dict[str, Any] = {}
    for name in PhotoBlock.__dataclass_fields__:
        parts = [getattr(block, name) for block in blocks]
        is_array = isinstance(parts[0], np.ndarray)
        columns[name] = np.concatenate(parts) if is_array else list(chain(*parts))
    counts = np.concatenate([np.diff(block.starts) for block in blocks])
    columns["starts"] = np.concatenate([[0], np.cumsum(counts)])
    firsts = accumulate(map(len, blocks), initial=0)
    columns["failures"] = {
        first + photo: failure
        for first, block in zip(firsts, blocks, strict=False)
        for photo, failure in block.failures.items()
    }
    return PhotoBlock(**columns)


def in_blocks(found: Iterator[PhotoBlock], photos: int) -> Iterator[PhotoBlock]:
    """Yield the photos of `found` in blocks of about `photos`."""
    waiting: list[PhotoBlock] = []
    for block in found:
        waiting.append(block)
        if sum(map(len, waiting)) >= photos:
            yield joined(waiting)
            waiting = []
    if waiting:
        yield joined(waiting)
