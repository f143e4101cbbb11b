"""One face found in a photo."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Detection:
    """Where a face is, in pixels of the upright photo.

    Attributes:
        box: x, y, width, height; may reach over the photo's edge.
        landmarks: float32 (5, 2), x and y of the eye on the viewer's left, the other eye, the
            nose's tip, the corner of the mouth on the viewer's left, the other corner.
        score: the detector's, 0 to 1.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float

    @property
    def size(self) -> float:
        """The shorter side of the box in pixels."""
        return min(self.box[2], self.box[3])
