"""Batches of P people with K photos each (Hermans et al. 2017), and some negatives."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


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
