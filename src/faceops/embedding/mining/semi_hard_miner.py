"""Semi-hard triplets (Schroff et al. 2015): negatives beyond the positive, within the margin."""

import torch

from faceops.embedding.mining.positive_pairs import positive_pairs
from faceops.embedding.mining.triplet_loss import Triplets


def mine_semi_hard(
    distances: torch.Tensor,
    labels: torch.Tensor,
    margin: float,
    generator: torch.Generator | None = None,
) -> Triplets:
    """Return every triplet (a, p, n) with d(a, p) < d(a, n) < d(a, p) + margin.

    Args:
        distances: float32 (B, B), squared L2.
        labels: int64 (B,), a person each; a label that occurs once serves as negative only.
        margin: in squared distance.
        generator: not used; nothing is drawn.
    """
    same, positive = positive_pairs(labels)
    anchors, positives = torch.nonzero(positive, as_tuple=True)  # (pairs,)
    near = distances[anchors, positives][:, None]  # (pairs, 1)
    others = distances[anchors]  # (pairs, B)
    chosen = ~same[anchors] & (others > near) & (others < near + margin)
    pairs, negatives = torch.nonzero(chosen, as_tuple=True)
    return anchors[pairs], positives[pairs], negatives
