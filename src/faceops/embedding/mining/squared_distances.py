"""Squared L2 distances between all embeddings of a batch."""

import torch


def squared_distances(embeddings: torch.Tensor) -> torch.Tensor:
    """Return float32 (B, B), in [0, 4], for L2-normalised `embeddings` (B, D).

    Squared, not rooted: the root's gradient at distance zero is infinite.
    """
    return (2 - 2 * embeddings @ embeddings.T).clamp_min(0)
