"""Which found faces are good enough to enrol, and which to name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceops.base.reasons import Reason

if TYPE_CHECKING:
    from faceops.faces.quality import Quality  # loads NumPy, which an unchanged run does without


@dataclass(frozen=True)
class FacePolicy:
    """The minimum size and quality of a face.

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


@dataclass(frozen=True)
class EnrolmentPolicy:
    """The minimum of an enrolled face, by each measure: a mean lets one bad measure pass.

    Attributes:
        least: size and overall quality.
        min_sharpness: see `Quality.sharpness`.
        max_pose: from which a face is refused, see `Quality.pose`.
    """

    least: FacePolicy
    min_sharpness: float
    max_pose: float

    def refusal(self, quality: "Quality") -> Reason | None:
        """Return why the face is not enrolled, or None when it is."""
        if quality.size_px >= self.least.min_size:
            if quality.pose >= self.max_pose:
                return Reason.EXTREME_POSE
            if quality.sharpness < self.min_sharpness:
                return Reason.BLURRED
        return self.least.refusal(quality.size_px, quality.overall)


# A bad enrolled face spoils every later search; a bad face in an album only stays unnamed.
# Measured with SFace on 1,162 photos of 220 people of LFW, whose sharpness is at least 16: blurred
# to a sharpness of 2 to 4, a face still matches its person's others with a mean probability of
# 0.83, at 1 to 2 with 0.16. A pose of 1 is a profile (the nose over an eye or past it); the ten
# faces with a pose over 0.9 still match with at least 0.995.
ENROLMENT = EnrolmentPolicy(
    FacePolicy(min_size=32, min_quality=0.2), min_sharpness=4.0, max_pose=1.0
)
IDENTIFICATION = FacePolicy(min_size=20, min_quality=0.1)
