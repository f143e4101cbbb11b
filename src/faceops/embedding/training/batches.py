"""The batches of each epoch: samplers draw them, global mining adds hard negatives to them."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from faceops.base.nearest import nearest_of_others
from faceops.config.sections import Train
from faceops.embedding.losses import Triplets
from faceops.embedding.training.inputs import FaceDataset


@dataclass(frozen=True)
class BalancedSampler:
    """Batches of P people x K photos (Hermans et al. 2017), and some negatives.

    Its length is the number of batches in an epoch, which sees about as many photos as there are,
    and each person at least once; with `square_root` not each, since a person's odds to be drawn
    are the square root of the number of photos (Mahajan et al. 2018).
    """

    labels: np.ndarray  # int64 (N,), of each photo; 0 and up for people with several photos
    negative_only: np.ndarray  # bool (N,), photos that may only be negatives
    people: int  # P, at most as many as there are
    photos: int  # K; of a person with fewer all of them: a photo is never its own positive
    negatives: int = 0  # negative-only photos that are added to each batch
    # Pairs of labels to draw into one batch; not with `square_root`
    confused: tuple[tuple[int, int], ...] = ()
    square_root: bool = False

    def __len__(self) -> int:
        usable = self.labels[~self.negative_only]
        count = len(np.unique(usable))
        people = min(self.people, count)
        return max(math.ceil(len(usable) / (people * self.photos)), math.ceil(count / people))

    def epoch(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield int64 positions of faces, a batch each, in an order that `generator` draws."""
        positions = np.flatnonzero(~self.negative_only)
        order = positions[np.argsort(self.labels[positions], kind="stable")]
        _, starts = np.unique(self.labels[order], return_index=True)
        photos_of = np.split(order, starts[1:])
        singles = np.flatnonzero(self.negative_only)
        people = min(self.people, len(photos_of))
        odds = np.sqrt([len(own) for own in photos_of])
        odds /= odds.sum()
        queue: list[int] = []
        for _ in range(len(self)):
            if self.square_root:
                queue = generator.choice(len(photos_of), people, replace=False, p=odds).tolist()
            while len(queue) < people:
                # People left over from the last pass come first, and not twice in a batch.
                drawn = generator.permutation(len(photos_of)).tolist()
                drawn.sort(key=lambda person: person in queue)
                queue += self._side_by_side(drawn, queue)
            chosen, queue = queue[:people], queue[people:]
            batch = [
                generator.choice(own, min(self.photos, len(own)), replace=False)
                for own in (photos_of[person] for person in chosen)
            ]
            if self.negatives and len(singles):
                added = min(self.negatives, len(singles))
                batch.append(generator.choice(singles, added, replace=False))
            yield np.concatenate(batch)

    def _side_by_side(self, people: list[int], queue: list[int]) -> list[int]:
        """Return `people` with those of a pair one after the other: mostly in one batch.

        Who is in the `queue` stays: nobody comes twice in a batch.
        """
        others = defaultdict(list)
        for one, other in (*self.confused, *((b, a) for a, b in self.confused)):
            if other not in queue:
                others[one].append(other)
        order = dict.fromkeys(each for one in people for each in (one, *others[one]))
        return list(order)


