"""Is a probability of .8 right eight times in ten?"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reliability:
    """Per bin of probability: pairs, mean probability, share that shows one person; float (B,)."""

    pairs: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray

    @property
    def expected_error(self) -> float:
        """Mean |observed - predicted| over pairs (expected calibration error, Guo et al. 2017)."""
        gaps = np.abs(self.observed - self.predicted)
        return float((gaps * self.pairs).sum() / self.pairs.sum())


def reliability(probability: np.ndarray, same: np.ndarray, bins: int = 10) -> Reliability:
    """Bin `probability` float (N,) evenly over 0..1 and compare with `same` bool (N,).

    Empty bins are left out.
    """
    index = np.minimum((probability * bins).astype(int), bins - 1)
    pairs = np.bincount(index, minlength=bins)
    filled = pairs > 0
    predicted = np.bincount(index, probability, minlength=bins)[filled] / pairs[filled]
    observed = np.bincount(index, same.astype(float), minlength=bins)[filled] / pairs[filled]
    return Reliability(pairs[filled].astype(float), predicted, observed)
