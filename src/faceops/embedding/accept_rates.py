"""The figures over pairs that compare epochs in training; without torch."""

import numpy as np

from faceops.base.figures import roc

MAX_PHOTOS = 4000  # 8 million pairs: beyond that the figures hardly change, the memory does


def validation_figures(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the figures over all pairs of validation photos.

    Args:
        embeddings: float32 (N, D), L2-normalised; of more than 4,000, those of people
            drawn by a fixed seed until there are 4,000.
        labels: (N,), the person of each.

    Returns:
        val_tar (at FAR 1e-3), val_tar_far_1e-2, val_auc, and their mean val_score, by which
        epochs are compared. With few people TAR at 1e-3 depends on a few dozen impostor pairs;
        TAR at 1e-2 steadies it, and AUC still moves when both are 1.
    """
    if len(embeddings) > MAX_PHOTOS:
        chosen = _photos_of_drawn_people(labels)
        embeddings, labels = embeddings[chosen], labels[chosen]
    first, second = np.triu_indices(len(embeddings), 1)
    distances = (2 - 2 * embeddings @ embeddings.T)[first, second]
    same = labels[first] == labels[second]
    curve = roc(-distances[same], -distances[~same])
    tars, auc = [curve.tar(far) for far in (1e-3, 1e-2)], curve.auc
    return {
        "val_tar": tars[0],
        "val_tar_far_1e-2": tars[1],
        "val_auc": auc,
        "val_score": (tars[0] + tars[1] + auc) / 3,
    }


def _photos_of_drawn_people(labels: np.ndarray) -> np.ndarray:
    """Return the positions of MAX_PHOTOS photos, with all photos of all but the last person.

    Photos drawn one by one would leave few genuine pairs.
    """
    _, person = np.unique(labels, return_inverse=True)
    order = np.random.default_rng(0).permutation(person.max() + 1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.sort(np.argsort(rank[person], kind="stable")[:MAX_PHOTOS])
