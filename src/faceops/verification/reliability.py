"""Reliability of probabilities: predicted against observed share of genuine pairs, by bin."""

from dataclasses import dataclass

import numpy as np

BINS = 10
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Reliability:
    """Per bin of probability, float (B,); genuine and impostor pairs together weigh the same."""

    pairs: np.ndarray
    weight: np.ndarray
    effective: np.ndarray  # effective sample size (Kish 1965)
    predicted: np.ndarray  # weighted mean probability
    observed: np.ndarray  # weighted share of genuine pairs

    @property
    def expected_error(self) -> float:
        """Mean |observed - predicted|, weighted (expected calibration error, Guo et al. 2017)."""
        gaps = np.abs(self.observed - self.predicted)
        return float((gaps * self.weight).sum() / self.weight.sum())


def reliability_of(genuine: np.ndarray, impostor: np.ndarray) -> Reliability:
    """Return the reliability from the `bin_sums` of both kinds of pairs, without empty bins."""
    filled = genuine[0] + impostor[0] > 0
    each = [0.5 / (part[1].sum() or 1.0) for part in (genuine, impostor)]
    same, other = genuine[:, filled] * each[0], impostor[:, filled] * each[1]
    weight = same[1] + other[1]
    return Reliability(
        pairs=(genuine[0] + impostor[0])[filled],
        weight=weight,
        effective=weight**2 / (same[2] * each[0] + other[2] * each[1]),
        predicted=(same[3] + other[3]) / weight,
        observed=same[1] / weight,
    )


def reliability_of_counts(
    probability: np.ndarray, genuine: np.ndarray, impostor: np.ndarray
) -> Reliability:
    """Return the reliability of `genuine` and `impostor` pairs (S,) at each `probability` (S,).

    Where these are weights rather than counts, so are `pairs`, and `effective` has no meaning.
    """
    sums = [bin_sums(probability, counts)[[1, 1, 1, 3]] for counts in (genuine, impostor)]
    return reliability_of(*sums)


def bin_sums(probability: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return float64 (4, BINS), sums over each bin of 0..1: 1, w, w^2, w * probability.

    `probability` (S,), `weights` (S,) or None for 1.
    """
    sums = np.zeros((4, BINS))
    for at in range(0, len(probability), _CHUNK):
        part = probability[at : at + _CHUNK].astype(np.float64)
        index = np.minimum((part * BINS).astype(int), BINS - 1)
        weight = np.ones(len(part)) if weights is None else weights[at : at + _CHUNK]
        for row, values in enumerate((np.ones(len(part)), weight, weight**2, weight * part)):
            sums[row] += np.bincount(index, values, BINS)
    return sums
