"""The figures that show whether an embedding learns or collapses."""

import torch

from faceops.embedding.mining.positive_pairs import positive_pairs


def watch_batch(
    embeddings: torch.Tensor, distances: torch.Tensor, labels: torch.Tensor, margin: float
) -> dict[str, float]:
    """Return a batch's figures; those that a batch cannot give are NaN.

    active_triplets: share of all triplets (a, p, n) with d(a, n) < d(a, p) + margin.
    positive_distance, negative_distance: mean squared distances within and between people.
    spread: standard deviation over all dimensions, sqrt(1 - |mean|^2): 1 when embeddings point
        everywhere, 0 when they have collapsed to one point.
    """
    same, positive = positive_pairs(labels)
    anchors, positives = torch.nonzero(positive, as_tuple=True)
    near = distances[anchors, positives][:, None]
    valid = ~same[anchors]
    active = valid & (distances[anchors] < near + margin)
    mean = embeddings.mean(dim=0)
    return {
        "active_triplets": _mean(active[valid].float()),
        "positive_distance": _mean(distances[positive]),
        "negative_distance": _mean(distances[~same]),
        "spread": float((1 - mean.pow(2).sum()).clamp_min(0).sqrt()),
    }


def _mean(values: torch.Tensor) -> float:
    return float(values.mean()) if values.numel() else float("nan")
