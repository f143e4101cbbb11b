"""The faces of a split, and the samplers that draw the batches of an epoch from them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from faceops.config.sections import Train


@dataclass(frozen=True)
class FaceDataset:
    """The faces of one split, with the person of each.

    crops: uint8 (M, H, W, 3) RGB of all splits, may be memory-mapped.
    rows: int64 (N,), the row in `crops` of each face of this split.
    labels: int64 (N,); people with two or more photos are 0 .. people - 1, the others follow.
    negative_only: bool (N,), faces of people with one photo.
    """

    crops: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    negative_only: np.ndarray

    @classmethod
    def of(
        cls, crops: np.ndarray, rows: np.ndarray, persons: list[str], negative_only: np.ndarray
    ) -> "FaceDataset":
        """Number the `persons` (N names) in alphabetical order, negative-only ones last."""
        singles = {name for name, single in zip(persons, negative_only, strict=True) if single}
        names = sorted(set(persons), key=lambda name: (name in singles, name))
        number = {name: index for index, name in enumerate(names)}
        labels = np.array([number[name] for name in persons], dtype=np.int64)
        return cls(crops, np.asarray(rows), labels, np.asarray(negative_only, dtype=bool))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Return the crops at `positions`, int64 (B,), as uint8 (B, H, W, 3)."""
        return self.crops[self.rows[positions]]

    @cached_property
    def people(self) -> int:
        """The number of people with two or more photos."""
        return len(np.unique(self.labels[~self.negative_only]))

    def num_classes(self, settings: Train) -> int:
        """Return the number of classes of the head: labels below it are classes.

        People with one photo are classes only where the warm-up draws all photos. Such a class
        teaches nothing about two photos of a person, but what distinguishes its person from
        others; the more people, the better an embedding generalises to new ones.
        """
        if settings.warmup_sampler == "uniform_all":
            return int(self.labels.max()) + 1
        return self.people


class Sampler(Protocol):
    """Draws the batches of an epoch."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def epoch(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield int64 positions of faces, a batch each, in an order that `generator` draws."""


@dataclass(frozen=True)
class BalancedSampler:
    """Batches of P people x K photos (Hermans et al. 2017), and some negatives.

    An epoch sees each person at least once, and about as many photos as there are.

    Args:
        labels: int64 (N,), the person of each photo.
        negative_only: bool (N,), photos that may only be negatives.
        people: P, at most as many as there are.
        photos: K; of a person with fewer photos, all of them: a photo is never its own positive.
        negatives: negative-only photos that are added to each batch.
    """

    labels: np.ndarray
    negative_only: np.ndarray
    people: int
    photos: int
    negatives: int = 0

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
        queue: list[int] = []
        for _ in range(len(self)):
            while len(queue) < people:
                # People left over from the last pass come first, and not twice in a batch.
                drawn = generator.permutation(len(photos_of)).tolist()
                queue += sorted(drawn, key=lambda person: person in queue)
            chosen, queue = queue[:people], queue[people:]
            batch = [
                generator.choice(own, min(self.photos, len(own)), replace=False)
                for own in (photos_of[person] for person in chosen)
            ]
            if self.negatives and len(singles):
                added = min(self.negatives, len(singles))
                batch.append(generator.choice(singles, added, replace=False))
            yield np.concatenate(batch)


@dataclass(frozen=True)
class UniformSampler:
    """Each photo once per epoch, in batches whose sizes differ by at most one photo.

    P people x K photos give all people the same weight. Where most people have two or three photos
    a network from scratch hardly learns from that; drawn by photo, it begins with the people who
    have many.

    Args:
        positions: int64 (N,), the photos.
        size: of a batch, at most. A last batch of one photo would have no batch statistics.
    """

    positions: np.ndarray
    size: int

    def __len__(self) -> int:
        return math.ceil(len(self.positions) / self.size)

    def epoch(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield int64 positions of faces, a batch each, in an order that `generator` draws."""
        yield from np.array_split(generator.permutation(self.positions), len(self))
