"""The receiver operating characteristic of pair scores, exact also with tied scores.

Everywhere a pair is accepted when its score is at least the threshold, and TAR at a FAR is taken
at the threshold rule of `faceops.verification.thresholds`: no interpolation between points.
"""

import numpy as np

from faceops.embedding.accept_rates import area_under_roc
from faceops.verification.thresholds import threshold_at


def roc_auc(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Return the area under the curve: P(genuine > impostor) + P(equal) / 2."""
    return area_under_roc(-genuine, -impostor)


def tar_at_far(genuine: np.ndarray, impostor: np.ndarray, far: float) -> tuple[float, float]:
    """Return (true accept rate, threshold) where at most a share `far` of impostors passes."""
    threshold = threshold_at(np.sort(impostor.astype(np.float32))[::-1], far)
    return float((genuine.astype(np.float32) >= np.float32(threshold)).mean()), threshold


def roc_curve(
    genuine: np.ndarray, impostor: np.ndarray, points: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Return (far, tar), float64 (P,), rising, at false accept rates evenly spaced by logarithm.

    From one impostor pair to all of them; the rates are those really reached.
    """
    descending = np.sort(impostor.astype(np.float32))[::-1]
    wanted = np.unique(np.geomspace(1, len(descending), points).round().astype(int))
    thresholds = np.unique(
        np.array([threshold_at(descending, n / len(descending)) for n in wanted], np.float32)
    )[::-1]
    ascending = np.sort(genuine.astype(np.float32))
    tar = 1 - np.searchsorted(ascending, thresholds, "left") / len(ascending)
    far = 1 - np.searchsorted(descending[::-1], thresholds, "left") / len(descending)
    return far, tar
