"""Which face of an enrolment photo is the person's, when the photo shows several."""

from collections.abc import Callable, Sequence

import numpy as np

from faceops.verification.verifier import Verify


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


def _agreeing(
    faces: np.ndarray, others: np.ndarray, verify: Verify, threshold_for: Callable[[int], float]
) -> int | None:
    if not len(others):
        return None
    pairs = verify(np.repeat(faces, len(others), axis=0), np.tile(others, (len(faces), 1)))
    best = pairs.reshape(len(faces), len(others)).max(axis=1)
    agreeing = np.flatnonzero(best >= threshold_for(len(others)))
    return int(agreeing[0]) if len(agreeing) == 1 else None
