"""The directions in which people differ most for how much photos of one person do."""

import numpy as np
from scipy.linalg import eigh


def fisher_discriminants(
    components: np.ndarray, labels: np.ndarray, shrinkage: float
) -> np.ndarray:
    """Return float32 (K, K), the directions that tell people apart best first.

    Fisher (1936), the scatter of each person's photos shrunk towards a sphere.

    Args:
        components: float32 (N, K), of mean 0.
        labels: int (N,), 0 .. C - 1, each at least once.
        shrinkage: 0 takes that scatter as it is, 1 as alike in all directions.
    """
    faces, kept = components.shape
    sums = np.zeros((labels.max() + 1, kept))
    np.add.at(sums, labels, components)
    apart = components - (sums / np.bincount(labels)[:, None])[labels]
    # Of each person's photos the mean is known: one degree of freedom less.
    within = apart.T @ apart / max(1, faces - len(sums))
    sphere = np.eye(kept) * max(np.trace(within) / kept, 1e-6)
    overall = components.T @ components / faces
    _, directions = eigh(overall, (1 - shrinkage) * within + shrinkage * sphere)
    best_first: np.ndarray = directions.T[::-1].astype(np.float32)
    return best_first
