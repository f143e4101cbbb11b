"""All pairs of photos, scored block by block: exact for any number of photos, in linear memory.

Kept are all scores of pairs of one person, how many pairs of two people lie below each of them
(all that an exact ROC needs), the highest pairs of two people, a histogram and the reliability.
Scores are log odds: they order pairs as probabilities do and tell near-certain ones apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.figures import allowed_false_accepts
from faceops.base.progress import track
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.roc import Roc, ScoreCounts, TopPairs, TopPairsCollector
from faceops.verification.bootstrap import ResampledTar, interval_figures, resampled_people
from faceops.verification.pairs import codes, impostor_blocks, row_blocks
from faceops.verification.reliability import Reliability
from faceops.verification.verifier import Verifier


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
    present = np.bincount(person, minlength=len(photos))
    never = (photos * (photos - 1) - present * (present - 1)) // 2  # genuine, a photo is missing
    scores, own = genuine_scores(faces.embeddings, person, verifier)
    genuine = np.concatenate([np.full(never.sum(), -np.inf, np.float32), scores])
    whose_pair = np.concatenate([np.repeat(np.arange(len(photos)), never), own])
    several = photos[whose_pair]
    counts = ScoreCounts(genuine, 2 / (several * (several - 1)))
    top = TopPairsCollector(_top_size(fars, impostors))
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
        lost=np.bincount(person, lost, len(photos)) + half_of_never * beyond,
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
    return PairIntervals(
        auc=interval_figures(aucs),
        tar={far: interval_figures(column) for far, column in zip(fars, rates.T, strict=True)},
        resampled=rates,
    )


def _resampled_tar(scan: PairScan, far: float, seed: int) -> ResampledTar:
    impostors, top = scan.roc.impostors, scan.top
    allowed = allowed_false_accepts(far, impostors)
    kept = min(SPARE * allowed + 100, len(top.score))
    if allowed >= kept and kept < impostors:  # too few were kept: the threshold stays as it is
        refused = np.array([round((1 - scan.roc.tar(far)) * len(scan.roc.genuine))])
        none = np.zeros(0, np.int64)
        return ResampledTar(far, scan.photos, scan.genuine_person, refused, none, none)
    rows = np.arange(kept)
    if kept > _MOST:
        rows = np.sort(np.random.default_rng(seed).choice(kept, _MOST, replace=False))
    refused = np.searchsorted(scan.roc.genuine, top.score[rows], side="right")
    return ResampledTar(
        far=far,
        photos=scan.photos,
        person=scan.genuine_person,
        # Where all impostor pairs were kept, nothing is left to refuse beyond the last.
        refused=np.append(refused, 0 if kept == impostors else refused[-1]),
        first=scan.person[top.first[rows]],
        second=scan.person[top.second[rows]],
        each=kept / len(rows),
    )
