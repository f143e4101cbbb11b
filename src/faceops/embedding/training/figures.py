"""Figures of batches and epochs: whether an embedding learns or collapses, and the best epoch."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_csv
from faceops.embedding.losses import positive_pairs

Row = dict[str, Any]  # an epoch of the history: epoch, phase, miner, figures

MIN_SPREAD = 0.1  # an untrained or a trained embedding has .5 to 1
STUCK_RATIO = 0.98  # distance within people over distance between them; 1: no difference
STUCK_EPOCHS = 2
ADVICE = "lower train.learning_rate, or raise train.warmup_epochs"
MAX_PHOTOS = 4000  # 8 million pairs: beyond that the figures hardly change, the memory does


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


def validation_figures(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the figures over all pairs of validation photos, where each person counts the same.

    A genuine pair weighs one over the pairs of its person; an impostor pair one over the pairs of
    its two people. Else a few people with many photos would choose the epoch.

    Args:
        embeddings: float32 (N, D), L2-normalised; of more than 4,000, those of people
            drawn by a fixed seed until there are 4,000.
        labels: (N,), the person of each.

    Returns:
        val_tar (at FAR 1e-3), val_tar_far_1e-2, val_auc, and their mean val_score, by which
        epochs are compared. With few people TAR at 1e-3 depends on a few dozen impostor pairs;
        TAR at 1e-2 steadies it, and AUC still moves when both are 1. NaN without pairs of a kind.
    """
    if len(embeddings) > MAX_PHOTOS:
        chosen = _photos_of_drawn_people(labels)
        embeddings, labels = embeddings[chosen], labels[chosen]
    first, second = np.triu_indices(len(embeddings), 1)
    cosines = (embeddings @ embeddings.T)[first, second]
    same = labels[first] == labels[second]
    _, person, counts = np.unique(labels, return_inverse=True, return_counts=True)
    photos = counts[person]
    weight = 1 / photos
    genuine, impostor = cosines[same], cosines[~same]
    if not len(genuine) or not len(impostor):
        return dict.fromkeys(("val_tar", "val_tar_far_1e-2", "val_auc", "val_score"), math.nan)
    genuine_weight = (weight / (photos - 1).clip(1))[first[same]]
    order = np.argsort(impostor)
    rising = impostor[order]
    mass = np.cumsum((weight[first[~same]] * weight[second[~same]])[order])
    mass = np.concatenate([[0], mass / mass[-1]])
    # The share of impostor pairs with a lower score than each genuine pair, and up to it.
    below, upto = (mass[np.searchsorted(rising, genuine, side)] for side in ("left", "right"))
    tars = [
        float(np.average(1 - below <= far + 1e-9, weights=genuine_weight)) for far in (1e-3, 1e-2)
    ]
    auc = float(np.average((below + upto) / 2, weights=genuine_weight))
    return {
        "val_tar": tars[0],
        "val_tar_far_1e-2": tars[1],
        "val_auc": auc,
        "val_score": (tars[0] + tars[1] + auc) / 3,
    }


def _photos_of_drawn_people(labels: np.ndarray) -> np.ndarray:
    """Return the positions of MAX_PHOTOS photos, with all photos of all but the last person.

    Photos drawn one by one would leave few genuine pairs.
    """
    _, person = np.unique(labels, return_inverse=True)
    order = np.random.default_rng(0).permutation(person.max() + 1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.sort(np.argsort(rank[person], kind="stable")[:MAX_PHOTOS])


class TrainingLog:
    """Where the figures of a run go; this one drops them."""

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        """Take the figures of a step, counted from 1 over the whole run."""

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        """Take a row of the history; those before a resumed epoch come again, with speed 0."""


COLUMNS = (
    *("epoch", "phase", "miner", "learning_rate", "loss", "active_triplets"),
    *("positive_distance", "negative_distance", "spread"),
    *("val_tar", "val_tar_far_1e-2", "val_auc", "val_score"),
)


def write_history(history: list[Row], path: Path) -> None:
    """Write `history` to `path`; numbers with six significant digits, NaN as empty."""

    def cell(value: Any) -> Any:
        if isinstance(value, float):
            return "" if math.isnan(value) else f"{value:.6g}"
        return value

    write_csv(path, COLUMNS, ([cell(row.get(name, "")) for name in COLUMNS] for row in history))
