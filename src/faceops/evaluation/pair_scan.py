"""All pairs of photos, scored block by block: exact for any number of photos, in linear memory.

Kept are all scores of pairs of one person, how many pairs of two people lie below each of them
(all that an exact ROC needs), the highest pairs of two people, a histogram and the reliability.
Scores are log odds: they order pairs as probabilities do and tell near-certain ones apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.embedding.accept_rates import allowed_false_accepts
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.pair_blocks import genuine_scores, impostor_blocks
from faceops.evaluation.roc import Roc
from faceops.evaluation.score_counts import ScoreCounts
from faceops.evaluation.top_pairs import TopPairs, TopPairsCollector
from faceops.verification.pairs import codes
from faceops.verification.reliability import Reliability
from faceops.verification.verifier import Verifier

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
