"""Which found faces are good enough to enrol, and which to name."""

from dataclasses import dataclass

from faceops.reasons import Reason


@dataclass(frozen=True)
class FacePolicy:
    """The least that a face must have.

    Attributes:
        min_size: shorter side of its box, pixels.
        min_quality: overall quality, 0 to 1.
    """

    min_size: float
    min_quality: float

    def refusal(self, size: float, quality: float) -> Reason | None:
        """Return why the face is not used, or None when it is."""
        if size < self.min_size:
            return Reason.FACE_TOO_SMALL
        if quality < self.min_quality:
            return Reason.LOW_QUALITY
        return None


# A bad enrolled face spoils every later search, a bad face in an album only stays unnamed.
ENROLMENT = FacePolicy(min_size=32, min_quality=0.2)
IDENTIFICATION = FacePolicy(min_size=20, min_quality=0.1)
