"""Batches of P people with K photos each (Hermans et al. 2017), and some negatives."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from faceops.config.sections import Train


@dataclass(frozen=True)
class PeoplePhotosSampler:
    """Draws the batches of an epoch.

    Args:
        labels: int64 (N,), the person of each photo.
        negative_only: bool (N,), photos that may only be negatives.
        people: P, at most as many as there are.
        photos: K; of a person with fewer photos, all of them: a photo is never its own positive.
        negatives: negative-only photos that join each batch.
    """

    labels: np.ndarray
    negative_only: np.ndarray
    people: int
    photos: int
    negatives: int = 0

    def epoch(self, draw: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield int64 positions of photos, a batch each, in an order that `draw` gives.

        Each person comes at least once, and about as many photos as there are.
        """
        positions = np.flatnonzero(~self.negative_only)
        order = positions[np.argsort(self.labels[positions], kind="stable")]
        _, starts = np.unique(self.labels[order], return_index=True)
        photos_of = np.split(order, starts[1:])
        singles = np.flatnonzero(self.negative_only)
        people = min(self.people, len(photos_of))
        queue: list[int] = []
        for _ in range(self.batches()):
            while len(queue) < people:
                # People left over from the last pass come first, and not twice in a batch.
                fresh = draw.permutation(len(photos_of)).tolist()
                queue += sorted(fresh, key=lambda person: person in queue)
            chosen, queue = queue[:people], queue[people:]
            batch = [
                draw.choice(own, min(self.photos, len(own)), replace=False)
                for own in (photos_of[person] for person in chosen)
            ]
            if self.negatives and len(singles):
                batch.append(draw.choice(singles, min(self.negatives, len(singles)), replace=False))
            yield np.concatenate(batch)

    def batches(self) -> int:
        """Return the number of batches in an epoch."""
        usable = self.labels[~self.negative_only]
        count = len(np.unique(usable))
        people = min(self.people, count)
        return max(math.ceil(len(usable) / (people * self.photos)), math.ceil(count / people))


@dataclass(frozen=True)
class PhotoSampler:
    """Draws the batches of an epoch of classification.

    P people x K photos give everybody the same weight. Where most people have two or three photos
    a network from nothing hardly learns from that; drawn by photo, it begins with what tells
    those apart who have many.

    Args:
        positions: int64 (N,), the photos.
        size: of a batch, at most.
    """

    positions: np.ndarray
    size: int

    def epoch(self, draw: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield int64 positions of photos, a batch each, in an order that `draw` gives.

        The batches differ by one photo at most: a last one of a single photo would have no
        statistics for batch normalisation.
        """
        yield from np.array_split(draw.permutation(self.positions), self.batches())

    def batches(self) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(len(self.positions) / self.size)


@dataclass(frozen=True)
class LabelledCrops:
    """Faces to train or validate on.

    crops: uint8 (M, 112, 112, 3) RGB of all splits, may be memory-mapped.
    rows: int64 (N,), the row in `crops` of each face of this split.
    labels: int64 (N,); people with two or more photos are 0 .. people - 1, the others follow.
    negative_only: bool (N,), faces of people with one photo.
    """

    crops: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    negative_only: np.ndarray

    @cached_property
    def people(self) -> int:
        """The number of people with two or more photos."""
        return len(np.unique(self.labels[~self.negative_only]))

    @classmethod
    def of(
        cls, crops: np.ndarray, rows: np.ndarray, persons: list[str], negative_only: np.ndarray
    ) -> "LabelledCrops":
        """Number the `persons` (N names) in alphabetical order, negative-only ones last."""
        singles = {name for name, single in zip(persons, negative_only, strict=True) if single}
        names = sorted(set(persons), key=lambda name: (name in singles, name))
        number = {name: index for index, name in enumerate(names)}
        labels = np.array([number[name] for name in persons], dtype=np.int64)
        return cls(crops, np.asarray(rows), labels, np.asarray(negative_only, dtype=bool))


def classes_of(train: LabelledCrops, settings: Train) -> int:
    """Return the number of classes: the people whose labels are below it have one.

    People with one photo have one only where the warm-up draws all photos. Such a class teaches
    no likeness of two photos, but what tells its person from the others; the more people, the
    better an embedding carries over to new ones.
    """
    if settings.warmup_sampler == "uniform_all":
        return int(train.labels.max()) + 1
    return train.people
