"""Batch-hard triplets (Hermans et al. 2017): farthest positive and nearest negative an anchor."""

import torch

from faceops.embedding.mining.positive_pairs import positive_pairs
from faceops.embedding.mining.triplet_loss import Triplets


def mine_batch_hard(
    distances: torch.Tensor,
    labels: torch.Tensor,
    margin: float,
    generator: torch.Generator | None = None,
) -> Triplets:
    """Return one triplet for every anchor that has a positive and a negative.

    Args:
        distances: float32 (B, B), squared L2; of equal ones the first in the batch is taken.
        labels: int64 (B,), a person each; a label that occurs once serves as negative only.
        margin: not used; the hardest triplet of an anchor is taken even if it costs nothing.
        generator: not used; nothing is drawn.
    """
    same, positive = positive_pairs(labels)
    anchors = torch.nonzero(positive.any(dim=1) & (~same).any(dim=1)).flatten()
    farthest = distances.masked_fill(~positive, -torch.inf)
    nearest = distances.masked_fill(same, torch.inf)
    return anchors, _first_largest(farthest[anchors]), _first_largest(-nearest[anchors])


def _first_largest(values: torch.Tensor) -> torch.Tensor:
    """Return the column of the first largest value of each row; torch's argmax may take any."""
    if len(values) == 0:
        return torch.zeros(0, dtype=torch.int64, device=values.device)
    largest = values == values.max(dim=1, keepdim=True).values
    columns = torch.arange(values.shape[1], device=values.device)
    return torch.where(largest, columns, values.shape[1]).min(dim=1).values
