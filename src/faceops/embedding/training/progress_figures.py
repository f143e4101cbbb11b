"""The figures that show whether an embedding learns or collapses."""

import math
from collections import defaultdict
from typing import Any

import torch

from faceops.base.errors import FaceOpsError
from faceops.embedding.miners import positive_pairs


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


COLLAPSED = 0.1  # spread of a batch; an untrained or trained embedding has .5 to 1
STUCK = 0.98  # distance within people over distance between them; 1: nothing is told apart
STUCK_EPOCHS = 2
ADVICE = "lower train.learning_rate, or raise train.warmup_epochs"


def check_gradient(norm: float, epoch: int, step: int) -> None:
    """Raise FaceOpsError unless the gradient's `norm` is finite; `step` counts from 0."""
    if not math.isfinite(norm):
        raise FaceOpsError(
            f"the gradient of step {step + 1} in epoch {epoch} is not finite ({norm}); {ADVICE},"
            " or set train.precision to float32."
        )


def check_alive(history: list[dict[str, Any]]) -> None:
    """Raise when the last epoch of `history` shows that training cannot go on.

    Raises:
        FaceOpsError: the loss is not finite; all embeddings are alike (then every triplet costs
            the margin); or for two triplet epochs in a row two photos of one person were as far
            apart as two of different people, so the loss is stuck at the margin.
    """
    row = history[-1]
    if not math.isfinite(row["loss"]):
        raise FaceOpsError(f"the loss of epoch {row['epoch']} is {row['loss']}; {ADVICE}.")
    if row["spread"] < COLLAPSED:
        raise FaceOpsError(
            f"in epoch {row['epoch']} the embeddings collapsed to one point (spread"
            f" {row['spread']:.3f}, under {COLLAPSED}); {ADVICE}."
        )
    last = history[-STUCK_EPOCHS:]
    if len(last) == STUCK_EPOCHS and all(_stuck(one) for one in last):
        raise FaceOpsError(
            f"since epoch {last[0]['epoch']} the loss is stuck at the margin ({row['loss']:.3f}):"
            " photos of one person are as far apart as photos of two"
            f" ({row['positive_distance']:.3f}, {row['negative_distance']:.3f}); {ADVICE}, or begin"
            " train.miners with semi_hard."
        )


def _stuck(row: dict[str, Any]) -> bool:
    ratio: float = STUCK * row.get("negative_distance", math.nan)
    return bool(row["phase"] == "triplet" and row["positive_distance"] >= ratio)


class EpochFigures:
    """Sums and counts of figures; a batch that cannot give a figure (NaN) is not counted.

    A loss is always counted: one that is not a number has to show.
    """

    def __init__(self, sums: dict[str, list[float]] | None = None) -> None:
        """Begin empty, or from the `state` of another."""
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
        self._sums |= sums or {}

    def add(self, figures: dict[str, float]) -> None:
        """Count the figures of a batch."""
        for name, value in figures.items():
            total = self._sums[name]
            if name == "loss" or not math.isnan(value):
                total[0] += value
                total[1] += 1

    def means(self) -> dict[str, float]:
        """Return the mean of each; NaN where no batch could give it."""
        return {
            name: total / count if count else math.nan
            for name, (total, count) in self._sums.items()
        }

    def state(self) -> dict[str, list[float]]:
        """Return what a checkpoint keeps."""
        return dict(self._sums)
