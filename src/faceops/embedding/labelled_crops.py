"""The faces of one split, with a number for each person."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


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
