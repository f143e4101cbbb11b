"""The rotation, uniform scale and shift that best maps points onto others."""

import numpy as np


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return float64 (2, 3): `target` ~ matrix[:, :2] @ point + matrix[:, 2], by least squares.

    Without reflection. Umeyama: "Least-squares estimation of transformation parameters between
    two point patterns", 1991; in two dimensions the rotation has a closed form.
    Source points that coincide (or are not finite) give a pure shift at scale 1.

    Args:
        source: float (N, 2).
        target: float (N, 2).
    """
    source = np.asarray(source, dtype=np.float64)
    target = np.asarray(target, dtype=np.float64)
    to = target.mean(axis=0)
    if not np.isfinite(source).all():
        return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    start = source.mean(axis=0)
    a, b = source - start, target - to
    spread = float((a * a).sum())
    along = float((a * b).sum())  # scale * cos(angle) * spread
    across = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())  # scale * sin(angle) * spread
    if spread < 1e-12 or along * along + across * across < 1e-12 * spread:
        turn = np.eye(2)
    else:
        turn = np.array([[along, -across], [across, along]]) / spread
    return np.column_stack([turn, to - turn @ start])
