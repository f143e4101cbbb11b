"""All pairs of photos, scored block by block: exact for any number of photos, in linear memory.

Kept are all scores of pairs of one person, how many pairs of two people lie below each of them
(all that an exact ROC needs), the highest pairs of two people, a histogram and the reliability.
Scores are log odds: they order pairs as probabilities do and tell near-certain ones apart.

Intervals of all-pairs figures over people.

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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track
from faceops.embedding.accept_rates import allowed_false_accepts
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.roc import Roc, ScoreCounts, TopPairs, TopPairsCollector
from faceops.verification.pairs import codes
from faceops.verification.reliability import Reliability
from faceops.verification.verifier import Verifier

_BLOCK = 1 << 21  # scores at a time: 8 MB


@dataclass(frozen=True)
class ImpostorBlock:
    """Rows `start`, `start` + 1, ... against all rows from `start` on.

    `scores` float32 (B, N - start) are log odds; -inf where a pair is of one person or was met
    before, which is so in `void` bool (B, C): the first C columns.
    """

    start: int
    scores: np.ndarray
    void: np.ndarray

    @property
    def rising(self) -> np.ndarray:
        """The scores of its pairs of two people, sorted."""
        ordered: np.ndarray = np.sort(self.scores, axis=None)[int(self.void.sum()) :]
        return ordered


def impostor_blocks(
    embeddings: np.ndarray, person: np.ndarray, verifier: Verifier, block: int = _BLOCK
) -> Iterator[ImpostorBlock]:
    """Yield every pair of two people once; `person` int (N,) rises."""
    ends = np.searchsorted(person, person, side="right")
    starts = [0]
    while starts[-1] < len(person):
        step = max(1, block // (len(person) - starts[-1]))
        starts.append(min(starts[-1] + step, len(person)))
    for start, stop in track(list(pairwise(starts)), "blocks of pairs"):
        scores = verifier.logit_matrix(embeddings[start:stop], embeddings[start:])
        end = ends[start:stop] - start
        void = np.arange(end[-1]) < end[:, None]
        scores[:, : end[-1]][void] = -np.inf
        yield ImpostorBlock(start, scores, void)


def genuine_scores(
    embeddings: np.ndarray, person: np.ndarray, verifier: Verifier, block: int = _BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """Return (log odds float32 (G,), code int (G,)) of pairs of one person; `person` rises."""
    scores, whose = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    code, first, counts = np.unique(person, return_index=True, return_counts=True)
    for one, at, count in zip(code, first, counts, strict=True):
        own = embeddings[at : at + count]
        step = max(1, block // count)
        for row in range(0, count - 1, step):
            part = verifier.logit_matrix(own[row : row + step], own[row + 1 :])
            scores.append(part[np.triu(np.ones(part.shape, bool))])
            whose.append(np.full(len(scores[-1]), one))
    return np.concatenate(scores), np.concatenate(whose)


MOST_TOP = 1 << 21  # pairs of two people kept: 24 MB
SPARE = 3  # a resample of people may hold that many times the pairs above a threshold


@dataclass(frozen=True)
class PairScan:
    """What all pairs of N photos of P people say.

    Attributes:
        roc: of log odds; pairs with a missing photo are at -inf.
        genuine_person: int (G,), whose the pairs of one person are, in the order of `roc`.
        person: int (N,), code of each photo.
        photos: int (P,), of each person, with those that are missing.
        lost: float64 (P,): over each person's pairs with others, the sum of the shares of pairs
            of one person that score lower (equal ones count one half).
        top: the highest pairs of two people, by rows of the photos given.
        same, different: int64 (600,), pairs in the bins of `score_counts.HISTOGRAM_EDGES`.
        reliability: of the probabilities, in ten bins, people weighing alike in pairs of one.
    """

    roc: Roc
    genuine_person: np.ndarray
    person: np.ndarray
    photos: np.ndarray
    lost: np.ndarray
    top: TopPairs
    same: np.ndarray
    different: np.ndarray
    reliability: Reliability

    def threshold(self, far: float) -> float | None:
        """Return the lowest log odds that keep `far`; None where too few pairs were kept."""
        allowed = allowed_false_accepts(far, self.roc.impostors)
        if allowed >= len(self.top.score):
            return None
        return float(np.nextafter(self.top.score[allowed], np.float32(np.inf)))


def scan_pairs(faces: EmbeddedFaces, verifier: Verifier, fars: Sequence[float] = ()) -> PairScan:
    """Score every pair of `faces`.

    Of the pairs of two people, three times as many as the largest of `fars` lets pass are kept,
    2^21 at most. The pairs of `faces.missing`, photos without a face, are never accepted, and
    stand neither in the histogram nor in the reliability.

    Raises:
        FaceOpsError: there is no pair of one person, or none of two.
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
    order = np.argsort(person, kind="stable")
    table, sorted_person = faces.embeddings[order], person[order]
    present = np.bincount(person, minlength=len(photos))
    never = (photos * (photos - 1) - present * (present - 1)) // 2  # genuine, a photo is missing
    scores, own = genuine_scores(table, sorted_person, verifier)
    rising = np.argsort(scores, kind="stable")
    genuine = np.concatenate([np.full(never.sum(), -np.inf, np.float32), scores[rising]])

    whose_pair = np.concatenate([np.repeat(np.arange(len(photos)), never), own[rising]])
    several = photos[whose_pair]
    counts = ScoreCounts(genuine, 2 / (several * (several - 1)))
    top = TopPairsCollector(_top_size(fars, impostors))
    lost = np.zeros(len(person))
    for block in impostor_blocks(table, sorted_person, verifier):
        rows = slice(block.start, block.start + len(block.scores))
        top.add(block.scores, order[rows], order[block.start :])
        share = counts.lost(block.scores)
        share[:, : block.void.shape[1]][block.void] = 0
        lost[rows] += share.sum(1)
        lost[block.start :] += share.sum(0)
        counts.add(block.rising)
    unseen = impostors - counts.seen
    half_of_never = 0.5 * never.sum() / pairs
    beyond = photos * (photos.sum() - photos) - present * (len(person) - present)
    same, different = counts.histograms()
    return PairScan(
        roc=Roc(
            genuine,
            counts.below + np.where(np.isfinite(genuine), unseen, 0),
            counts.upto + unseen,
            impostors,
        ),
        genuine_person=whose_pair,
        person=person,
        photos=photos,
        lost=np.bincount(sorted_person, lost, len(photos)) + half_of_never * beyond,
        top=top.top(),
        same=same,
        different=different,
        reliability=counts.reliability(),
    )


def _top_size(fars: Sequence[float], impostors: int) -> int:
    allowed = max((allowed_false_accepts(far, impostors) for far in fars), default=0)
    return min(SPARE * allowed + 100, impostors, MOST_TOP)


PAIR_REPEATS = 300
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
    scan: PairScan, fars: Sequence[float], seed: int, repeats: int = PAIR_REPEATS
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
