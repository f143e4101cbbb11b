"""The false accept rate of pairs and its interval over people."""

from dataclasses import dataclass

import numpy as np

from faceops.verification.pairs import codes
from faceops.verification.verifier import Verifier

REPEATS = 500
_BLOCK = 1 << 21


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

        Percentile bootstrap over people (Efron 1979); a person drawn twice makes no impostor
        pairs with themselves.
        """
        people = len(self.photos)
        random = np.random.default_rng(seed)
        kept = self._kept(probability)
        rates = [
            self._rate(
                kept,
                np.bincount(random.integers(0, people, people), minlength=people).astype(float),
            )
            for _ in range(repeats)
        ]
        low, high = np.quantile(rates, [0.025, 0.975])
        return float(low), float(high)

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
    step = max(1, _BLOCK // len(person))
    found = []
    for start in range(0, len(person), step):
        block = embeddings[start : start + step]
        scores = verifier.probability_matrix(block, embeddings[start:])
        row, column = np.nonzero(scores >= np.float32(floor))
        two = (column > row) & (person[start + row] != person[start + column])
        row, column = row[two], column[two]
        found.append((person[start + row], person[start + column], scores[row, column]))
    first, second, probability = (np.concatenate(part) for part in zip(*found, strict=True))
    return ImpostorPairs(first, second, probability, np.bincount(person))
