"""Temperature scaling: one number makes a fitted layer surer or less sure."""

import numpy as np

from faceops.verification.platt import targets
from faceops.verification.score_table import ScoreTable

SCALES = (1e-3, 1e3)


def temperature(table: ScoreTable) -> float:
    """Return 1 / T so that sigmoid(logit / T) has the least log-loss on a table of logits.

    Guo et al. (2017) divide the logits of a trained network, its bias included, by one number.
    Here they are those of the layer as fitted to training people: where it is undecided stays
    where it is, people held out say only how sure it may be elsewhere. Both kinds of pairs
    weigh the same, targets are pulled in as Platt's are, and the scale is within `SCALES`.
    """
    one, two = table.weights
    high, low = targets(table)
    lowest, highest = np.log(SCALES)
    for _ in range(60):  # the loss is convex in the scale: halve where its slope changes sign
        middle = (lowest + highest) / 2
        p = 0.5 * (1 + np.tanh(np.exp(middle) * table.score / 2))
        slope = float(((one * (p - high) + two * (p - low)) * table.score).sum())
        lowest, highest = (lowest, middle) if slope > 0 else (middle, highest)
    return float(np.exp((lowest + highest) / 2))
