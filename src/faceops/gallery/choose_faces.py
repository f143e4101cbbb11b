"""Choose the enrolled person's face in each of their photos, and find photos of somebody else."""

from collections.abc import Callable, Sequence

import numpy as np

from faceops.verification.verifier import Verify, reaches

DISSIMILAR = 0.5  # below this probability two faces are more likely two people than one
MAX_COMPARED = 200  # faces of one person that are compared with each other


def choose_faces(
    photos: Sequence[np.ndarray],
    known: np.ndarray,
    verify: Verify,
    threshold_for: Callable[[int], float],
) -> list[int | None]:
    """Return the index of the person's face in each photo, None where it is ambiguous.

    A photo's only face is chosen. Of several, the one that matches the person's other faces is
    chosen: those of photos with one face and those enrolled already or, if there are none, the
    faces of the person's other photos. If no face matches, or several do, it is ambiguous.

    Args:
        photos: the embeddings of each photo's usable faces, float32 (faces, D), at least one.
        known: float32 (K, D), faces of this person that are enrolled already.
        verify: probability that rows of two (N, D) are one person.
        threshold_for: the probability from which a face matches one of so many faces.
    """
    single = np.concatenate([known, *(photo for photo in photos if len(photo) == 1)])
    chosen: list[int | None] = []
    for index, photo in enumerate(photos):
        if len(photo) == 1:
            chosen.append(0)
            continue
        others = single
        if not len(others):
            others = np.concatenate([known, *photos[:index], *photos[index + 1 :]])
        matches = np.zeros(0, np.int64)
        if len(others):
            best = _all_pairs(photo, others, verify).max(axis=1)
            matches = np.flatnonzero(reaches(best, threshold_for(len(others))))
        chosen.append(int(matches[0]) if len(matches) == 1 else None)
    return chosen


def dissimilar_photos(
    photos: Sequence[np.ndarray],
    known: np.ndarray,
    verify: Verify,
    threshold_for: Callable[[int], float],
) -> set[int]:
    """Return the indices of photos whose only face is unlike the person's other faces.

    Faces that are enrolled already are the reference: new ones that match each other may all be
    another person of that name. If none is enrolled, a face is returned that is unlike all other
    new ones, provided that two of these match; where no two match, nothing can be said.

    Args: as `choose_faces`.
    """
    places = [index for index, photo in enumerate(photos) if len(photo) == 1]
    if not places:
        return set()
    faces = np.concatenate([photos[index] for index in places])
    if len(known):
        nearest = [_all_pairs(face[None], known, verify).max() for face in faces]
    else:
        faces = faces[:MAX_COMPARED]
        if len(faces) < 3:
            return set()
        probabilities = _all_pairs(faces, faces, verify)
        np.fill_diagonal(probabilities, 0)
        if not reaches(probabilities.max(), max(DISSIMILAR, threshold_for(len(faces) - 1))):
            return set()
        nearest = list(probabilities.max(axis=1))
    return {places[row] for row, best in enumerate(nearest) if best < DISSIMILAR}


def _all_pairs(faces: np.ndarray, others: np.ndarray, verify: Verify) -> np.ndarray:
    """Return the probability of every face (N, D) with every other (M, D), float32 (N, M)."""
    pairs = verify(np.repeat(faces, len(others), axis=0), np.tile(others, (len(faces), 1)))
    return pairs.reshape(len(faces), len(others))
