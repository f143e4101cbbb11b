"""Whom the faces of one photo are: the rule that names, or says why it does not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from faceops.base.reasons import Reason
from faceops.gallery.search import nearest
from faceops.verification.verifier import Verify, clipped_log_odds, reaches

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


class Outcome(StrEnum):
    """The values of the column `decision`."""

    IDENTIFIED = "identified"
    UNKNOWN = "unknown"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Decision:
    """What was decided about one face.

    `best` is the most probable person and `runner_up` the next, as far as the face was compared;
    only when `outcome` is `identified` is `best` the person's name.
    """

    outcome: Outcome
    reason: Reason | None = None
    best: Candidate | None = None
    runner_up: Candidate | None = None

    @property
    def person(self) -> str | None:
        """The name, if one was given."""
        named = self.outcome is Outcome.IDENTIFIED and self.best is not None
        return self.best.person if named and self.best else None


def decide(
    candidates: Sequence[Sequence[Candidate]],
    refusals: Sequence[Reason | None],
    threshold: float,
    runner_up_margin: float,
    gallery_is_empty: bool = False,
) -> list[Decision]:
    """Return a decision for each face of one photo.

    A refused face is rejected. Else the best person is given when the probability reaches the
    threshold and leads the runner-up by the margin in log odds (in large galleries thresholds lie
    so near to 1 that differences of probabilities say little). Of two faces that would get one
    name, only the more probable gets it (of equal ones the earlier), the other is `ambiguous`.

    Args:
        candidates: for each face, the most probable person first.
        refusals: for each face, why it is not to be named at all, or None.
        threshold: smallest probability for a name.
        runner_up_margin: smallest lead over the runner-up, in log odds.
    """
    decisions = [
        _alone(found, refusal, threshold, runner_up_margin, gallery_is_empty)
        for found, refusal in zip(candidates, refusals, strict=True)
    ]
    holders: dict[str, int] = {}
    for index, decision in enumerate(decisions):
        if decision.person is None or decision.best is None:
            continue
        held = holders.get(decision.person)
        best = decisions[held].best if held is not None else None
        if best is None or decision.best.probability > best.probability:
            holders[decision.person] = index
    return [
        replace(decision, outcome=Outcome.UNKNOWN, reason=Reason.AMBIGUOUS)
        if decision.person is not None and holders[decision.person] != index
        else decision
        for index, decision in enumerate(decisions)
    ]


def _alone(
    found: Sequence[Candidate],
    refusal: Reason | None,
    threshold: float,
    margin: float,
    gallery_is_empty: bool,
) -> Decision:
    if refusal is not None:
        return Decision(Outcome.REJECTED, refusal)
    if gallery_is_empty or not found:
        return Decision(Outcome.UNKNOWN, Reason.GALLERY_EMPTY)
    best, runner_up = found[0], found[1] if len(found) > 1 else None
    if not reaches(best.probability, threshold):
        return Decision(Outcome.UNKNOWN, Reason.BELOW_THRESHOLD, best, runner_up)
    if runner_up is not None and _lead(best, runner_up) < margin:
        return Decision(Outcome.UNKNOWN, Reason.AMBIGUOUS, best, runner_up)
    return Decision(Outcome.IDENTIFIED, None, best, runner_up)


def _lead(best: Candidate, runner_up: Candidate) -> float:
    return float(clipped_log_odds(best.probability) - clipped_log_odds(runner_up.probability))
