"""Batches that hold each photo once an epoch: people weigh what they have of photos."""

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
