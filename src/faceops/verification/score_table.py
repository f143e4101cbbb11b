"""Counts of genuine and impostor pairs by score: millions of pairs in a small table."""

from dataclasses import dataclass

import numpy as np

BINS = 1 << 15
_CHUNK = 1 << 22


@dataclass(frozen=True)
class ScoreTable:
    """Pairs by rising score; all arrays are float64 (S,)."""

    score: np.ndarray
    genuine: np.ndarray  # pairs of one person, or their weight
    impostor: np.ndarray  # pairs of two

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares (S,), (S,) of the pairs of one person and of two; each kind sums to one half."""
        return (
            0.5 * self.genuine / max(self.genuine.sum(), 1),
            0.5 * self.impostor / max(self.impostor.sum(), 1),
        )

    def filled(self) -> "ScoreTable":
        """Return the table without scores that no pair has."""
        kept = self.genuine + self.impostor > 0
        return ScoreTable(self.score[kept], self.genuine[kept], self.impostor[kept])


@dataclass(frozen=True)
class FoldTable:
    """A score table for each pair of folds: counts float64 (K, K, S), of people i with people j."""

    score: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray

    def whole(self) -> ScoreTable:
        """All pairs."""
        return ScoreTable(self.score, self.genuine.sum((0, 1)), self.impostor.sum((0, 1))).filled()

    def within(self, fold: int) -> ScoreTable:
        """Pairs of photos of the fold's people."""
        return ScoreTable(self.score, self.genuine[fold, fold], self.impostor[fold, fold]).filled()

    def without(self, fold: int) -> ScoreTable:
        """Pairs of photos of all other people."""
        rest = np.arange(len(self.genuine)) != fold
        one, two = (part[rest][:, rest].sum((0, 1)) for part in (self.genuine, self.impostor))
        return ScoreTable(self.score, one, two).filled()


def score_table(
    genuine: np.ndarray,
    impostor: np.ndarray,
    bins: int = BINS,
    *,
    weights: np.ndarray | None = None,
) -> ScoreTable:
    """Return the table of scores of pairs of one person (N,) and of two (M,).

    Exact up to `bins` scores; beyond, the range is cut evenly into `bins` and each bin is stood
    for by the mean of its scores. `weights` float (N,) of the pairs of one person, else 1.
    """
    zeros = np.zeros(len(genuine), np.int16), np.zeros(len(impostor), np.int16)
    return fold_table(genuine, impostor, *zeros, folds=1, bins=bins, weights=weights).whole()


def fold_table(
    genuine: np.ndarray,
    impostor: np.ndarray,
    genuine_folds: np.ndarray,
    impostor_folds: np.ndarray,
    *,
    folds: int,
    bins: int = BINS,
    weights: np.ndarray | None = None,
) -> FoldTable:
    """Return the table of scores (N,), (M,) by the folds of the two people of each pair.

    `genuine_folds` (N,), `impostor_folds` (M,): i x `folds` + j. For `weights` and `bins` see
    `score_table`.
    """
    grid = _Grid.of(genuine, impostor, bins)
    cells = folds * folds
    sums, totals = np.zeros(grid.size), np.zeros(grid.size)
    counts = []
    for scores, pair, weigh in (
        (genuine, genuine_folds, weights),
        (impostor, impostor_folds, None),
    ):
        count = np.zeros(cells * grid.size)
        for at in range(0, len(scores), _CHUNK):
            part = scores[at : at + _CHUNK]
            place = grid.places(part)
            sums += np.bincount(place, part, grid.size)
            totals += np.bincount(place, minlength=grid.size)
            cell = pair[at : at + _CHUNK].astype(np.int64) * grid.size + place
            each = None if weigh is None else weigh[at : at + _CHUNK]
            count += np.bincount(cell, each, minlength=len(count))
        counts.append(count.reshape(folds, folds, grid.size))
    mean = np.divide(sums, totals, out=np.zeros(grid.size), where=totals > 0)
    return FoldTable(mean, *counts)


@dataclass(frozen=True)
class _Grid:
    """Bins of scores: one for each distinct score, or evenly wide ones."""

    size: int
    low: float
    width: float
    exact: np.ndarray | None

    @classmethod
    def of(cls, genuine: np.ndarray, impostor: np.ndarray, bins: int) -> "_Grid":
        if len(genuine) + len(impostor) <= bins:
            exact = np.unique(np.concatenate([genuine, impostor]))
            return cls(len(exact), 0.0, 1.0, exact)
        filled = [part for part in (genuine, impostor) if len(part)]
        low = min(float(part.min()) for part in filled)
        high = max(float(part.max()) for part in filled)
        return cls(bins, low, (high - low) / bins or 1.0, None)

    def places(self, scores: np.ndarray) -> np.ndarray:
        if self.exact is not None:
            return np.searchsorted(self.exact, scores)
        place = ((scores.astype(np.float64) - self.low) / self.width).astype(np.int64)
        return np.minimum(place, self.size - 1)
