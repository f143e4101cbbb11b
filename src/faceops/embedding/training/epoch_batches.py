"""Which epoch belongs to which phase and miner, and the batches of an epoch."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.config.sections import Train
from faceops.embedding.global_mining import global_batches, nearest_negatives, random_negatives
from faceops.embedding.miners import Triplets
from faceops.embedding.training.dataset import BalancedSampler, FaceDataset, Sampler, UniformSampler


def total_epochs(settings: Train) -> int:
    """Return the number of epochs of a run that is not stopped early."""
    return settings.warmup_epochs + settings.triplet_epochs


def phase_of(epoch: int, settings: Train) -> str:
    """Return "warmup" or "triplet"; epochs count from 1."""
    return "warmup" if epoch <= settings.warmup_epochs else "triplet"


def miner_of(epoch: int, settings: Train) -> str:
    """Return the miner of a triplet epoch, "" for a warm-up epoch.

    With 10 triplet epochs {semi_hard: 0.4, batch_hard: 1.0} gives four of the one and six of the
    other.
    """
    if phase_of(epoch, settings) == "warmup":
        return ""
    share = (epoch - settings.warmup_epochs - 1) / settings.triplet_epochs
    return next(name for name, end in settings.miners.items() if share < end - 1e-9)


def next_epoch(last: dict[str, Any], stale_epochs: int, settings: Train) -> int | None:
    """Return the epoch after the one whose history row is `last`, or None to stop early.

    A warm-up whose validation score did not rise for `patience` epochs (`stale_epochs`) gives way
    to triplets; a triplet phase then ends the run.
    """
    if stale_epochs < settings.patience:
        return int(last["epoch"]) + 1
    if last["phase"] == "triplet" or settings.triplet_epochs == 0:
        return None
    return settings.warmup_epochs + 1


@dataclass(frozen=True)
class Batch:
    """One batch of B training faces.

    positions: int64 (B,), in the training split.
    labels: int64 (B,), their people.
    triplets: rows of the batch, where global mining chose them; else a miner finds them.
    """

    positions: np.ndarray
    labels: np.ndarray
    triplets: Triplets | None = None


def _sampler(
    train: FaceDataset, settings: Train, phase: str, negatives_per_batch: int = 0
) -> Sampler:
    people, photos = settings.people_per_batch, settings.photos_per_person
    if phase == "warmup" and settings.warmup_sampler != "balanced":
        classified = np.flatnonzero(train.labels < train.num_classes(settings))
        return UniformSampler(classified, people * photos)
    return BalancedSampler(train.labels, train.negative_only, people, photos, negatives_per_batch)


def epoch_batches(
    train: FaceDataset, settings: Train, epoch: int, negatives: np.ndarray | None = None
) -> list[Batch]:
    """Return the batches of `epoch`, the same each time.

    Args:
        negatives: int64 (N, k), those that global mining found for each face (`mine_negatives`).
    """
    generator = np.random.default_rng([settings.seed, epoch])
    phase, added = phase_of(epoch, settings), settings.negatives_per_batch
    if negatives is None:
        sampler = _sampler(train, settings, phase, added if phase == "triplet" else 0)
        return [Batch(rows, train.labels[rows]) for rows in sampler.epoch(generator)]
    drawn = list(_sampler(train, settings, phase).epoch(generator))
    mined = global_batches(drawn, train.labels, negatives, added, generator)
    return [Batch(rows, train.labels[rows], triplets) for rows, triplets in mined]


def batches_before(train: FaceDataset, settings: Train, epoch: int) -> int:
    """Return how many batches all epochs before `epoch` have."""
    warmup = min(epoch - 1, settings.warmup_epochs)
    phases = (("warmup", warmup), ("triplet", epoch - 1 - warmup))
    return sum(len(_sampler(train, settings, phase)) * count for phase, count in phases)


def mine_negatives(
    embeddings: np.ndarray, train: FaceDataset, settings: Train, epoch: int
) -> np.ndarray:
    """Return the negatives of each training face, int64 (N, nearest + random), -1 for none.

    First the nearest faces of other people, then random ones, people with one photo among them. A
    face that is negative only has none.

    Args:
        embeddings: float32 (N, D), the latest of each training face, L2-normalised.
    """
    anchors = np.flatnonzero(~train.negative_only)
    count, skip = settings.global_nearest, settings.global_skip
    generator = np.random.default_rng([settings.seed, epoch, 1])
    near = nearest_negatives(embeddings, train.labels, anchors, count, skip)
    random = random_negatives(train.labels, anchors, settings.global_random, generator)
    negatives = np.full((len(train), count + settings.global_random), -1, dtype=np.int64)
    negatives[anchors] = np.concatenate([near, random], axis=1)
    return negatives
