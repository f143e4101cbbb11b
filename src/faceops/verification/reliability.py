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


def reliability(genuine: np.ndarray, impostor: np.ndarray, bins: int = BINS) -> Reliability:
    """Bin the probabilities of pairs of one person (N,) and of two (M,) evenly over 0..1.

    All pairs of one person together weigh as much as all pairs of two, the odds for which the
    verifier is calibrated. Empty bins are left out.
    """
    return _reliability(_sums(genuine, None, bins), _sums(impostor, None, bins))


def counted_reliability(
    probability: np.ndarray, genuine: np.ndarray, impostor: np.ndarray, bins: int = BINS
) -> Reliability:
    """As `reliability`, for `genuine` and `impostor` pairs (S,) at each `probability` (S,)."""
    return _reliability(_sums(probability, genuine, bins), _sums(probability, impostor, bins))


def _sums(
    probability: np.ndarray, counts: np.ndarray | None, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs and summed probability of each bin, float64 (B,)."""
    pairs, said = np.zeros(bins), np.zeros(bins)
    for at in range(0, len(probability), _CHUNK):
        part = probability[at : at + _CHUNK].astype(np.float64)
        times = np.ones(len(part)) if counts is None else counts[at : at + _CHUNK]
        index = np.minimum((part * bins).astype(int), bins - 1)
        pairs += np.bincount(index, times, bins)
        said += np.bincount(index, times * part, bins)
    return pairs, said


def _reliability(
    one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray]
) -> Reliability:
    each = [0.5 / max(pairs.sum(), 1) for pairs, _ in (one, two)]
    filled = one[0] + two[0] > 0
    (same, said_same), (other, said_other) = ((a[filled], b[filled]) for a, b in (one, two))
    weight = each[0] * same + each[1] * other
    return Reliability(
        pairs=same + other,
        weight=weight,
        effective=weight**2 / (each[0] ** 2 * same + each[1] ** 2 * other),
        predicted=(each[0] * said_same + each[1] * said_other) / weight,
        observed=each[0] * same / weight,
    )
