"""Which triplets still cost something."""

import torch

from faceops.embedding.mining.triplet_loss import Triplets


def active_triplets(distances: torch.Tensor, triplets: Triplets, margin: float) -> Triplets:
    """Return those of `triplets` whose loss d(a, p) - d(a, n) + margin is above 0.

    The mean of `triplet_loss` over them is the mean over the terms that are not zero: late in
    training nearly all triplets are satisfied, and the mean over all would fade with them.

    Args:
        distances: float32 (B, B), squared L2.
        triplets: three int64 (T,) of rows of the batch.
        margin: in squared distance.
    """
    anchors, positives, negatives = triplets
    loss = distances[anchors, positives] - distances[anchors, negatives] + margin
    chosen = loss > 0
    return anchors[chosen], positives[chosen], negatives[chosen]
