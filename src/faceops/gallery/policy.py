"""Which found faces are good enough to enrol, and which to name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from faceops.base.reasons import Reason
from faceops.verification.verifier import Verify, reaches

if TYPE_CHECKING:
    from faceops.faces.quality import Quality  # loads NumPy, which an unchanged run does without


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


@dataclass(frozen=True)
class EnrolmentPolicy:
    """What a face must have to be searched for: overall quality alone lets one bad measure pass.

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


# A bad enrolled face spoils every later search, a bad face in an album only stays unnamed.
# Measured with SFace on 1,162 photos of 220 people of LFW: their sharpness is 16 and more. Blurred
# until it is 2 to 4, a face is still like its person's others with a probability of 0.83 on
# average, at 1 to 2 with 0.16. A pose of 1, the nose over an eye or past it, is a profile; the ten
# with one over 0.9 are still like their person's others, with 0.995 and more.
ENROLMENT = EnrolmentPolicy(
    FacePolicy(min_size=32, min_quality=0.2), min_sharpness=4.0, max_pose=1.0
)
IDENTIFICATION = FacePolicy(min_size=20, min_quality=0.1)


UNLIKE = 0.5  # a probability below it: rather two people than one
MOST_COMPARED = 200  # faces of a person: more say nothing new


def choose_faces(
    photos: Sequence[np.ndarray],
    known: np.ndarray,
    verify: Verify,
    threshold_for: Callable[[int], float],
) -> list[int | None]:
    """Return the index of the person's face in each photo, None where it is an open question.

    A photo's only face is taken. Of several, the one that agrees with the person's other faces is
    taken: those of photos with one face and those already known, or, when there are none, the
    faces of the person's other photos. If none agrees, or more than one does, we cannot tell.

    Args:
        photos: the embeddings of each photo's usable faces, float32 (faces, D), at least one.
        known: float32 (K, D), faces of this person that are enrolled already.
        verify: probability of one person for rows of two (N, D).
        threshold_for: the probability from which a face agrees with one of so many faces.
    """
    anchors = np.concatenate([known, *(photo for photo in photos if len(photo) == 1)])
    chosen: list[int | None] = []
    for index, photo in enumerate(photos):
        if len(photo) == 1:
            chosen.append(0)
            continue
        others = anchors
        if not len(others):
            rest = [other for place, other in enumerate(photos) if place != index]
            others = np.concatenate([known, *rest])
        chosen.append(_agreeing(photo, others, verify, threshold_for))
    return chosen


def disagreeing(
    photos: Sequence[np.ndarray],
    known: np.ndarray,
    verify: Verify,
    threshold_for: Callable[[int], float],
) -> set[int]:
    """Return which photos' only face is unlike the person's others.

    Unlike is what rather two people than one would be. Where faces are known, they alone count:
    new ones that agree with each other may be another person of that name. Where none is known, a
    face is told that is unlike all other new ones, while two of these are sure to be one person;
    where no two agree, nobody knows who is right.

    Args: as `choose_faces`.
    """
    places = [index for index, photo in enumerate(photos) if len(photo) == 1]
    if not places:
        return set()
    faces = np.concatenate([photos[index] for index in places])
    if len(known):
        nearest = [_all_pairs(face[None], known, verify).max() for face in faces]
    else:
        faces = faces[:MOST_COMPARED]
        if len(faces) < 3:
            return set()
        alike = _all_pairs(faces, faces, verify)
        np.fill_diagonal(alike, 0)
        if not reaches(alike.max(), max(UNLIKE, threshold_for(len(faces) - 1))):
            return set()
        nearest = list(alike.max(axis=1))
    return {places[row] for row, likeness in enumerate(nearest) if likeness < UNLIKE}


def _agreeing(
    faces: np.ndarray, others: np.ndarray, verify: Verify, threshold_for: Callable[[int], float]
) -> int | None:
    if not len(others):
        return None
    best = _all_pairs(faces, others, verify).max(axis=1)
    agreeing = np.flatnonzero(reaches(best, threshold_for(len(others))))
    return int(agreeing[0]) if len(agreeing) == 1 else None


def _all_pairs(faces: np.ndarray, others: np.ndarray, verify: Verify) -> np.ndarray:
    """Return the probability of every face (N, D) with every other (M, D), float32 (N, M)."""
    pairs = verify(np.repeat(faces, len(others), axis=0), np.tile(others, (len(faces), 1)))
    return pairs.reshape(len(faces), len(others))
