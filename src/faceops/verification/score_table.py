"""Counts of genuine and impostor pairs by score: millions of pairs in a small table."""

from dataclasses import dataclass

import numpy as np

from faceops.verification.pairs import PairScores

BINS = 1 << 15
_CHUNK = 1 << 22


@dataclass(frozen=True)
class ScoreTable:
    """Pairs by rising score; all arrays are float64 (S,)."""

    score: np.ndarray
    genuine: np.ndarray  # number of genuine pairs, or their weight
    impostor: np.ndarray

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares (S,), (S,) of genuine and of impostor pairs; each kind sums to one half."""
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
    """A score table per pair of folds: counts float64 (K, K, S) of people in i with people in j."""

    score: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray

    def whole(self) -> ScoreTable:
        """All pairs."""
        return ScoreTable(self.score, self.genuine.sum((0, 1)), self.impostor.sum((0, 1))).filled()

    def within(self, fold: int) -> ScoreTable:
        """Pairs among the people of `fold`."""
        return ScoreTable(self.score, self.genuine[fold, fold], self.impostor[fold, fold]).filled()

    def without(self, fold: int) -> ScoreTable:
        """Pairs among all other people."""
        rest = np.arange(len(self.genuine)) != fold
        one, two = (part[rest][:, rest].sum((0, 1)) for part in (self.genuine, self.impostor))
        return ScoreTable(self.score, one, two).filled()


def score_table(
    genuine: np.ndarray, impostor: np.ndarray, bins: int = BINS, *,
    weights: np.ndarray | None = None,
) -> ScoreTable:  # fmt: skip
    """Return the table of scores of genuine pairs (N,) and impostor pairs (M,).

    Exact up to `bins` pairs; beyond, the range is cut evenly into `bins`, each with the mean of
    its scores. `weights` float (N,) of the genuine pairs, else 1.
    """
    cells = np.zeros(len(genuine), np.int16), np.zeros(len(impostor), np.int16)
    scores = PairScores(genuine, impostor, sampled=False)
    return fold_table(scores, cells, 1, bins, weights=weights).whole()


def fold_table(
    scores: PairScores, cells: tuple[np.ndarray, np.ndarray], folds: int, bins: int = BINS, *,
    weights: np.ndarray | None = None,
) -> FoldTable:  # fmt: skip
    """Return the table of `scores` by the folds of the two people of each pair.

    `cells`, (N,) of the genuine and (M,) of the impostor pairs, are i x `folds` + j. For `bins`
    and `weights` see `score_table`.
    """
    parts = (scores.genuine, scores.impostor)
    exact = None
    if len(scores.genuine) + len(scores.impostor) <= bins:
        exact = np.unique(np.concatenate(parts))
        bins = len(exact)
    filled = [part for part in parts if len(part)]
    low = min((float(part.min()) for part in filled), default=0.0)
    high = max((float(part.max()) for part in filled), default=0.0)
    width = (high - low) / max(bins, 1) or 1.0

    def bin_of(part: np.ndarray) -> np.ndarray:
        if exact is not None:
            return np.searchsorted(exact, part)
        return np.minimum(((part.astype(np.float64) - low) / width).astype(np.int64), bins - 1)

    sums, totals, counts = np.zeros(bins), np.zeros(bins), []
    for part, cell, weight in zip(parts, cells, (weights, None), strict=True):
        count = np.zeros(folds * folds * bins)
        for at in range(0, len(part), _CHUNK):
            chunk = slice(at, at + _CHUNK)
            place = bin_of(part[chunk])
            sums += np.bincount(place, part[chunk], bins)
            totals += np.bincount(place, minlength=bins)
            key = cell[chunk].astype(np.int64) * bins + place
            count += np.bincount(key, None if weight is None else weight[chunk], len(count))
        counts.append(count.reshape(folds, folds, bins))
    mean = np.divide(sums, totals, out=np.zeros(bins), where=totals > 0)
    return FoldTable(mean, *counts)
