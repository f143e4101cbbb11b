"""Confidence intervals over people: photos of one person are not independent."""

import numpy as np

REPEATS = 1000


def share_interval(
    hits: np.ndarray, groups: np.ndarray, seed: int, repeats: int = REPEATS
) -> dict[str, float]:
    """Return the 95 % interval {"low", "high"} of the mean of `hits` (N,), people resampled.

    `groups` int (N,) names the person of each row; whole people are drawn with replacement
    (percentile bootstrap, Efron 1979). Without rows both ends are NaN.
    """
    if len(hits) == 0:
        return {"low": float("nan"), "high": float("nan")}
    sums = np.bincount(groups, hits.astype(float))
    counts = np.bincount(groups)
    sums, counts = sums[counts > 0], counts[counts > 0]
    draw = np.random.default_rng(seed)
    means = np.empty(repeats)
    for repeat in range(repeats):
        drawn = draw.integers(0, len(counts), len(counts))
        means[repeat] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}
