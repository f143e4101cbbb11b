"""What was found in one photo, before anybody is named: it does not depend on the gallery."""

from dataclasses import dataclass

import numpy as np

from faceops.base.reasons import Reason

NOT_EMBEDDED = np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class FoundFace:
    """One face.

    Attributes:
        box: x, y, width, height in pixels of the upright photo.
        detector_score, quality: 0 to 1.
        embedding: float32 (D,), L2-normalised; `NOT_EMBEDDED` of a forgotten face.
        thumbnail: JPEG of the aligned face; empty of a forgotten one.
    """

    box: tuple[float, float, float, float]
    detector_score: float
    quality: float
    embedding: np.ndarray
    thumbnail: bytes

    @property
    def forgotten(self) -> bool:
        """Whether only the place of the face is left, all else was removed at request."""
        return not len(self.embedding)

    @property
    def size(self) -> float:
        """The shorter side of the box, pixels."""
        return min(self.box[2], self.box[3])


@dataclass(frozen=True, eq=False)
class FoundPhoto:
    """One photo: its faces, or the reason why it has none.

    `photo_id` is the sha256 of its bytes, or None when they could not be read. `size` is width and
    height of the upright photo in pixels and `orientation` EXIF's, 1 to 8, that was undone for it;
    (0, 0) and 1 when it could not be opened.
    """

    photo_id: str | None
    reason: Reason | None
    faces: tuple[FoundFace, ...] = ()
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
