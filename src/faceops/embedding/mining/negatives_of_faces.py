"""What global mining finds for an epoch: the negatives of every training face."""

import numpy as np
import torch

from faceops.embedding.mining.global_negatives import nearest_negatives
from faceops.embedding.mining.random_negatives import random_negatives


def negatives_of_faces(
    bank: torch.Tensor,
    labels: np.ndarray,
    negative_only: np.ndarray,
    skip: int,
    nearest: int,
    random: int,
    draw: np.random.Generator,
) -> np.ndarray:
    """Return int64 (N, nearest + random), faces of other people for each face; -1 stands for none.

    The first `nearest` are the nearest strangers after the `skip` nearest, the others are drawn
    from all strangers, people with one photo among them. A face that is negative only has none.

    Args:
        bank: float32 (N, D), the latest embedding of each training face, L2-normalised.
        labels: int64 (N,), a person each.
        negative_only: bool (N,), faces of people with one photo.
    """
    anchors = np.flatnonzero(~negative_only)
    found = np.full((len(labels), nearest + random), -1, dtype=np.int64)
    near = nearest_negatives(
        bank, torch.from_numpy(labels), torch.from_numpy(anchors), nearest, skip
    )
    found[anchors, :nearest] = near.cpu().numpy()
    found[anchors, nearest:] = random_negatives(labels, anchors, random, draw)
    return found
