"""The false accept rate of pairs and its interval over people.

How many people a budget of errors needs before data can speak for it.

Photos of one person are not independent, so people are counted, not photos.

Search: if none of P strangers were named, the share of strangers named could still be 3 / P with
95 % confidence (rule of three, Hanley & Lippman-Hand 1983). Fewer people than 3 / budget can
therefore never speak for the budget, whatever was seen on them.

Pairs: P people make P (P - 1) / 2 pairs of people. A false accept rate is supported when ten of
them are expected above its threshold (the rule of 30 of Doddington et al. 2000, relaxed: ten
errors give about +-60 % at 95 %).
"""

import math
from dataclasses import dataclass

import numpy as np

from faceops.embedding.accept_rates import allowed_false_accepts
from faceops.verification.bootstrap import percentile_interval, resampled_people
from faceops.verification.pairs import codes, impostor_blocks
from faceops.verification.verifier import Verifier

REPEATS = 500


@dataclass(frozen=True)
class ImpostorPairs:
    """The pairs of two people's photos at or above a floor, (E,), and all people's photos."""

    first: np.ndarray  # int: code of one person
    second: np.ndarray  # int: code of the other
    probability: np.ndarray  # float32
    photos: np.ndarray  # int (P,) of each person

    def rate(self, probability: float) -> float:
        """Return the share of pairs of two people at or above `probability`."""
        return self._rate(self._kept(probability), np.ones(len(self.photos)))

    def interval(
        self, probability: float, *, seed: int = 0, repeats: int = REPEATS
    ) -> tuple[float, float]:
        """Return the 95 % interval of the rate at a fixed threshold, people resampled.

        See `faceops.verification.bootstrap`.
        """
        kept = self._kept(probability)
        resamples = resampled_people(len(self.photos), seed, repeats)
        return percentile_interval(np.array([self._rate(kept, times) for times in resamples]))

    def _kept(self, probability: float) -> tuple[np.ndarray, np.ndarray]:
        kept = self.probability >= np.float32(probability)
        return self.first[kept], self.second[kept]

    def _rate(self, kept: tuple[np.ndarray, np.ndarray], weight: np.ndarray) -> float:
        mass = weight * self.photos
        pairs = (mass.sum() ** 2 - (mass**2).sum()) / 2
        return float((weight[kept[0]] * weight[kept[1]]).sum() / pairs) if pairs else 0.0


def find_impostor_pairs(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, floor: float
) -> ImpostorPairs:
    """Return the pairs of `embeddings` float32 (N, D) at probability `floor` or above."""
    person = codes(persons)
    found = []
    for block in impostor_blocks(person, limit=None):
        scores = verifier.probability_matrix(embeddings[block.rows], embeddings[block.start :])
        row, column = np.nonzero((scores >= np.float32(floor)) & block.new)
        people = person[block.rows[row]], person[block.start + column]
        found.append((*people, scores[row, column]))
    first, second, probability = (np.concatenate(part) for part in zip(*found, strict=True))
    return ImpostorPairs(first, second, probability, np.bincount(person))


def threshold_at(impostor_descending: np.ndarray, far: float) -> float:
    """Return the smallest float32 at or above which at most a share `far` of impostors lies.

    `impostor_descending` is float32 (N,), sorted from high to low; ties fall together.
    """
    allowed = allowed_false_accepts(far, len(impostor_descending))
    if allowed >= len(impostor_descending):
        return 0.0
    first_refused = np.float32(impostor_descending[allowed])
    return float(np.nextafter(first_refused, np.float32(np.inf)))


SUPPORTING_PAIRS = 10
_RULE_OF_THREE = 3


def people_for_search(budget: float) -> int:
    """Return the people needed before a share `budget` of strangers named can be promised."""
    return math.ceil(_RULE_OF_THREE / budget - 1e-9)


def smallest_search_budget(people: int) -> float:
    """Return the smallest share of strangers that `people` people can speak for."""
    return min(_RULE_OF_THREE / people, 1.0) if people else 1.0


def people_for_pairs(far: float) -> int:
    """Return the people needed before a false accept rate `far` a pair is supported."""
    wanted = math.ceil(SUPPORTING_PAIRS / far - 1e-6)  # pairs of people
    people = (1 + math.isqrt(1 + 8 * wanted)) // 2
    while people_pairs(people) < wanted:
        people += 1
    return people


def people_pairs(people: int) -> int:
    """Return how many pairs of two people there are."""
    return people * (people - 1) // 2


def smallest_pair_rate(people: int) -> float:
    """Return the smallest false accept rate a pair that `people` people support, at most 1."""
    pairs = people_pairs(people)
    return min(SUPPORTING_PAIRS / pairs, 1.0) if pairs else 1.0
