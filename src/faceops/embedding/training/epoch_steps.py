"""The steps of an epoch: which faces make up each batch, known before the epoch begins."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from faceops.config.sections import Train
from faceops.embedding.global_mining import MemoryBank, global_batches, negatives_of_faces
from faceops.embedding.miners import Triplets
from faceops.embedding.training.samplers import (
    LabelledCrops,
    PeoplePhotosSampler,
    PhotoSampler,
    classes_of,
)


@dataclass(frozen=True)
class Step:
    """One batch.

    positions: int64 (B,), faces of the training split.
    labels: int64 (B,), their people.
    triplets: rows of the batch, where global mining chose them; else a miner finds them.
    """

    positions: np.ndarray
    labels: np.ndarray
    triplets: Triplets | None = None

    def triplets_on(self, device: torch.device) -> Triplets | None:
        """Return the triplets on `device`, where there are any."""
        if self.triplets is None:
            return None
        anchors, positives, negatives = (part.to(device) for part in self.triplets)
        return anchors, positives, negatives


def step_seed(*numbers: int) -> int:
    """Return the seed, below 2^63, of all that is random at a place (seed, epoch, step)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def epoch_steps(
    train: LabelledCrops, settings: Train, epoch: int, mined: np.ndarray | None
) -> list[Step]:
    """Return the steps of `epoch`, the same each time it is asked.

    Args:
        mined: the negatives that global mining found for each training face, where it is used.
    """
    draw = np.random.default_rng([settings.seed, epoch])
    warmup = epoch <= settings.warmup_epochs
    negatives = 0 if warmup or mined is not None else settings.negatives_per_batch
    batches = _sampler(train, settings, warmup, negatives).epoch(draw)
    if mined is None:
        return [Step(positions, train.labels[positions]) for positions in batches]
    found = global_batches(
        list(batches), train.labels, train.negative_only, mined, settings.negatives_per_batch, draw
    )
    return [Step(positions, train.labels[positions], triplets) for positions, triplets in found]


def steps_before(train: LabelledCrops, settings: Train, epoch: int) -> int:
    """Return how many steps all epochs before `epoch` have."""
    warmup = min(epoch - 1, settings.warmup_epochs)
    phases = ((True, warmup), (False, epoch - 1 - warmup))
    return sum(_sampler(train, settings, phase).batches() * count for phase, count in phases)


def _sampler(
    train: LabelledCrops, settings: Train, warmup: bool, negatives: int = 0
) -> PeoplePhotosSampler | PhotoSampler:
    """Return what draws the batches of an epoch of that phase."""
    people, photos = settings.people_per_batch, settings.photos_per_person
    if warmup and settings.warmup_sampler != "balanced":
        classified = np.flatnonzero(train.labels < classes_of(train, settings))
        return PhotoSampler(classified, people * photos)
    return PeoplePhotosSampler(train.labels, train.negative_only, people, photos, negatives)


def mine_negatives(
    bank: MemoryBank, train: LabelledCrops, settings: Train, epoch: int
) -> np.ndarray:
    """Return the negatives, int64 (N, k), of every training face by the latest embeddings."""
    return negatives_of_faces(
        bank.embeddings,
        train.labels,
        train.negative_only,
        settings.global_skip,
        settings.global_nearest,
        settings.global_random,
        np.random.default_rng([settings.seed, epoch, 1]),
    )


def epochs_of(settings: Train) -> int:
    """Return the epochs of a run whose patience lasts."""
    return settings.warmup_epochs + settings.triplet_epochs


def phase_of(epoch: int, settings: Train) -> str:
    """Return "warmup" or "triplet"; epochs count from 1."""
    return "warmup" if epoch <= settings.warmup_epochs else "triplet"


def miner_of(epoch: int, settings: Train) -> str:
    """Return the miner of a triplet epoch; a warm-up has none.

    With 10 triplet epochs {semi_hard: 0.4, batch_hard: 1.0} gives four of the one and six of the
    other.
    """
    if epoch <= settings.warmup_epochs:
        return ""
    begun = (epoch - settings.warmup_epochs - 1) / settings.triplet_epochs
    return next(name for name, until in settings.miners.items() if begun < until - 1e-9)


def next_epoch(last: dict[str, Any], idle: int, settings: Train) -> int | None:
    """Return the epoch after the one whose history row is `last`, or None when patience is out.

    A warm-up whose validation score did not rise for `patience` epochs (`idle`) gives way to
    triplets; a triplet phase then ends the run.
    """
    if idle < settings.patience:
        return int(last["epoch"]) + 1
    if last["phase"] == "triplet" or settings.triplet_epochs == 0:
        return None
    return settings.warmup_epochs + 1
