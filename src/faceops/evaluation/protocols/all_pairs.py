"""All pairs of photos, scored block by block: exact for any number of photos, in linear memory.

Kept are all genuine scores, how many impostor pairs lie below each of them (all that an exact ROC
needs), the highest impostor pairs, a histogram and the reliability. Scores are log odds: they
order pairs as probabilities do and tell near-certain ones apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.figures import Roc, allowed_false_accepts
from faceops.base.work import track
from faceops.verification.calibration import BINS, Reliability, bin_sums, reliability_of
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.error_rates import ResampledTar, interval_figures, resampled_people
from faceops.verification.pairs import codes, impostor_blocks, row_blocks
from faceops.verification.thresholds import IMPOSTOR_PAIRS, as_threshold
from faceops.verification.verifier import Verifier, sigmoid

MOST_TOP = 1 << 21  # impostor pairs kept: 24 MB
# A resample of people may hold that many times the impostor pairs above a threshold.
OVERSAMPLING = 3
LOG_ODDS_RANGE = 15.0  # of the histogram; what lies outside counts in the outermost bins
HISTOGRAM_EDGES = np.linspace(-LOG_ODDS_RANGE, LOG_ODDS_RANGE, 601)
PAIR_REPEATS = 300
_PLACES = 1 << 14
_MOST_RESAMPLED = 100_000


@dataclass(frozen=True)
class TopPairs:
    """Pairs by falling score; arrays are (K,)."""

    score: np.ndarray  # float32
    first: np.ndarray  # int32: row of one photo
    second: np.ndarray  # int32: row of the other


@dataclass(frozen=True)
class PairScan:
    """The scores of all pairs of N photos of P people."""

    roc: Roc  # of log odds; pairs with a missing photo are at -inf
    genuine_person: np.ndarray  # int (G,), the person of each genuine pair, in the order of `roc`
    person: np.ndarray  # int (N,), code of each photo
    photos: np.ndarray  # int (P,), of each person, with those that are missing
    # float64 (P,): over each person's impostor pairs, the sum of the shares of genuine pairs that
    # score lower (equal ones count one half).
    lost: np.ndarray
    top: TopPairs  # the highest impostor pairs, by rows of the photos given
    same: np.ndarray  # int64 (600,), genuine pairs in the bins of `HISTOGRAM_EDGES`
    different: np.ndarray  # int64 (600,), impostor pairs
    impostor_bins: np.ndarray  # float64 (2, BINS): impostor pairs, and the sum of probabilities

    @cached_property
    def reliability(self) -> Reliability:
        """Of the probabilities; in genuine pairs people have equal weights."""
        finite = np.isfinite(self.roc.genuine)
        several = self.photos[self.genuine_person[finite]]
        genuine = bin_sums(sigmoid(self.roc.genuine[finite]), 2 / (several * (several - 1)))
        return reliability_of(genuine, self.impostor_bins[[0, 0, 0, 1]])

    def threshold(self, far: float) -> float | None:
        """Return the lowest log odds that keep `far`; None where too few pairs were kept."""
        allowed = allowed_false_accepts(far, self.roc.impostors)
        if allowed >= len(self.top.score):
            return None
        return float(np.nextafter(self.top.score[allowed], np.float32(np.inf)))


def scan_pairs(faces: EmbeddedFaces, verifier: Verifier, fars: Sequence[float] = ()) -> PairScan:
    """Score every pair of `faces`.

    Three times as many impostor pairs as the largest of `fars` lets pass are kept, 2^21 at most.
    The pairs of `faces.missing`, photos without a face, are never accepted, and count neither in
    the histogram nor in the reliability.

    Raises FaceOpsError: there is no genuine pair, or no impostor pair.
    """
    whose = codes(np.array([*faces.persons, *faces.missing_persons], dtype=str))
    person = whose[: len(faces)]
    photos = np.bincount(whose)
    impostors = int(photos.sum() ** 2 - (photos**2).sum()) // 2
    pairs = int((photos * (photos - 1)).sum()) // 2
    if not pairs or not impostors:
        raise FaceOpsError(
            f"{len(whose)} photos of {len(photos)} people make {pairs} pairs of one person and "
            f"{impostors} of two; give two people or more, and one with two photos or more."
        )
    present = np.bincount(person, minlength=len(photos))
    unscored = (photos * (photos - 1) - present * (present - 1)) // 2  # genuine, a photo is missing
    scores, own = genuine_scores(faces.embeddings, person, verifier)
    genuine = np.concatenate([np.full(unscored.sum(), -np.inf, np.float32), scores])
    genuine_person = np.concatenate([np.repeat(np.arange(len(photos)), unscored), own])
    counts = _ScoreCounts(genuine)
    allowed = max((allowed_false_accepts(far, impostors) for far in fars), default=0)
    top = TopPairsCollector(min(OVERSAMPLING * allowed + 100, impostors, MOST_TOP))
    lost = np.zeros(len(person))
    for block in track(impostor_blocks(person, limit=None), "blocks of pairs"):
        score = verifier.logit_matrix(faces.embeddings[block.rows], faces.embeddings[block.start :])
        score[~block.new] = -np.inf
        top.add(score, block.rows, np.arange(block.start, len(person)))
        share = counts.lost(score)
        share[~block.new] = 0
        lost[block.rows] += share.sum(1)
        lost[block.start :] += share.sum(0)
        counts.add(np.sort(score[block.new]))
    unseen = impostors - counts.seen
    half_unscored = 0.5 * unscored.sum() / pairs
    beyond = photos * (photos.sum() - photos) - present * (len(person) - present)
    below = counts.below + np.where(np.isfinite(genuine), unseen, 0)
    return PairScan(
        roc=Roc(genuine, below, counts.upto + unseen, impostors),
        genuine_person=genuine_person,
        person=person,
        photos=photos,
        lost=np.bincount(person, lost, len(photos)) + half_unscored * beyond,
        top=top.top(),
        same=counts.genuine_histogram,
        different=counts.impostor_histogram,
        impostor_bins=counts.impostor_bins,
    )


def genuine_scores(
    embeddings: np.ndarray, person: np.ndarray, verifier: Verifier
) -> tuple[np.ndarray, np.ndarray]:
    """Return (log odds float32 (G,), person int (G,)) of all genuine pairs, by rising score.

    `person` int (N,) codes the person of each row.
    """
    scores, whose = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    order = np.argsort(person, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(person[order])) + 1):
        own = embeddings[rows]
        for block in row_blocks(len(rows) - 1, len(rows)):
            part = verifier.logit_matrix(own[block], own[block.start + 1 :])
            scores.append(part[np.triu(np.ones(part.shape, bool))])
            whose.append(np.full(len(scores[-1]), person[rows[0]]))
    score = np.concatenate(scores)
    rising = np.argsort(score, kind="stable")
    return score[rising], np.concatenate(whose)[rising]


class _ScoreCounts:
    """Sums over impostor scores, log odds; `genuine` float32 (G,) rises, -inf is never accepted."""

    def __init__(self, genuine: np.ndarray) -> None:
        self.below = np.zeros(len(genuine), np.int64)  # impostor pairs below each genuine score
        self.upto = np.zeros(len(genuine), np.int64)  # below or equal
        self.seen = 0  # impostor pairs so far
        self._genuine = genuine
        finite = genuine[np.searchsorted(genuine, -np.inf, side="right") :]
        self.impostor_bins = np.zeros((2, BINS))
        self.genuine_histogram = _histogram(finite)
        self.impostor_histogram = np.zeros_like(self.genuine_histogram)
        ends = finite[[0, -1]].astype(np.float64) if len(finite) else np.zeros(2)
        self._low, self._scale = ends[0], _PLACES / max(ends[1] - ends[0], 1e-6)
        middles = self._low + (np.arange(_PLACES) + 0.5) / self._scale
        lower = [np.searchsorted(genuine, middles, side) for side in ("left", "right")]
        self._lost = (np.add(*lower) / (2 * len(genuine))).astype(np.float32)
        self._lost[0] = (len(genuine) - len(finite)) / len(genuine)

    def add(self, rising: np.ndarray) -> None:
        """Count impostor scores float32 (M,), sorted."""
        self.below += np.searchsorted(rising, self._genuine, side="left")
        self.upto += np.searchsorted(rising, self._genuine, side="right")
        self.seen += len(rising)
        self.impostor_histogram += _histogram(rising)
        self.impostor_bins += _probability_bins(rising)

    def lost(self, scores: np.ndarray) -> np.ndarray:
        """Return the share of genuine scores below each of `scores`, float32 of its shape.

        Looked up at the middle of one of 16,384 bins between the least and the greatest.
        """
        place = (scores - np.float32(self._low)) * np.float32(self._scale)
        np.clip(place, 0, _PLACES - 1, out=place)
        return self._lost.take(place.astype(np.int32))


def _histogram(rising: np.ndarray) -> np.ndarray:
    cuts = np.searchsorted(rising, HISTOGRAM_EDGES.astype(np.float32))
    cuts[0], cuts[-1] = 0, len(rising)
    return np.diff(cuts)


def _probability_bins(rising: np.ndarray) -> np.ndarray:
    """Return float64 (2, BINS): pairs and summed probability in even bins of probability."""
    edges = np.arange(1, BINS) / BINS
    log_odds = (np.log(edges) - np.log1p(-edges)).astype(np.float32)
    cuts = [0, *np.searchsorted(rising, log_odds), len(rising)]
    probability = sigmoid(rising)
    return np.array(
        [
            (stop - start, probability[start:stop].sum(dtype=np.float64))
            for start, stop in pairwise(cuts)
        ]
    ).T


class TopPairsCollector:
    """Keeps the `size` highest of the scores it is given, in memory for twice as many.

    Of equal scores at the end of the list, those given first stay.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._floor = np.float32(-np.inf)
        none = np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._parts: list[tuple[np.ndarray, ...]] = [none]

    def add(self, scores: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Add scores float32 (R, C) of `rows` (R,) with `columns` (C,); -inf is not a pair."""
        flat = np.flatnonzero(scores > self._floor)
        row, column = np.divmod(flat, scores.shape[1])
        first, second = rows[row].astype(np.int32), columns[column].astype(np.int32)
        self._parts.append((scores.ravel()[flat], first, second))
        if sum(len(score) for score, _, _ in self._parts) > 2 * self._size:
            self._shrink()

    def top(self) -> TopPairs:
        score, first, second = self._shrink()
        order = np.argsort(-score, kind="stable")
        return TopPairs(score[order], first[order], second[order])

    def _shrink(self) -> tuple[np.ndarray, ...]:
        parts = tuple(np.concatenate(part) for part in zip(*self._parts, strict=True))
        score = parts[0]
        if len(score) >= self._size:
            self._floor = np.partition(score, len(score) - self._size)[len(score) - self._size]
            kept = score > self._floor
            kept[np.flatnonzero(score == self._floor)[: self._size - kept.sum()]] = True
            parts = tuple(part[kept] for part in parts)
        self._parts = [parts]
        return parts


@dataclass(frozen=True)
class PairIntervals:
    """95 % intervals {"low", "high"}: of the AUC and of TAR by false accept rate.

    `resampled` float64 (R, F) holds the TARs behind them. Scans of the same photos resample the
    same people, row by row, so two models' rows may be subtracted: a paired difference.
    """

    auc: dict[str, float]
    tar: dict[float, dict[str, float]]
    resampled: np.ndarray


def pair_intervals(
    scan: PairScan, fars: Sequence[float], seed: int, repeats: int = PAIR_REPEATS
) -> PairIntervals:
    """Resample the people of `scan`; every figure sees the same resamples.

    AUC: to first order in how often each person was drawn (the infinitesimal jackknife of a
    U-statistic; Obuchowski 1997 for clustered pairs), so no pair is scored again. TAR: see
    `ResampledTar`; of more than 100,000 highest impostor pairs a seeded sample is used.
    """
    people, whose = len(scan.photos), scan.genuine_person
    placement = (scan.roc.below + scan.roc.upto) / (2 * scan.roc.impostors)
    pairs = np.bincount(whose, minlength=people)
    placed = np.bincount(whose, placement, people)
    others = scan.photos * (scan.photos.sum() - scan.photos)
    auc = scan.roc.auc
    tars = [_resampled_tar(scan, far, seed) for far in fars]
    aucs, rates = np.empty(repeats), np.empty((repeats, len(fars)))
    resamples = resampled_people(
        people, seed, repeats,
        lambda times: (times * pairs).any() and np.count_nonzero(times) > 1,
    )  # fmt: skip
    for repeat, times in enumerate(resamples):
        # Not dot products: BLAS would start threads for each, which wait for each other.
        gained = (times * placed).sum() / (times * pairs).sum() - auc
        lost = (times * scan.lost).sum() / (times * others).sum() - (1 - auc)
        aucs[repeat] = min(auc + gained - 2 * lost, 1.0)
        rates[repeat] = [tar.rate(times) for tar in tars]
    tar = {far: interval_figures(column) for far, column in zip(fars, rates.T, strict=True)}
    return PairIntervals(interval_figures(aucs), tar, rates)


def _resampled_tar(scan: PairScan, far: float, seed: int) -> ResampledTar:
    impostors, top = scan.roc.impostors, scan.top
    allowed = allowed_false_accepts(far, impostors)
    kept = min(OVERSAMPLING * allowed + 100, len(top.score))
    if allowed >= kept and kept < impostors:  # too few were kept: the threshold stays as it is
        refused = np.array([round((1 - scan.roc.tar(far)) * len(scan.roc.genuine))])
        none = np.zeros(0, np.int64)
        return ResampledTar(far, scan.photos, scan.genuine_person, refused, none, none)
    rows = np.arange(kept)
    if kept > _MOST_RESAMPLED:
        rows = np.sort(np.random.default_rng(seed).choice(kept, _MOST_RESAMPLED, replace=False))
    refused = np.searchsorted(scan.roc.genuine, top.score[rows], side="right")
    return ResampledTar(
        far=far,
        photos=scan.photos,
        person=scan.genuine_person,
        # Where all impostor pairs were kept, no pair remains beyond the last.
        refused=np.append(refused, 0 if kept == impostors else refused[-1]),
        first=scan.person[top.first[rows]],
        second=scan.person[top.second[rows]],
        each=kept / len(rows),
    )


def all_pairs_figures(scan: PairScan, fars: Sequence[float], seed: int) -> dict[str, Any]:
    """Return AUC and TAR at each of `fars` over all pairs, with intervals over people.

    The threshold behind each is a probability, chosen on these very pairs: it only compares
    models.
    """
    intervals = pair_intervals(scan, fars, seed)
    figures: dict[str, Any] = {
        "roc_auc": scan.roc.auc,
        "roc_auc_interval": intervals.auc,
        "genuine_pairs": len(scan.roc.genuine),
        "impostor_pairs": scan.roc.impostors,
    }
    for far in fars:
        name = f"tar_at_far_{far:g}"
        figures[name] = scan.roc.tar(far)
        figures[f"{name}_interval"] = intervals.tar[far]
        cut = scan.threshold(far)
        figures[f"{name}_threshold"] = None if cut is None else as_threshold(cut)
        figures[f"{name}_supported"] = bool(scan.roc.impostors * far >= IMPOSTOR_PAIRS)
    return figures
