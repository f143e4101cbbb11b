"""Batches that hold each photo once an epoch: what people weigh is how many photos they have."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PhotoSampler:
    """Draws the batches of an epoch of classification.

    P people x K photos give everybody the same weight. Where most people have two or three photos
    a network from nothing hardly learns from that; drawn by photo, it begins with what tells
    those apart who have many.

    Args:
        negative_only: bool (N,), photos that have no class: they do not come.
        photos: of a batch, at most.
    """

    negative_only: np.ndarray
    photos: int

    def epoch(self, draw: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield int64 positions of photos, a batch each, in an order that `draw` gives.

        The batches differ by one photo at most: a last one of a single photo would have no
        statistics for batch normalisation.
        """
        order = draw.permutation(np.flatnonzero(~self.negative_only))
        yield from np.array_split(order, self.batches())

    def batches(self) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(int((~self.negative_only).sum()) / self.photos)
