"""Semi-hard triplets (Schroff et al. 2015): negatives beyond the positive, within the margin."""

import torch

from faceops.embedding.mining.triplet_loss import Triplets


def mine_semi_hard(distances: torch.Tensor, labels: torch.Tensor, margin: float) -> Triplets:
    """Return every triplet (a, p, n) with d(a, p) < d(a, n) < d(a, p) + margin.

    Args:
        distances: float32 (B, B), squared L2.
        labels: int64 (B,), a person each; a label that occurs once serves as negative only.
        margin: in squared distance.
    """
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    anchors, positives = torch.nonzero(same & ~itself, as_tuple=True)  # (pairs,)
    near = distances[anchors, positives][:, None]  # (pairs, 1)
    others = distances[anchors]  # (pairs, B)
    chosen = ~same[anchors] & (others > near) & (others < near + margin)
    pairs, negatives = torch.nonzero(chosen, as_tuple=True)
    return anchors[pairs], positives[pairs], negatives
