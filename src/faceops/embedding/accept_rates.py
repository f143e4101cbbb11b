"""Accept rates of scores of pairs: what other rooms share, without torch or matplotlib."""

import numpy as np

from faceops.base.figures import allowed_false_accepts


def area_under_roc(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Return the probability that an impostor pair is farther apart; ties count one half.

    Args:
        genuine, impostor: distances (N,), (M,) of pairs of one person and of two; of scores,
            which rise with likeness, give the negative.
    """
    order = np.sort(impostor)
    below = np.searchsorted(order, genuine, side="left").astype(np.float64)
    upto = np.searchsorted(order, genuine, side="right").astype(np.float64)
    return float(1 - (below + upto).mean() / (2 * len(impostor)))


def true_accept_rate(genuine: np.ndarray, impostor: np.ndarray, far: float) -> float:
    """Return the share of `genuine` distances below the threshold for `far`.

    The threshold lets at most floor(far x impostors) impostor pairs through. With fewer than
    1 / far of them it lets none through: the smallest FAR that they support.
    """
    allowed = allowed_false_accepts(far, len(impostor))
    if allowed >= len(impostor):
        return 1.0
    threshold = np.partition(impostor, allowed)[allowed]
    return float(np.mean(genuine < threshold))
