"""Enrolled people who look alike to a release: a face of one may stay unnamed as ambiguous.

Two people are lookalikes if a photo of one reaches the score with a photo of the other from which
a stranger would be named at the release's default budget, or lies within the runner-up margin of
it. Scores are normalised with the gallery as cohort. In a gallery of `FEWEST_PEOPLE` people or
more, that score is taken from its own pairs of people, of whom it is known that they are two;
else from the release. Nothing is stored: another release may see other lookalikes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from faceops.gallery.store import Gallery
from faceops.verification.album import FEWEST_PEOPLE, effective_people
from faceops.verification.normalisation import HIGH, LOW, RATES, Cohort, at_rate
from faceops.verification.thresholds import Thresholds, log_odds_of
from faceops.verification.verifier import Verify, clipped_log_odds

_MOST_PEOPLE = 2000  # on whose pairs the score is measured
_BLOCK = 512  # faces compared with all others at a time
_NEAREST = 30  # faces by cosine that are scored without a normalisation


@dataclass(frozen=True)
class Lookalikes:
    """Two enrolled people, by name, and the log odds of their most similar photos."""

    person: str
    other: str
    log_odds: float

    def beside(self, person: str) -> str:
        """Return the one of the two who is not `person`."""
        return self.other if person == self.person else self.person


def find_lookalikes(gallery: Gallery, thresholds: Thresholds, verify: Verify) -> list[Lookalikes]:
    """Return the lookalikes in `gallery`, the most similar pair first.

    `verify` gives the scores where the release has no normalisation; its threshold is then the
    one of the release.
    """
    if len(gallery.people) < 2:
        return []
    budget, margin = thresholds.default_budget, thresholds.runner_up_margin
    if thresholds.normalisation is None:
        least = log_odds_of(thresholds.for_search(budget, len(gallery.faces))) - margin
        faces = gallery.embeddings
        blocks = (
            _of_nearest(faces[start : start + _BLOCK], faces, verify)
            for start in range(0, len(faces), _BLOCK)
        )
    else:
        first = np.unique(gallery.person_rows, return_index=True)[1]
        cohort = Cohort(thresholds.normalisation, gallery.embeddings[first])
        faces = cohort.describe(gallery.embeddings)
        rate = 1 - (1 - budget) ** (1 / effective_people(np.bincount(gallery.person_rows).tolist()))
        least = _log_odds_at(rate, cohort, faces[first][:_MOST_PEOPLE]) - margin
        blocks = (
            cohort.verifier.logit_matrix(faces[start : start + _BLOCK], faces)
            for start in range(0, len(faces), _BLOCK)
        )
    scores = _of_people(blocks, gallery.person_rows)
    pairs = np.argwhere(np.triu(scores >= least, 1))
    found = [
        Lookalikes(gallery.people[one], gallery.people[other], round(float(scores[one, other]), 2))
        for one, other in pairs
    ]
    return sorted(found, key=lambda pair: (-pair.log_odds, pair.person, pair.other))


def _log_odds_at(rate: float, cohort: Cohort, faces: np.ndarray) -> float:
    """Return the log odds that a share `rate` of pairs of two people reaches.

    `faces` (P, D + 2) are described, one of each person.
    """
    known = cohort.normalisation
    if len(faces) < FEWEST_PEOPLE:
        return known.worst(rate)[1]
    scores = cohort.verifier.logit_matrix(faces, faces)[np.triu_indices(len(faces), 1)]
    low, high = np.quantile(scores, [1 - RATES[LOW], 1 - RATES[HIGH]])
    return at_rate(known.tail(low, high), rate)


def _of_nearest(rows: np.ndarray, faces: np.ndarray, verify: Verify) -> np.ndarray:
    """Return the log odds of `rows` (n, D) with their nearest `faces` (G, D), -inf with others."""
    scores = np.full((len(rows), len(faces)), -np.inf)
    most = min(_NEAREST, len(faces))
    near = np.argpartition(-(rows @ faces.T), most - 1, axis=1)[:, :most].ravel()
    own = np.repeat(np.arange(len(rows)), most)
    scores[own, near] = clipped_log_odds(verify(rows[own], faces[near]))
    return scores


def _of_people(blocks: Iterable[np.ndarray], person_rows: np.ndarray) -> np.ndarray:
    """Return the highest scores of two people's faces, (P, P), of blocks of rows (n, G)."""
    order = np.argsort(person_rows, kind="stable")
    starts = np.flatnonzero(np.diff(person_rows[order], prepend=-1))
    by_face = [np.maximum.reduceat(block[:, order], starts, axis=1) for block in blocks]
    return np.maximum.reduceat(np.concatenate(by_face)[order], starts, axis=0)
