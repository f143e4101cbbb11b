"""Enrolled people who look alike to a release: a face of one may stay unnamed as ambiguous.

Two people are lookalikes if a photo of one reaches the score with a photo of the other from which
a stranger would be named at the release's default budget, or lies within the runner-up margin of
it. Scores are normalised with the gallery as cohort. In a gallery of `FEWEST_PEOPLE` people or
more, that score is taken from its own pairs of people, of whom it is known that they are two;
else from the release. Nothing is stored: another release may see other lookalikes.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from faceops.base.nearest import EXACT_ROWS, nearest
from faceops.gallery.store import Gallery
from faceops.verification.album import FEWEST_PEOPLE, effective_people
from faceops.verification.normalisation import HIGH, LOW, RATES, Cohort, at_rate
from faceops.verification.thresholds import Thresholds, log_odds_of
from faceops.verification.verifier import Verify, clipped_log_odds

_MOST_PEOPLE = 2000  # on whose pairs the score is measured
_BLOCK = 512  # faces compared with all others at a time
_NEAREST = 30  # faces by cosine that are scored, of many faces or without a normalisation


@dataclass(frozen=True)
class Lookalikes:
    """Two enrolled people, by name, and the log odds of their most similar photos."""

    person: str
    other: str
    log_odds: float

    def beside(self, person: str) -> str:
        """Return the one of the two who is not `person`."""
        return self.other if person == self.person else self.person


def find_lookalikes(
    gallery: Gallery, thresholds: Thresholds, verify: Verify, people: Collection[str] | None = None
) -> list[Lookalikes]:
    """Return the lookalikes in `gallery`, the most similar pair first.

    Args:
        verify: gives the scores where the release has no normalisation; its threshold is then the
            one of the release.
        people: only pairs with one of them; None for all. In a gallery of more than `EXACT_ROWS`
            faces, theirs are compared with the nearest by cosine.
    """
    if len(gallery.people) < 2:
        return []
    budget, margin = thresholds.default_budget, thresholds.runner_up_margin
    faces, are_many = gallery.embeddings, len(gallery.faces) > EXACT_ROWS
    rows = np.arange(len(faces))
    if people is not None:
        rows = np.flatnonzero(gallery.faces.where("person", people))
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    if thresholds.normalisation is None:
        least = log_odds_of(thresholds.for_search(budget, len(faces))) - margin
        found = [_of_nearest(block, faces, verify) for block in blocks]
    else:
        first = np.unique(gallery.person_rows, return_index=True)[1]
        if are_many:
            first = first[:: -(-len(first) // _MOST_PEOPLE)]
        cohort = Cohort(thresholds.normalisation, faces[first])
        rate = 1 - (1 - budget) ** (1 / effective_people(np.bincount(gallery.person_rows).tolist()))
        least = _log_odds_at(rate, cohort, cohort.describe(faces[first[:_MOST_PEOPLE]])) - margin
        others, found = np.arange(len(faces)), []
        described = None if are_many else cohort.describe(faces)
        for block in blocks:
            if described is None:
                others = np.unique(nearest(faces[block], faces, _NEAREST)[0])
                pair = cohort.describe(faces[block]), cohort.describe(faces[others])
            else:
                pair = described[block], described
            scores = cohort.verifier.logit_matrix(*pair)
            one, other = np.nonzero(scores >= least)
            found.append(np.column_stack([block[one], others[other], scores[one, other]]))
    return _of_people(gallery, np.concatenate([np.zeros((0, 3)), *found]), least)


def _of_nearest(rows: np.ndarray, faces: np.ndarray, verify: Verify) -> np.ndarray:
    """Return the pairs (row, row, log odds) of `rows` with their nearest `faces` (G, D)."""
    near = nearest(faces[rows], faces, min(_NEAREST, len(faces)))[0]
    own, near = np.repeat(rows, near.shape[1]), near.ravel()
    return np.column_stack([own, near, clipped_log_odds(verify(faces[own], faces[near]))])


def _of_people(gallery: Gallery, found: np.ndarray, least: float) -> list[Lookalikes]:
    """Return the pairs of people of pairs of faces (row, row, score), each with its highest."""
    found = found[found[:, 2] >= least]
    people = np.sort(gallery.person_rows[found[:, :2].astype(np.int64)], axis=1)
    order = np.lexsort((-found[:, 2], people[:, 1], people[:, 0]))
    people, scores = people[order], found[order, 2]
    is_first = np.diff(people, axis=0, prepend=-1).any(axis=1) & (people[:, 0] != people[:, 1])
    names = gallery.people
    pairs = [
        Lookalikes(names[one], names[other], round(float(score), 2))
        for (one, other), score in zip(people[is_first].tolist(), scores[is_first], strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.log_odds, pair.person, pair.other))


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
