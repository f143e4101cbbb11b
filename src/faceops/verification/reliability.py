"""Is a probability of .8 right eight times in ten?"""

from dataclasses import dataclass

import numpy as np

BINS = 10
_CHUNK = 1 << 22


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


def reliability(
    genuine: np.ndarray,
    impostor: np.ndarray,
    bins: int = BINS,
    *,
    weights: np.ndarray | None = None,
) -> Reliability:
    """Bin the probabilities of pairs of one person (N,) and of two (M,) evenly over 0..1.

    All pairs of one person together weigh as much as all pairs of two, the odds for which the
    verifier is calibrated; among themselves they weigh by `weights` float (N,), else alike. Empty
    bins are left out.
    """
    return reliability_of(bin_sums(genuine, weights, bins), bin_sums(impostor, None, bins))


def counted_reliability(
    probability: np.ndarray, genuine: np.ndarray, impostor: np.ndarray, bins: int = BINS
) -> Reliability:
    """As `reliability`, for `genuine` and `impostor` pairs (S,) at each `probability` (S,).

    Where these are weights rather than counts, so are `pairs`, and `effective` means nothing.
    """
    sums = [bin_sums(probability, counts, bins)[[1, 1, 1, 3]] for counts in (genuine, impostor)]
    return reliability_of(*sums)


def bin_sums(
    probability: np.ndarray,
    weights: np.ndarray | None = None,
    bins: int = BINS,
) -> np.ndarray:
    """Return float64 (4, B), sums over each bin: of 1, of weights, their squares, what was said.

    `probability` (S,), `weights` (S,) or None for 1.
    """
    sums = np.zeros((4, bins))
    for at in range(0, len(probability), _CHUNK):
        said = probability[at : at + _CHUNK].astype(np.float64)
        index = np.minimum((said * bins).astype(int), bins - 1)
        weigh = np.ones(len(said)) if weights is None else weights[at : at + _CHUNK]
        for row, values in enumerate((np.ones(len(said)), weigh, weigh**2, weigh * said)):
            sums[row] += np.bincount(index, values, bins)
    return sums


def reliability_of(one: np.ndarray, two: np.ndarray) -> Reliability:
    """Return the reliability from the `bin_sums` of pairs of one person and of two."""
    filled = one[0] + two[0] > 0
    each = [0.5 / (part[1].sum() or 1.0) for part in (one, two)]
    same, other = one[:, filled] * each[0], two[:, filled] * each[1]
    weight = same[1] + other[1]
    return Reliability(
        pairs=(one[0] + two[0])[filled],
        weight=weight,
        effective=weight**2 / (same[2] * each[0] + other[2] * each[1]),
        predicted=(same[3] + other[3]) / weight,
        observed=same[1] / weight,
    )
