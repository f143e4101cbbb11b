"""Is a probability of .8 right eight times in ten?"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reliability:
    """Per bin of probability, float (B,): pairs, and weighted means of what was said and seen."""

    pairs: np.ndarray
    weight: np.ndarray
    effective: np.ndarray  # pairs of one weight that would tell as much (Kish 1965)
    predicted: np.ndarray
    observed: np.ndarray

    @property
    def expected_error(self) -> float:
        """Mean |observed - predicted|, weighted (expected calibration error, Guo et al. 2017)."""
        gaps = np.abs(self.observed - self.predicted)
        return float((gaps * self.weight).sum() / self.weight.sum())


def reliability(genuine: np.ndarray, impostor: np.ndarray, bins: int = 10) -> Reliability:
    """Bin the probabilities of pairs of one person (N,) and of two (M,) evenly over 0..1.

    All pairs of one person together weigh as much as all pairs of two, the odds for which the
    verifier is calibrated. Empty bins are left out.
    """
    probability = np.concatenate([genuine, impostor]).astype(np.float64)
    same = np.arange(len(probability)) < len(genuine)
    weight = np.where(same, 0.5 / len(genuine), 0.5 / len(impostor))
    index = np.minimum((probability * bins).astype(int), bins - 1)
    pairs = np.bincount(index, minlength=bins)
    filled = pairs > 0
    weights = np.bincount(index, weight, minlength=bins)[filled]
    predicted = np.bincount(index, weight * probability, minlength=bins)[filled] / weights
    observed = np.bincount(index, weight * same, minlength=bins)[filled] / weights
    effective = weights**2 / np.bincount(index, weight**2, minlength=bins)[filled]
    return Reliability(pairs[filled].astype(float), weights, effective, predicted, observed)
