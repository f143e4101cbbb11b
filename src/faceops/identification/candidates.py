"""The people that a face may be: nearest gallery faces, each pair judged by the verifier."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceops.gallery.search import nearest
from faceops.verification.verifier import Verify

NEAREST = 16


@dataclass(frozen=True)
class Candidate:
    """A person that a face may be.

    Attributes:
        person: the name.
        probability: the verifier's, of the person's most probable face, 0 to 1.
        distance: Euclidean, between the two unit embeddings, 0 to 2.
    """

    person: str
    probability: float
    distance: float


def rank_people(
    embeddings: np.ndarray,
    gallery: np.ndarray,
    persons: Sequence[str],
    verify: Verify,
    nearest_faces: int = NEAREST,
) -> list[list[Candidate]]:
    """Return for each face its candidates, the most probable first; equal ones by name.

    The N nearest gallery faces are judged, and, where all of them are one person's, the N nearest
    of other people too, so that there is a runner-up whenever two people are enrolled.

    Args:
        embeddings: float32 (Q, D), L2-normalised.
        gallery: float32 (M, D), L2-normalised.
        persons: the person of each gallery row.
        verify: probability of one person for rows of two (N, D).
    """
    if not len(embeddings) or not len(gallery):
        return [[] for _ in embeddings]
    names, groups = np.unique(np.asarray(persons, dtype=object), return_inverse=True)
    rows, _ = nearest(embeddings, gallery, nearest_faces)  # (Q, N)
    pairs = {(query, int(row)) for query, found in enumerate(rows) for row in found}
    first = groups[rows[:, 0]]
    lonely = np.flatnonzero((groups[rows] == first[:, None]).all(axis=1))
    if len(names) > 1 and len(lonely):
        others, cosines = nearest(
            embeddings[lonely], gallery, nearest_faces, groups=groups, excluded=first[lonely]
        )
        real = np.isfinite(cosines)
        pairs |= {
            (int(query), int(row))
            for query, found, good in zip(lonely, others, real, strict=True)
            for row in found[good]
        }
    ordered = sorted(pairs)
    queries = np.array([query for query, _ in ordered])
    faces = np.array([row for _, row in ordered])
    probabilities = verify(embeddings[queries], gallery[faces])
    distances = np.linalg.norm(embeddings[queries] - gallery[faces], axis=1)
    best: list[dict[str, Candidate]] = [{} for _ in embeddings]
    for query, row, probability, distance in zip(
        queries, faces, probabilities, distances, strict=True
    ):
        person = persons[row]
        candidate = Candidate(person, float(probability), float(distance))
        held = best[query].get(person)
        if held is None or _order(candidate) < _order(held):
            best[query][person] = candidate
    return [sorted(people.values(), key=_order) for people in best]


def _order(candidate: Candidate) -> tuple[float, float, str]:
    return -candidate.probability, candidate.distance, candidate.person
