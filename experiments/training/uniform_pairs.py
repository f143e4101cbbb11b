"""Pairs of a few classes with many photos each: every pair as likely as any other."""

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.verification.pairs import Pairs

_DRAWN = 4096


def uniform_pairs(labels: np.ndarray, each: int, seed: int) -> Pairs:
    """Return `each` pairs of one class, then `each` of two, drawn without repeats.

    `labels` int (N,). Listing all pairs first, as `balanced_pairs` does to let people take
    turns, takes seconds where a class has a thousand photos.

    Raises:
        FaceOpsError: there are not so many pairs of either kind.
    """
    counts = np.unique(labels, return_counts=True)[1].astype(np.int64)
    of_one = int((counts * (counts - 1)).sum()) // 2
    of_two = len(labels) * (len(labels) - 1) // 2 - of_one
    if min(of_one, of_two) < each:
        raise FaceOpsError(
            f"{each} pairs of each kind are to be drawn, and there are {of_one} of one class and"
            f" {of_two} of two; give more photos."
        )
    draw = np.random.default_rng(seed)
    pairs = np.zeros((0, 2), np.int64)
    same = np.zeros(0, bool)
    while min(same.sum(), (~same).sum()) < each:
        new = np.sort(draw.integers(0, len(labels), (_DRAWN, 2)), axis=1)
        pairs = np.concatenate([pairs, new[new[:, 0] < new[:, 1]]])
        pairs = pairs[np.sort(np.unique(pairs, axis=0, return_index=True)[1])]
        same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    kept = np.concatenate([np.flatnonzero(same)[:each], np.flatnonzero(~same)[:each]])
    return Pairs(pairs[kept, 0], pairs[kept, 1], np.arange(2 * each) < each)
