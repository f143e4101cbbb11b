"""Counts of genuine and impostor pairs by score: millions of pairs in a small table.

Reliability counts by probability: predicted against observed share of genuine pairs, by bin.
"""

from dataclasses import dataclass

import numpy as np

from faceops.verification.pairs import PairScores

BINS = 10  # of probability
SCORE_BINS = 1 << 15
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
    genuine: np.ndarray, impostor: np.ndarray, bins: int = SCORE_BINS, *,
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
    scores: PairScores, cells: tuple[np.ndarray, np.ndarray], folds: int, bins: int = SCORE_BINS, *,
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


@dataclass(frozen=True)
class Reliability:
    """Per bin of probability, float (B,); genuine and impostor pairs together weigh the same."""

    pairs: np.ndarray
    weight: np.ndarray
    effective: np.ndarray  # effective sample size (Kish 1965)
    predicted: np.ndarray  # weighted mean probability
    observed: np.ndarray  # weighted share of genuine pairs

    @property
    def expected_error(self) -> float:
        """Mean |observed - predicted|, weighted (expected calibration error, Guo et al. 2017)."""
        gaps = np.abs(self.observed - self.predicted)
        return float((gaps * self.weight).sum() / self.weight.sum())


def reliability_of(genuine: np.ndarray, impostor: np.ndarray) -> Reliability:
    """Return the reliability from the `bin_sums` of both kinds of pairs, without empty bins."""
    filled = genuine[0] + impostor[0] > 0
    each = [0.5 / (part[1].sum() or 1.0) for part in (genuine, impostor)]
    same, other = genuine[:, filled] * each[0], impostor[:, filled] * each[1]
    weight = same[1] + other[1]
    return Reliability(
        pairs=(genuine[0] + impostor[0])[filled],
        weight=weight,
        effective=weight**2 / (same[2] * each[0] + other[2] * each[1]),
        predicted=(same[3] + other[3]) / weight,
        observed=same[1] / weight,
    )


def reliability_of_counts(
    probability: np.ndarray, genuine: np.ndarray, impostor: np.ndarray
) -> Reliability:
    """Return the reliability of `genuine` and `impostor` pairs (S,) at each `probability` (S,).

    Where these are weights rather than counts, so are `pairs`, and `effective` has no meaning.
    """
    sums = [bin_sums(probability, counts)[[1, 1, 1, 3]] for counts in (genuine, impostor)]
    return reliability_of(*sums)


def bin_sums(probability: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return float64 (4, BINS), sums over each bin of 0..1: 1, w, w^2, w * probability.

    `probability` (S,), `weights` (S,) or None for 1.
    """
    sums = np.zeros((4, BINS))
    for at in range(0, len(probability), _CHUNK):
        part = probability[at : at + _CHUNK].astype(np.float64)
        index = np.minimum((part * BINS).astype(int), BINS - 1)
        weight = np.ones(len(part)) if weights is None else weights[at : at + _CHUNK]
        for row, values in enumerate((np.ones(len(part)), weight, weight**2, weight * part)):
            sums[row] += np.bincount(index, values, BINS)
    return sums
