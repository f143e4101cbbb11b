"""Intervals of all-pairs figures over people.

Percentile bootstrap (Efron 1979): people are drawn with replacement. A pair of one person counts
as often as the person was drawn, a pair of two as often as the product says; a person drawn twice
makes no pair of two with themselves.

TAR at a FAR: each resample sets its threshold anew on its own pairs of two people, so the
interval holds what the threshold varies by. It reads that threshold off the highest pairs that
were kept, a seeded sample of them where there are more than 100,000. Where fewer were kept than
the rate lets pass, the threshold stays as it was.

AUC: to first order in how often each person was drawn (the infinitesimal jackknife of a
U-statistic; Obuchowski 1997 for clustered pairs), so no pair is scored again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceops.embedding.accept_rates import allowed_false_accepts
from faceops.evaluation.pair_scan import SPARE, PairScan

REPEATS = 300
_MOST = 100_000


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
    scan: PairScan, fars: Sequence[float], seed: int, repeats: int = REPEATS
) -> PairIntervals:
    """Resample the people of `scan`; every figure sees the same resamples."""
    draw = np.random.default_rng(seed)
    people, whose = len(scan.photos), scan.genuine_person
    placement = (scan.roc.below + scan.roc.upto) / (2 * scan.roc.impostors)
    pairs = np.bincount(whose, minlength=people)
    placed = np.bincount(whose, placement, people)
    others = scan.photos * (scan.photos.sum() - scan.photos)
    auc = scan.roc.auc
    tails = [_Tail.of(scan, far, seed) for far in fars]
    aucs, tars = np.empty(repeats), np.empty((repeats, len(fars)))
    for repeat in range(repeats):
        times = _drawn(draw, people, pairs)
        gained = _weighed(times, placed) / _weighed(times, pairs) - auc
        lost = _weighed(times, scan.lost) / _weighed(times, others) - (1 - auc)
        aucs[repeat] = min(auc + gained - 2 * lost, 1.0)
        # accepted[k]: pairs of one person but for the k lowest
        accepted = np.append(np.cumsum(times[whose][::-1])[::-1], 0)
        tars[repeat] = [tail.rate(times, accepted) for tail in tails]
    ends = np.quantile(tars, [0.025, 0.975], axis=0).T
    low, high = np.quantile(aucs, [0.025, 0.975])
    return PairIntervals(
        auc={"low": float(low), "high": float(high)},
        tar={
            far: {"low": float(a), "high": float(b)} for far, (a, b) in zip(fars, ends, strict=True)
        },
        resampled=tars,
    )


def _drawn(draw: np.random.Generator, people: int, pairs: np.ndarray) -> np.ndarray:
    while True:
        times = np.bincount(draw.integers(0, people, people), minlength=people).astype(float)
        if _weighed(times, pairs) and (times > 0).sum() > 1:
            return times


def _weighed(times: np.ndarray, values: np.ndarray) -> float:
    # Not a dot product: BLAS would start threads for each, which wait for each other.
    return float((times * values).sum())


@dataclass(frozen=True)
class _Tail:
    far: float
    photos: np.ndarray  # (P,)
    refused: np.ndarray  # (K + 1,): how many pairs of one person a threshold above each refuses
    first: np.ndarray  # (K,) code of one person of each pair, by falling score
    second: np.ndarray
    each: float  # pairs that each stands for

    @classmethod
    def of(cls, scan: PairScan, far: float, seed: int) -> "_Tail":
        impostors, top = scan.roc.impostors, scan.top
        allowed = allowed_false_accepts(far, impostors)
        kept = min(SPARE * allowed + 100, len(top.score))
        whole = kept == impostors
        if allowed >= kept and not whole:  # the threshold is held
            pairs = len(scan.roc.genuine)
            none = np.zeros(0, np.int64)
            held = np.array([round((1 - scan.roc.tar(far)) * pairs)])
            return cls(far, scan.photos, held, none, none, 1.0)
        rows = np.arange(kept)
        if kept > _MOST:
            rows = np.sort(np.random.default_rng(seed).choice(kept, _MOST, replace=False))
        score = top.score[rows]
        refused = np.searchsorted(scan.roc.genuine, score, side="right")
        # Past the last pair: where all are kept nothing is left to refuse, else the last one is.
        last = 0 if whole else refused[-1]
        return cls(
            far,
            scan.photos,
            np.append(refused, last),
            scan.person[top.first[rows]],
            scan.person[top.second[rows]],
            kept / len(rows),
        )

    def rate(self, times: np.ndarray, accepted: np.ndarray) -> float:
        mass = times * self.photos
        pairs = (mass.sum() ** 2 - (mass**2).sum()) / 2
        above = np.cumsum(times[self.first] * times[self.second]) * self.each
        # The first pair whose acceptance would break the rate, and all tied with it, are refused.
        at = int(np.searchsorted(above, self.far * pairs + 1e-9, side="right"))
        return float(accepted[self.refused[at]] / accepted[0])
