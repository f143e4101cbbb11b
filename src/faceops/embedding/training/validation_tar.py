"""How well an embedding tells validation people apart: TAR at small FARs, and AUC."""

import numpy as np

from faceops.embedding.accept_rates import allowed_false_accepts, area_under_roc

MAX_PHOTOS = 4000  # 8 million pairs: past that the figures no longer change, memory does


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


def _whole_people(labels: np.ndarray) -> np.ndarray:
    """Return the positions of MAX_PHOTOS photos, with all photos of all but the last person.

    Single photos drawn from all would leave few pairs of one person.
    """
    _, person = np.unique(labels, return_inverse=True)
    order = np.random.default_rng(0).permutation(person.max() + 1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.sort(np.argsort(rank[person], kind="stable")[:MAX_PHOTOS])


def validation_figures(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the figures over all pairs of validation photos.

    Args:
        embeddings: float32 (N, D), L2-normalised; of more than 4,000, those of people
            drawn by a fixed seed until there are 4,000.
        labels: (N,), the person of each.

    Returns:
        val_tar (at FAR 1e-3), val_tar_far_1e-2, val_auc, and val_score, by which epochs are
        chosen: their mean. TAR at 1e-3 alone hangs on a few dozen impostor pairs where there are
        few people; TAR at 1e-2 steadies it, and AUC still moves when both stand at 1.
    """
    if len(embeddings) > MAX_PHOTOS:
        taken = _whole_people(labels)
        embeddings, labels = embeddings[taken], labels[taken]
    first, second = np.triu_indices(len(embeddings), 1)
    distances = (2 - 2 * embeddings @ embeddings.T)[first, second]
    same = labels[first] == labels[second]
    genuine, impostor = distances[same], distances[~same]
    tars = [true_accept_rate(genuine, impostor, far) for far in (1e-3, 1e-2)]
    auc = area_under_roc(genuine, impostor)
    return {
        "val_tar": tars[0],
        "val_tar_far_1e-2": tars[1],
        "val_auc": auc,
        "val_score": (tars[0] + tars[1] + auc) / 3,
    }
