"""The steps of an epoch: which faces make up each batch, known before the epoch begins."""

from dataclasses import dataclass

import numpy as np
import torch

from faceops.config.sections import Train
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.mining.global_batches import global_batches
from faceops.embedding.mining.memory_bank import MemoryBank
from faceops.embedding.mining.negatives_of_faces import negatives_of_faces
from faceops.embedding.mining.triplet_loss import Triplets
from faceops.embedding.training.classes import classes_of
from faceops.embedding.training.people_photos_sampler import PeoplePhotosSampler
from faceops.embedding.training.photo_sampler import PhotoSampler


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
