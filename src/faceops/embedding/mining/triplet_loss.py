"""The triplet loss (Schroff et al. 2015) on squared L2 distances."""

import torch

Triplets = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # anchors, positives, negatives


def triplet_loss(distances: torch.Tensor, triplets: Triplets, margin: float) -> torch.Tensor:
    """Return the mean of max(0, d(a, p) - d(a, n) + margin) over `triplets`.

    Args:
        distances: float32 (B, B), squared L2 distances within the batch.
        triplets: three int64 (T,) of rows of the batch; with none the loss is 0, and its
            gradient too.
        margin: in squared distance, 0..4.
    """
    anchors, positives, negatives = triplets
    if len(anchors) == 0:
        return distances.sum() * 0
    return torch.relu(distances[anchors, positives] - distances[anchors, negatives] + margin).mean()
