"""What of a face's descriptors is looked at together: a group in the whole face, or in a band."""

from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import numpy as np
import torch

from faceops.embedding.descriptors.cells import GRID
from faceops.embedding.descriptors.described import FEATURES, LAYOUTS

# Rows of cells: brow and eyes, eyes and nose, mouth and chin.
BANDS = ((0, 6), (4, 10), (8, 14))

_Rows = TypeVar("_Rows", torch.Tensor, np.ndarray)


@dataclass(frozen=True)
class Region:
    """A group's features within rows `top` to `bottom` of its layout.

    begin, end: where the group is among all features.
    """

    begin: int
    end: int
    layout: tuple[int, int, int]
    top: int
    bottom: int

    @property
    def features(self) -> int:
        """How many numbers it has of a face."""
        return self.layout[0] * (self.bottom - self.top) * self.layout[2]

    def of(self, described: _Rows, faces: slice | np.ndarray = slice(None)) -> _Rows:
        """Return (B, features) of B `faces` of those `described` (N, F), as `Described` does.

        Of faces that are not all no others are read.
        """
        group = described[faces, self.begin : self.end]
        if self.features == self.end - self.begin:
            return group
        laid = group.reshape(-1, *self.layout)
        return laid[:, :, self.top : self.bottom].reshape(-1, self.features)


def _regions() -> tuple[tuple[Region, ...], tuple[Region, ...]]:
    ends = accumulate(FEATURES)
    places = [
        (end - count, end, layout)
        for end, count, layout in zip(ends, FEATURES, LAYOUTS, strict=True)
    ]
    whole = tuple(Region(*place, 0, place[2][1]) for place in places)
    bands = tuple(
        Region(*place, place[2][1] * top // GRID, place[2][1] * bottom // GRID)
        for top, bottom in BANDS
        for place in places
    )
    return whole, bands


# Each part of an embedding, and the regions that it is made of.
PARTS = _regions()
REGIONS = [region for part in PARTS for region in part]
