"""Tells a run that has gone wrong, with advice, before it burns hours."""

import math
from typing import Any

from faceops.base.errors import FaceOpsError

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
