"""Keep the best of boxes that cover the same face."""

import numpy as np


def non_maximum_suppression(
    boxes: np.ndarray, scores: np.ndarray, largest_overlap: float
) -> np.ndarray:
    """Return the indices of the boxes to keep, best score first.

    A box goes when its intersection over union with a better kept one exceeds `largest_overlap`.
    Equal scores are taken in the order of their rows.

    Args:
        boxes: float (N, 4), x, y, width, height.
        scores: float (N,).
        largest_overlap: 0 to 1.
    """
    order = np.argsort(-scores, kind="stable")
    left, top = boxes[:, 0], boxes[:, 1]
    right, bottom = left + boxes[:, 2], top + boxes[:, 3]
    area = boxes[:, 2] * boxes[:, 3]
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        wide = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        high = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        union = area[best] + area[rest] - shared
        order = rest[shared <= largest_overlap * union]
    return np.array(kept, dtype=np.int64)
