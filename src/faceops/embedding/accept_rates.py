"""The figures over pairs that compare epochs in training; without torch."""

import numpy as np

MAX_PHOTOS = 4000  # 8 million pairs: beyond that the figures hardly change, the memory does


def validation_figures(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the figures over all pairs of validation photos, where each person counts the same.

    A genuine pair weighs one over the pairs of its person; an impostor pair one over the pairs of
    its two people. Else a few people with many photos would choose the epoch.

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
    cosines = (embeddings @ embeddings.T)[first, second]
    same = labels[first] == labels[second]
    _, person, counts = np.unique(labels, return_inverse=True, return_counts=True)
    photos = counts[person]
    weight = 1 / photos
    weight = 1 / photos
    genuine, impostor = cosines[same], cosines[~same]
    genuine_weight = (weight / (photos - 1).clip(1))[first[same]]
    rising = np.argsort(impostor)
    mass = np.cumsum((weight[first[~same]] * weight[second[~same]])[rising])
    mass = np.concatenate([[0], mass / mass[-1]])
    # The share of impostor pairs with a lower score than each genuine pair, and up to it.
    below, upto = (
        mass[np.searchsorted(impostor[rising], genuine, side)] for side in ("left", "right")
    )
    tars = [
        float(np.average(1 - below <= far + 1e-9, weights=genuine_weight)) for far in (1e-3, 1e-2)
    ]
    auc = float(np.average((below + upto) / 2, weights=genuine_weight))
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
