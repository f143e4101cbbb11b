"""Counts of impostor scores that are shown piece by piece, against all genuine scores."""

from itertools import pairwise

import numpy as np

from faceops.verification.reliability import BINS, Reliability, bin_sums, reliability_of
from faceops.verification.verifier import sigmoid

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
