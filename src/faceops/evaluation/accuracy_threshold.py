"""The threshold of the highest accuracy on labelled pairs."""

import numpy as np


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """Return the score at or above which to accept, for most right decisions.

    `scores` float (N,), `same` bool (N,). Candidates are the scores themselves; the middle one
    where several are best.
    """
    candidates = np.unique(scores)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    right = genuine.size - np.searchsorted(genuine, candidates)
    right = right + np.searchsorted(impostor, candidates)
    best = candidates[right == right.max()]
    return float(best[best.size // 2])
