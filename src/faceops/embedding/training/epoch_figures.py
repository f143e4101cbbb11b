"""The mean of each figure over the batches of an epoch, kept as sums so that a run can resume."""

import math
from collections import defaultdict


class EpochFigures:
    """Sums and counts of figures; a batch that cannot give a figure (NaN) is not counted.

    A loss is always counted: one that is not a number has to show.
    """

    def __init__(self, sums: dict[str, list[float]] | None = None) -> None:
        """Begin empty, or from the `state` of another."""
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
        self._sums |= sums or {}

    def add(self, figures: dict[str, float]) -> None:
        """Count the figures of a batch."""
        for name, value in figures.items():
            total = self._sums[name]
            if name == "loss" or not math.isnan(value):
                total[0] += value
                total[1] += 1

    def means(self) -> dict[str, float]:
        """Return the mean of each; NaN where no batch could give it."""
        return {
            name: total / count if count else math.nan
            for name, (total, count) in self._sums.items()
        }

    def state(self) -> dict[str, list[float]]:
        """Return what a checkpoint keeps."""
        return dict(self._sums)
