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
    people: Sequence[str],
    person_rows: np.ndarray,
    verify: Verify,
    nearest_faces: int = NEAREST,
) -> list[list[Candidate]]:
    """Return for each face the most probable person and the runner-up, as far as there are two.

    The N nearest gallery faces are judged, and, where all of them are one person's, the N nearest
    of other people too, so that there is a runner-up whenever two people are enrolled. Of equally
    probable people the nearer one comes first, then the earlier in `people`.

    Args:
        embeddings: float32 (Q, D), L2-normalised.
        gallery: float32 (M, D), L2-normalised.
        people: names, sorted.
        person_rows: int (M,), whose name in `people` each gallery row has.
        verify: probability of one person for rows of two (N, D).
    """
    if not len(embeddings) or not len(gallery):
        return [[] for _ in embeddings]
    queries, rows = _pairs(embeddings, gallery, person_rows, nearest_faces)
    probabilities = verify(embeddings[queries], gallery[rows])
    distances = np.linalg.norm(embeddings[queries] - gallery[rows], axis=1)
    whose = person_rows[rows]
    order = np.lexsort((whose, distances, -probabilities, queries))
    ranked: list[list[Candidate]] = [[] for _ in embeddings]
    for query, person, probability, distance in zip(
        queries[order].tolist(),
        whose[order].tolist(),
        probabilities[order].tolist(),
        distances[order].tolist(),
        strict=True,
    ):
        found = ranked[query]
        if len(found) < 2 and (not found or found[0].person != people[person]):
            found.append(Candidate(people[person], probability, distance))
    return ranked


def _pairs(
    embeddings: np.ndarray, gallery: np.ndarray, person_rows: np.ndarray, nearest_faces: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs to judge: rows of `embeddings` and rows of `gallery`, int64 (N,) each."""
    rows, _ = nearest(embeddings, gallery, nearest_faces)  # (Q, N)
    queries = np.repeat(np.arange(len(rows)), rows.shape[1])
    first = person_rows[rows[:, 0]]
    lonely = np.flatnonzero((person_rows[rows] == first[:, None]).all(axis=1))
    if not len(lonely) or (person_rows == person_rows[0]).all():
        return queries, rows.ravel()
    others, cosines = nearest(
        embeddings[lonely], gallery, nearest_faces, groups=person_rows, excluded=first[lonely]
    )
    real = np.isfinite(cosines)
    more = np.repeat(lonely, real.sum(axis=1))
    return np.concatenate([queries, more]), np.concatenate([rows.ravel(), others[real]])
