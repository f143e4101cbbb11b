"""Percentile bootstrap over people (Efron 1979): photos of one person are not independent.

Whole people are drawn with replacement. A pair of one person counts as often as the person was
drawn, a pair of two people as often as the product says (pigeonhole bootstrap, Owen 2007); a
person drawn twice makes no pair of two with themselves.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

REPEATS = 1000


def resampled_people(
    people: int,
    seed: int,
    repeats: int = REPEATS,
    accept: Callable[[np.ndarray], bool | np.bool_] | None = None,
) -> Iterator[np.ndarray]:
    """Yield `repeats` resamples, float64 (people,): how often each person was drawn.

    A resample that `accept` refuses is drawn again. One seed gives the same resamples, so figures
    of two models may be subtracted resample by resample: a paired difference.
    """
    random = np.random.default_rng(seed)
    for _ in range(repeats):
        while True:
            drawn = np.bincount(random.integers(0, people, people), minlength=people).astype(float)
            if accept is None or accept(drawn):
                break
        yield drawn


def percentile_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return (low, high) of resampled `values` (R,), two-sided; NaN without any."""
    if len(values) == 0:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail]).tolist()
    return low, high


def interval_figures(values: np.ndarray) -> dict[str, float]:
    """Return the 95 % interval of resampled `values` (R,) as {"low", "high"}."""
    return dict(zip(("low", "high"), percentile_interval(values), strict=True))


def resampled_shares(
    hits: np.ndarray, groups: np.ndarray, seed: int, repeats: int = REPEATS
) -> np.ndarray:
    """Return the mean of `hits` (N,) in each resample, float64 (R,); empty without rows.

    `groups` int (N,) names the person of each row.
    """
    if len(hits) == 0:
        return np.zeros(0)
    sums, counts = np.bincount(groups, hits.astype(float)), np.bincount(groups)
    sums, counts = sums[counts > 0], counts[counts > 0]
    resamples = resampled_people(len(counts), seed, repeats)
    return np.array([(times * sums).sum() / (times * counts).sum() for times in resamples])


def share_interval(
    hits: np.ndarray, groups: np.ndarray, seed: int, repeats: int = REPEATS
) -> dict[str, float]:
    """Return the 95 % interval {"low", "high"} of the mean of `hits`; see `resampled_shares`."""
    return interval_figures(resampled_shares(hits, groups, seed, repeats))


def resampled_pair_shares(
    hits: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int, repeats: int = REPEATS
) -> np.ndarray:
    """Return the mean of `hits` (N,) of pairs in each resample, float64 (R,); empty without rows.

    `first`, `second` int (N,) name the people of each pair.
    """
    if len(hits) == 0:
        return np.zeros(0)
    people, index = np.unique(np.stack([first, second]), return_inverse=True)
    keys = np.sort(index.reshape(2, -1), axis=0)
    key, place = np.unique(keys[0] * len(people) + keys[1], return_inverse=True)
    sums, counts = np.bincount(place, hits.astype(float)), np.bincount(place)
    one, two = np.divmod(key, len(people))

    def weights(times: np.ndarray) -> np.ndarray:
        return times[one] * np.where(one != two, times[two], 1.0)

    resamples = resampled_people(len(people), seed, repeats, lambda times: weights(times).any())
    drawn = map(weights, resamples)
    return np.array([(weight * sums).sum() / (weight * counts).sum() for weight in drawn])


def pairs_interval(
    hits: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int, repeats: int = REPEATS
) -> dict[str, float]:
    """Return the 95 % interval {"low", "high"} of the mean; see `resampled_pair_shares`."""
    return interval_figures(resampled_pair_shares(hits, first, second, seed, repeats))


@dataclass(frozen=True)
class ResampledTar:
    """The true accept rate at a false accept rate, for any resample of the people.

    Each resample sets its threshold on its own impostor pairs, so an interval holds what the
    threshold varies by. The threshold is read off the K highest impostor pairs.
    """

    far: float  # false accept rate
    photos: np.ndarray  # int (P,), of each person
    person: np.ndarray  # int (G,), of each genuine pair, by rising score
    # int (K + 1,), how many genuine pairs a threshold above the k-th highest impostor pair refuses;
    # the last one holds where all K may pass.
    refused: np.ndarray
    first: np.ndarray  # int (K,), one person of each of the highest impostor pairs, falling scores
    second: np.ndarray  # int (K,), the other one
    each: float = 1.0  # impostor pairs that each of the K represents

    def rate(self, times: np.ndarray) -> float:
        """Return the true accept rate where each person counts `times` (P,) often."""
        mass = times * self.photos
        pairs = (mass.sum() ** 2 - (mass**2).sum()) / 2
        above = np.cumsum(times[self.first] * times[self.second]) * self.each
        # The first pair whose acceptance would break the rate, and all tied with it, are refused.
        at = int(np.searchsorted(above, self.far * pairs + 1e-9, side="right"))
        weight = times[self.person]
        return float(weight[self.refused[at] :].sum() / weight.sum())
