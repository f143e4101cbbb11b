"""False accept rates of pairs: thresholds for them, and intervals over people."""

from dataclasses import dataclass

import numpy as np

from faceops.base.figures import allowed_false_accepts
from faceops.verification.bootstrap import interval_figures, resampled_people
from faceops.verification.pairs import codes, impostor_blocks
from faceops.verification.verifier import Verifier, reaches

REPEATS = 500


@dataclass(frozen=True)
class ImpostorPairs:
    """The impostor pairs (E,) at or above a floor, and the photo count of each person."""

    first: np.ndarray  # int: code of one person
    second: np.ndarray  # int: code of the other
    probability: np.ndarray  # float32
    photos: np.ndarray  # int (P,) of each person

    def rate(self, probability: float) -> float:
        """Return the false accept rate at `probability`."""
        return self._rate(self._kept(probability), np.ones(len(self.photos)))

    def interval(self, probability: float, *, seed: int = 0) -> dict[str, float]:
        """Return the rate's 95 % interval at a fixed threshold (`bootstrap`, over people)."""
        kept = self._kept(probability)
        resamples = resampled_people(len(self.photos), seed, REPEATS)
        return interval_figures(np.array([self._rate(kept, times) for times in resamples]))

    def _kept(self, probability: float) -> tuple[np.ndarray, np.ndarray]:
        kept = reaches(self.probability, probability)
        return self.first[kept], self.second[kept]

    def _rate(self, kept: tuple[np.ndarray, np.ndarray], weight: np.ndarray) -> float:
        mass = weight * self.photos
        pairs = (mass.sum() ** 2 - (mass**2).sum()) / 2
        return float((weight[kept[0]] * weight[kept[1]]).sum() / pairs) if pairs else 0.0


def find_impostor_pairs(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, floor: float
) -> ImpostorPairs:
    """Return the impostor pairs of `embeddings` float32 (N, D) at probability `floor` or above."""
    person = codes(persons)
    found = []
    for block in impostor_blocks(person, limit=None):
        scores = verifier.probability_matrix(embeddings[block.rows], embeddings[block.start :])
        row, column = np.nonzero(reaches(scores, floor) & block.new)
        people = person[block.rows[row]], person[block.start + column]
        found.append((*people, scores[row, column]))
    first, second, probability = (np.concatenate(part) for part in zip(*found, strict=True))
    return ImpostorPairs(first, second, probability, np.bincount(person))


def threshold_at(impostor_descending: np.ndarray, far: float) -> float:
    """Return the smallest float32 that at most a share `far` of the impostors reaches.

    `impostor_descending` is float32 (N,), sorted from high to low; equal scores stay together.
    """
    allowed = allowed_false_accepts(far, len(impostor_descending))
    if allowed >= len(impostor_descending):
        return 0.0
    return float(np.nextafter(np.float32(impostor_descending[allowed]), np.float32(np.inf)))
