"""The receiver operating characteristic of pair scores, exact also with tied scores.

A pair is accepted when its score is at least the threshold, and TAR at a FAR is taken at the
threshold rule of `faceops.verification.threshold_at`: the lowest threshold that keeps the FAR,
no interpolation between points. Only the number of pairs of two people below each pair of one
person enters, so all that and the area under the curve are exact without any other score kept.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from faceops.base.figures import allowed_false_accepts
from faceops.verification.reliability import BINS, Reliability, bin_sums, reliability_of
from faceops.verification.verifier import sigmoid

POINTS = 200


@dataclass(frozen=True)
class Roc:
    """Where the scores of pairs of one person, (G,), stand among those of two people."""

    genuine: np.ndarray  # float32, rising
    below: np.ndarray  # int64: pairs of two people with a lower score
    upto: np.ndarray  # int64: with a lower score or the same
    impostors: int  # pairs of two people

    @property
    def auc(self) -> float:
        """Area under the curve: P(genuine > impostor) + P(equal) / 2; NaN without both kinds."""
        pairs = 2.0 * self.impostors * len(self.genuine)
        return float((self.below + self.upto).sum(dtype=np.float64) / pairs) if pairs else np.nan

    @cached_property
    def _at_or_above(self) -> np.ndarray:
        falling: np.ndarray = (self.impostors - self.below)[::-1]
        return falling

    def tar(self, far: float) -> float:
        """Return the true accept rate where at most a share `far` of impostors passes."""
        return float(self._tar(np.array([allowed_false_accepts(far, self.impostors)]))[0])

    def curve(self, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
        """Return (far, tar), float64 (P,), rising, at false accept rates evenly spaced by log.

        From one pair of two people to all of them.
        """
        allowed = np.unique(np.geomspace(1, self.impostors, points).round().astype(np.int64))
        return allowed / self.impostors, self._tar(allowed)

    def _tar(self, allowed: np.ndarray) -> np.ndarray:
        passed = np.searchsorted(self._at_or_above, allowed, side="right")
        rates: np.ndarray = passed / max(len(self.genuine), 1)
        return rates


def roc(genuine: np.ndarray, impostor: np.ndarray) -> Roc:
    """Return the curve of scores (N,) of pairs of one person and (M,) of two."""
    genuine, impostor = (np.sort(np.asarray(part, np.float32)) for part in (genuine, impostor))
    below, upto = (np.searchsorted(impostor, genuine, side) for side in ("left", "right"))
    return Roc(genuine, below.astype(np.int64), upto.astype(np.int64), len(impostor))


def roc_auc(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Return the area under the curve of scores (N,) of one kind and (M,) of the other."""
    return roc(genuine, impostor).auc


