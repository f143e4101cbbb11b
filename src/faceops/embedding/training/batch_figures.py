"""Figures that show whether an embedding learns or collapses, and the errors when it does not."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceops.base.errors import FaceOpsError
from faceops.embedding.miners import positive_pairs

MIN_SPREAD = 0.1  # an untrained or a trained embedding has .5 to 1
STUCK_RATIO = 0.98  # distance within people over distance between them; 1: no difference
STUCK_EPOCHS = 2
ADVICE = "lower train.learning_rate, or raise train.warmup_epochs"


@torch.no_grad()
def batch_figures(
    embeddings: Tensor, distances: Tensor, labels: Tensor, margin: float
) -> dict[str, float]:
    """Return a batch's figures, NaN where the batch has no such pairs.

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
        "active_triplets": float(active[valid].float().mean()),
        "positive_distance": float(distances[positive].mean()),
        "negative_distance": float(distances[~same].mean()),
        "spread": float((1 - mean.pow(2).sum()).clamp_min(0).sqrt()),
    }


def epoch_means(batches: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over the batches that have it, else NaN."""
    means = {}
    for name in batches[0]:
        values = [figures[name] for figures in batches if not math.isnan(figures[name])]
        means[name] = float(np.mean(values)) if values else math.nan
    return means


def check_gradient(norm: float, epoch: int, step: int) -> None:
    """Raise FaceOpsError unless the gradient's `norm` is finite; `step` counts from 0."""
    if not math.isfinite(norm):
        raise FaceOpsError(
            f"the gradient of step {step + 1} in epoch {epoch} is not finite ({norm}); {ADVICE},"
            " or set train.precision to float32."
        )


def check_collapse(history: list[dict[str, Any]]) -> None:
    """Raise when the last epoch of `history` shows that the network does not learn.

    Raises:
        FaceOpsError: all embeddings are equal (then every triplet costs the margin); or for two
            triplet epochs in a row two photos of one person were as far apart as two of different
            people, so the loss is stuck at the margin.
    """
    row = history[-1]
    if row["spread"] < MIN_SPREAD:
        raise FaceOpsError(
            f"in epoch {row['epoch']} the embeddings collapsed to one point (spread"
            f" {row['spread']:.3f}, under {MIN_SPREAD}); {ADVICE}."
        )
    last = history[-STUCK_EPOCHS:]
    if len(last) == STUCK_EPOCHS and all(_is_stuck(one) for one in last):
        raise FaceOpsError(
            f"since epoch {last[0]['epoch']} the loss is stuck at the margin ({row['loss']:.3f}):"
            " photos of one person are as far apart as photos of two"
            f" ({row['positive_distance']:.3f}, {row['negative_distance']:.3f}); {ADVICE}, or begin"
            " train.miners with semi_hard."
        )


def _is_stuck(row: dict[str, Any]) -> bool:
    ratio: float = STUCK_RATIO * row.get("negative_distance", math.nan)
    return bool(row["phase"] == "triplet" and row["positive_distance"] >= ratio)