@dataclass(frozen=True)
class UniformSampler:
    """Each photo once per epoch, in batches whose sizes differ by at most one photo.

    A network from scratch then begins with the people who have many photos. A last batch of one
    photo would have no batch statistics.
    """

    positions: np.ndarray  # int64 (N,), the photos
    size: int  # of a batch, at most

    def __len__(self) -> int:
        return math.ceil(len(self.positions) / self.size)

    def epoch(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        yield from np.array_split(generator.permutation(self.positions), len(self))


@dataclass(frozen=True)
class Batch:
    """One batch of B training faces."""

    positions: np.ndarray  # int64 (B,), in the training split
    labels: np.ndarray  # int64 (B,), their people
    triplets: Triplets | None = None  # rows of the batch, where global mining chose them


def nearest_negatives(
    embeddings: np.ndarray, labels: np.ndarray, anchors: np.ndarray, count: int, skip: int = 0
) -> np.ndarray:
    """Return for each anchor the `count` nearest faces of other people after the first `skip`.

    The nearest face of another person is often a twin, or the same person under another name. The
    search is exact (see `base.nearest`). `embeddings` float32 (N, D), L2-normalised, of the people
    `labels` int64 (N,); `anchors` int64 (A,), rows.

    Returns int64 (A, count), rows, the nearest first; -1 where there are no more.
    """
    own = embeddings[anchors], labels[anchors]
    near, _ = nearest_of_others(*own, embeddings, labels, skip + count, "mining negatives")
    return near[:, skip:]


def random_negatives(
    labels: np.ndarray, anchors: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Return int64 (A, count): for each anchor, rows drawn uniformly from those of other people.

    A row may be drawn twice; it is -1 without another person. `labels` int64 (N,) of each row.
    """
    by_person = np.argsort(labels, kind="stable")
    ordered = labels[by_person]
    who = labels[anchors][:, None]
    start = np.searchsorted(ordered, who)
    own = np.searchsorted(ordered, who, side="right") - start
    others = len(labels) - own  # (A, 1)
    place = generator.integers(0, np.maximum(others, 1), size=(len(anchors), count))
    place += np.where(place >= start, own, 0)  # skip the anchor's own person
    return np.where(others > 0, by_person[place % max(len(labels), 1)], -1)


def with_mined(
    batch: np.ndarray, labels: np.ndarray, negatives: np.ndarray, added: int,
    generator: np.random.Generator,
) -> Batch:  # fmt: skip
    """Return a batch with some of the mined negatives of its faces after them, and its triplets.

    These are all (a, p, n) of two photos of a person from `batch` and a mined negative of a that is
    now in the batch, whichever face it was added for. `batch` int64 (B,) are positions of training
    faces, P people x K photos, `labels` int64 (N,) the people of all of them, `negatives` int64 (N,
    m) the mined negatives of each, -1 for none; at most `added` of them are added.
    """
    candidates = negatives[batch]  # (B, m)
    positions = np.concatenate([batch, _spread(candidates, batch, added, generator)])
    order = np.argsort(positions)
    place = np.searchsorted(positions, candidates, sorter=order).clip(max=len(positions) - 1)
    place = order[place]  # of each candidate, if it is in the batch
    present = positions[place] == candidates
    is_negative = np.zeros((len(batch), len(positions)), dtype=bool)
    is_negative[np.nonzero(present)[0], place[present]] = True

    who = labels[batch]
    first, second = np.nonzero((who[:, None] == who) & ~np.eye(len(who), dtype=bool))
    pairs, found = np.nonzero(is_negative[first])
    places = (first[pairs], second[pairs], found)
    anchors, positives, others = (torch.from_numpy(part) for part in places)
    return Batch(positions, labels[positions], (anchors, positives, others))


def _spread(
    candidates: np.ndarray, batch: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Return up to `count` of the `candidates` (B, m), none twice and none that is in `batch`.

    First one of each anchor, then a second one of each, and so on.
    """
    shuffled = generator.permuted(candidates, axis=1)[generator.permutation(len(candidates))]
    turns = shuffled.T.ravel()
    turns = turns[(turns >= 0) & ~np.isin(turns, batch)]
    _, first = np.unique(turns, return_index=True)
    return turns[np.sort(first)[:count]]


@dataclass(frozen=True)
class Epochs:
    """The epochs of a run, counted from 1: their phase, their miner, their batches."""

    train: FaceDataset
    settings: Train

    @property
    def total(self) -> int:
        """The number of epochs of a run that is not stopped early."""
        return self.settings.warmup_epochs + self.settings.triplet_epochs

    def phase(self, epoch: int) -> str:
        """Return "warmup" or "triplet"."""
        return "warmup" if epoch <= self.settings.warmup_epochs else "triplet"

    def miner(self, epoch: int) -> str:
        """Return the miner of a triplet epoch, "" for a warm-up epoch.

        With 10 triplet epochs {semi_hard: 0.4, batch_hard: 1.0} gives four of the one and six of
        the other.
        """
        if self.phase(epoch) == "warmup":
            return ""
        share = (epoch - self.settings.warmup_epochs - 1) / self.settings.triplet_epochs
        return next(name for name, end in self.settings.miners.items() if share < end - 1e-9)

    def after(self, last: dict[str, Any], stale_epochs: int) -> int | None:
        """Return the epoch after the one whose history row is `last`, or None to stop early.

        A warm-up whose validation score did not rise for `patience` epochs (`stale_epochs`) gives
        way to triplets; a triplet phase then ends the run.
        """
        if stale_epochs < self.settings.patience:
            return int(last["epoch"]) + 1
        if last["phase"] == "triplet" or self.settings.triplet_epochs == 0:
            return None
        return self.settings.warmup_epochs + 1

    def batches(self, epoch: int, negatives: np.ndarray | None = None) -> list[Batch]:
        """Return the batches of `epoch`, the same each time; `negatives`: see `mine`."""
        labels, added = self.train.labels, self.settings.negatives_per_batch
        generator = np.random.default_rng([self.settings.seed, epoch])
        phase = self.phase(epoch)
        if negatives is None:
            adds = phase == "triplet" or self.settings.warmup_sampler == "square_root_all"
            sampler = self._sampler(phase, added if adds else 0)
            return [Batch(rows, labels[rows]) for rows in sampler.epoch(generator)]
        drawn = list(self._sampler(phase).epoch(generator))
        return [with_mined(rows, labels, negatives, added, generator) for rows in drawn]

    def batches_before(self, epoch: int) -> int:
        """Return how many batches all epochs before `epoch` have."""
        warmup = min(epoch - 1, self.settings.warmup_epochs)
        phases = (("warmup", warmup), ("triplet", epoch - 1 - warmup))
        return sum(len(self._sampler(phase)) * count for phase, count in phases)

    def mine(self, embeddings: np.ndarray, epoch: int) -> np.ndarray:
        """Return the negatives of each training face, int64 (N, nearest + random), -1 for none.

        First the nearest faces of other people, then random ones, people with one photo among them.
        A face that is negative only has none. `embeddings` float32 (N, D) are the latest of each
        face.
        """
        settings, labels = self.settings, self.train.labels
        anchors = np.flatnonzero(~self.train.negative_only)
        count, skip = settings.global_nearest, settings.global_skip
        generator = np.random.default_rng([settings.seed, epoch, 1])
        near = nearest_negatives(embeddings, labels, anchors, count, skip)
        random = random_negatives(labels, anchors, settings.global_random, generator)
        negatives = np.full((len(labels), count + settings.global_random), -1, dtype=np.int64)
        negatives[anchors] = np.concatenate([near, random], axis=1)
        return negatives

    def _sampler(self, phase: str, negatives: int = 0) -> BalancedSampler | UniformSampler:
        train, settings = self.train, self.settings
        people, photos = settings.people_per_batch, settings.photos_per_person
        square_root = phase == "warmup" and settings.warmup_sampler.startswith("square_root")
        if phase == "warmup" and settings.warmup_sampler.startswith("uniform"):
            classified = np.flatnonzero(train.labels < train.num_classes(settings))
            return UniformSampler(classified, people * photos)
        return BalancedSampler(
            train.labels,
            train.negative_only,
            people,
            photos,
            negatives,
            train.confused,
            square_root,
        )