def tar_at_far(genuine: np.ndarray, impostor: np.ndarray, far: float) -> float:
    """Return the true accept rate where at most a share `far` of impostors passes."""
    return roc(genuine, impostor).tar(far)


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """Return the score at or above which to accept, for most right decisions.

    `scores` float (N,), `same` bool (N,). Candidates are the scores themselves; the middle one
    where several are best.
    """
    candidates = np.unique(scores)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    right = genuine.size - np.searchsorted(genuine, candidates)
    right = right + np.searchsorted(impostor, candidates)
    best = candidates[right == right.max()]
    return float(best[best.size // 2])


LOG_ODDS_RANGE = 15.0  # of the histogram; what lies outside counts in the outermost bins
HISTOGRAM_EDGES = np.linspace(-LOG_ODDS_RANGE, LOG_ODDS_RANGE, 601)
_PLACES = 1 << 14


class ScoreCounts:
    """Sums over impostor scores, log odds; `genuine` float32 (G,) rises, -inf is refused anyway.

    `weights` float (G,) of the genuine ones count in the reliability alone.

    Attributes:
        below, upto: int64 (G,), impostors lower than each genuine score, and not higher.
        seen: how many impostors were shown.
    """

    def __init__(self, genuine: np.ndarray, weights: np.ndarray) -> None:
        self.below = np.zeros(len(genuine), np.int64)
        self.upto = np.zeros(len(genuine), np.int64)
        self.seen = 0
        self._genuine = genuine
        self._finite = genuine[np.searchsorted(genuine, -np.inf, side="right") :]
        self._weights = weights[len(genuine) - len(self._finite) :]
        self._different = np.zeros(len(HISTOGRAM_EDGES) - 1, np.int64)
        self._bins = np.zeros((2, BINS))
        ends = self._finite[[0, -1]].astype(np.float64) if len(self._finite) else np.zeros(2)
        self._low, self._scale = ends[0], _PLACES / max(ends[1] - ends[0], 1e-6)
        middles = self._low + (np.arange(_PLACES) + 0.5) / self._scale
        lower = [np.searchsorted(genuine, middles, side) for side in ("left", "right")]
        self._lost = (np.add(*lower) / (2 * len(genuine))).astype(np.float32)
        self._lost[0] = (len(genuine) - len(self._finite)) / len(genuine)

    def add(self, rising: np.ndarray) -> None:
        """Take impostor scores float32 (M,), sorted."""
        self.below += np.searchsorted(rising, self._genuine, side="left")
        self.upto += np.searchsorted(rising, self._genuine, side="right")
        self.seen += len(rising)
        self._different += _histogram(rising)
        self._bins += _probability_bins(rising)

    def lost(self, scores: np.ndarray) -> np.ndarray:
        """Return the share of genuine scores below each of `scores`, float32 of its shape.

        Looked up at the middle of one of 16,384 bins between the least and the greatest.
        """
        place = (scores - np.float32(self._low)) * np.float32(self._scale)
        np.clip(place, 0, _PLACES - 1, out=place)
        return self._lost.take(place.astype(np.int32))

    def histograms(self) -> tuple[np.ndarray, np.ndarray]:
        """Return int64 (600,), (600,): genuine and impostor pairs between `HISTOGRAM_EDGES`."""
        return _histogram(self._finite), self._different

    def reliability(self) -> Reliability:
        """Return the reliability of the probabilities."""
        pairs, said = self._bins
        impostors = np.array([pairs, pairs, pairs, said])
        return reliability_of(bin_sums(sigmoid(self._finite), self._weights), impostors)


def _histogram(rising: np.ndarray) -> np.ndarray:
    cuts = np.searchsorted(rising, HISTOGRAM_EDGES.astype(np.float32))
    cuts[0], cuts[-1] = 0, len(rising)
    return np.diff(cuts)


def _probability_bins(rising: np.ndarray) -> np.ndarray:
    """Return float64 (2, BINS): pairs and summed probability in even bins of probability."""
    edges = np.arange(1, BINS) / BINS
    log_odds = (np.log(edges) - np.log1p(-edges)).astype(np.float32)
    cuts = [0, *np.searchsorted(rising, log_odds), len(rising)]
    said = sigmoid(rising)
    spans = list(pairwise(cuts))
    return np.array(
        [[stop - start for start, stop in spans],
         [said[start:stop].sum(dtype=np.float64) for start, stop in spans]]
    )  # fmt: skip


@dataclass(frozen=True)
class TopPairs:
    """Pairs by falling score; arrays are (K,)."""

    score: np.ndarray  # float32
    first: np.ndarray  # int32: row of one photo
    second: np.ndarray  # int32: row of the other


class TopPairsCollector:
    """Keeps the `size` highest of the scores that it is shown, in memory for twice as many.

    Of equal scores at the end of the list, those shown first stay.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._floor = np.float32(-np.inf)
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._held = 0

    def add(self, scores: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Take scores float32 (R, C) of `rows` (R,) with `columns` (C,); -inf is no pair."""
        flat = np.flatnonzero(scores > self._floor)
        if not len(flat):
            return
        row, column = np.divmod(flat, scores.shape[1])
        part = (scores.ravel()[flat], rows[row].astype(np.int32), columns[column].astype(np.int32))
        self._parts.append(part)
        self._held += len(flat)
        if self._held > 2 * self._size:
            self._shrink()

    def top(self) -> TopPairs:
        """Return what was kept."""
        score, first, second = self._shrink()
        order = np.argsort(-score, kind="stable")
        return TopPairs(score[order], first[order], second[order])

    def _shrink(self) -> tuple[np.ndarray, ...]:
        none = np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int32)
        parts = tuple(np.concatenate(part) for part in zip(none, *self._parts, strict=True))
        score = parts[0]
        if len(score) >= self._size:
            self._floor = np.partition(score, len(score) - self._size)[len(score) - self._size]
            kept = np.flatnonzero(score >= self._floor)
            ties = kept[score[kept] == self._floor]
            surplus = ties[len(ties) - (len(kept) - self._size) :]
            kept = np.setdiff1d(kept, surplus, assume_unique=True)
            parts = tuple(part[kept] for part in parts)
        self._parts, self._held = [parts], len(parts[0])
        return parts
