"""Confidence intervals over people: photos of one person are not independent.

Percentile bootstrap (Efron 1979): whole people are drawn with replacement.
"""

import numpy as np

REPEATS = 1000


def share_interval(
    hits: np.ndarray, groups: np.ndarray, seed: int, repeats: int = REPEATS
) -> dict[str, float]:
    """Return the 95 % interval {"low", "high"} of the mean of `hits` (N,), people resampled.

    `groups` int (N,) names the person of each row. Without rows both ends are NaN.
    """
    return _ends(resampled_shares(hits, groups, seed, repeats))


def resampled_shares(
    hits: np.ndarray, groups: np.ndarray, seed: int, repeats: int = REPEATS
) -> np.ndarray:
    """Return the means behind `share_interval`, float64 (R,); their deviation is the standard
    error. Empty without rows.
    """
    if len(hits) == 0:
        return np.zeros(0)
    sums = np.bincount(groups, hits.astype(float))
    counts = np.bincount(groups)
    sums, counts = sums[counts > 0], counts[counts > 0]
    draw = np.random.default_rng(seed)
    means = np.empty(repeats)
    for repeat in range(repeats):
        drawn = draw.integers(0, len(counts), len(counts))
        means[repeat] = sums[drawn].sum() / counts[drawn].sum()
    return means


def pairs_interval(
    hits: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int, repeats: int = REPEATS
) -> dict[str, float]:
    """Return the 95 % interval {"low", "high"} of the mean of `hits` (N,) of pairs.

    `first`, `second` int (N,) name their people. A pair of one person counts as often as the
    person was drawn, a pair of two as often as the product says (Owen 2007, pigeonhole
    bootstrap). Without rows both ends are NaN.
    """
    return _ends(resampled_pair_shares(hits, first, second, seed, repeats))


def resampled_pair_shares(
    hits: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int, repeats: int = REPEATS
) -> np.ndarray:
    """Return the means behind `pairs_interval`, float64 (R,); empty without rows."""
    if len(hits) == 0:
        return np.zeros(0)
    people, index = np.unique(np.stack([first, second]), return_inverse=True)
    keys = np.sort(index.reshape(2, -1), axis=0)
    key, place = np.unique(keys[0] * len(people) + keys[1], return_inverse=True)
    sums, counts = np.bincount(place, hits.astype(float)), np.bincount(place)
    one, two = np.divmod(key, len(people))
    apart = one != two
    draw = np.random.default_rng(seed)
    means = np.empty(repeats)
    for repeat in range(repeats):
        weight = np.zeros(len(key))
        while not weight.any():
            drawn = draw.integers(0, len(people), len(people))
            times = np.bincount(drawn, minlength=len(people)).astype(float)
            weight = times[one] * np.where(apart, times[two], 1.0)
        means[repeat] = (weight * sums).sum() / (weight * counts).sum()
    return means


def _ends(means: np.ndarray) -> dict[str, float]:
    if len(means) == 0:
        return {"low": float("nan"), "high": float("nan")}
    low, high = np.quantile(means, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}
