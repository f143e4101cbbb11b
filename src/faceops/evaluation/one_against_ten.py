"""One positive against ten negatives: does the right photo score highest of eleven?

An anchor photo, another photo of its person, and ten photos of other people. No negatives are
drawn: where E of the M photos of others score as high as the right photo or higher, C(M - E, 10)
of C(M, 10) choices of ten leave it highest, so the mean is the exact expectation over all of
them. A tie is lost. People weigh alike, and all pairs of a person, in both directions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track
from faceops.evaluation.bootstrap import share_interval
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.verification.false_positive_identification import chance_named
from faceops.verification.pairs import codes
from faceops.verification.verifier import Verifier

NEGATIVES = 10
_BLOCK = 1 << 21  # scores at a time: 8 MB


@dataclass(frozen=True)
class OneAgainstTen:
    """The chance that the right photo scores highest, float64 (P,), for each person with two."""

    chances: np.ndarray
    negatives: int
    trials: int  # ordered pairs of one person

    @property
    def accuracy(self) -> float:
        """The mean over people; 1 / 11 is chance."""
        return float(self.chances.mean())

    def figures(self, seed: int) -> dict[str, Any]:
        """The accuracy with its interval over people."""
        people = np.arange(len(self.chances))
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": share_interval(self.chances, people, seed),
            "negatives": self.negatives,
            "people": len(people),
            "trials": self.trials,
        }


def one_against_ten(
    faces: EmbeddedFaces, verifier: Verifier, negatives: int = NEGATIVES
) -> OneAgainstTen:
    """Compare every ordered pair of one person with `negatives` random photos of others.

    Raises:
        FaceOpsError: nobody has two photos, or someone who has leaves too few photos of others.
    """
    person = codes(faces.persons)
    photos = np.bincount(person)
    able = photos > 1
    if not able.any() or len(person) - photos[able].max() < negatives:
        raise FaceOpsError(
            f"one photo against {negatives} of others needs a person with two photos and "
            f"{negatives} photos of other people; there are {len(person)} photos of "
            f"{len(photos)} people."
        )
    order = np.argsort(person, kind="stable")
    table, person = faces.embeddings[order], person[order]
    start, stop = (np.searchsorted(person, person, side) for side in ("left", "right"))
    rows = np.flatnonzero(able[person])
    exceeding = []
    step = max(1, _BLOCK // len(person))
    for at in track(range(0, len(rows), step), "blocks of anchors"):
        anchors = rows[at : at + step]
        for anchor, row in zip(anchors, verifier.logit_matrix(table[anchors], table), strict=True):
            own = slice(start[anchor], stop[anchor])
            right = np.delete(row[own], anchor - own.start)
            row[own] = -np.inf
            row.sort()
            exceeding.append(len(row) - np.searchsorted(row, right))
    whose = np.repeat(person[rows], photos[person[rows]] - 1)
    others = len(person) - photos[whose]
    won = 1 - chance_named(np.concatenate(exceeding), others, negatives)
    trials = np.bincount(whose, minlength=len(photos))
    chances = np.bincount(whose, won, len(photos))[able] / trials[able]
    return OneAgainstTen(chances, negatives, len(whose))
