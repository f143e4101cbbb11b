"""The figures of one-to-one verification: accuracy, AUC, TAR at FAR, calibration error.

N random pairs, half of one person, drawn several times: accuracy, and VAL at a FAR.

Accuracy at even odds asks whether the calibrated probability is right more often than not;
accuracy at a pair threshold is what the release does with that false accept rate. Neither
threshold is chosen on these pairs. VAL at a FAR (validation rate, Schroff et al. 2015) is: the
threshold lets at most that share of the draw's own pairs of two people pass. Pairs of one person
are drawn person by person in turn, so that people with many photos do not rule; where there are
fewer than N / 2 of them, every draw holds all.

One positive against ten negatives: does the right photo score highest of eleven?

An anchor photo, another photo of its person, and ten photos of other people. No negatives are
drawn: where E of the M photos of others score as high as the right photo or higher, C(M - E, 10)
of C(M, 10) choices of ten leave it highest, so the mean is the exact expectation over all of
them. A tie is lost. People weigh alike, and all pairs of a person, in both directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.figures import allowed_false_accepts
from faceops.base.progress import track
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.all_pairs import PairScan, pair_intervals
from faceops.evaluation.protocols.roc import tar_at_far
from faceops.verification.bootstrap import pairs_interval, share_interval
from faceops.verification.false_positive_identification import chance_named
from faceops.verification.pairs import BalancedPairs, balanced_pairs, codes, row_blocks
from faceops.verification.sample_size import IMPOSTOR_PAIRS
from faceops.verification.thresholds import Thresholds, as_threshold, log_odds_of
from faceops.verification.verifier import Verifier, reaches

ACCEPT = 0.5


def all_pairs_figures(scan: PairScan, fars: Sequence[float], seed: int) -> dict[str, Any]:
    """Return AUC and TAR at each of `fars` over all pairs, with intervals over people.

    The threshold behind each is a probability, found on these very pairs: it is no promise.
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


def accuracy_figures(
    faces: EmbeddedFaces, verifier: Verifier, pairs: int, seed: int
) -> dict[str, Any]:
    """Return the accuracy at even odds on up to `pairs` random pairs, half of one person.

    Raises:
        FaceOpsError: nobody has two photos, or there is only one person.
    """
    drawn = balanced_pairs(faces.persons, pairs, seed)
    table, person = faces.embeddings, codes(faces.persons)
    probability = verifier.probability(table[drawn.first], table[drawn.second])
    right = (probability >= np.float32(ACCEPT)) == drawn.same
    return {
        "accuracy": float(right.mean()),
        "accuracy_interval": pairs_interval(right, person[drawn.first], person[drawn.second], seed),
        "accuracy_pairs": len(right),
        "accuracy_threshold": ACCEPT,
    }


DRAWS = 10
_REPEATS = 300


@dataclass(frozen=True)
class RandomPairs:
    """The draws, the log odds float32 (N,) of each one's pairs, and the people's codes."""

    draws: list[BalancedPairs]
    scores: list[np.ndarray]
    person: np.ndarray

    def accuracy(self, log_odds: float) -> np.ndarray:
        """Return the share of right decisions of each draw, float64 (R,)."""
        return np.array([hits.mean() for hits in self._right(log_odds)])

    def val(self, far: float) -> np.ndarray:
        """Return the true accept rate of each draw at its own threshold, float64 (R,)."""
        return np.array(
            [
                tar_at_far(score[pairs.same], score[~pairs.same], far)
                for pairs, score in zip(self.draws, self.scores, strict=True)
            ]
        )

    def figures(
        self, fars: Sequence[float], thresholds: Thresholds | None, seed: int
    ) -> dict[str, Any]:
        """Means and spreads (standard deviation) over draws; intervals over people.

        An interval holds the thresholds as they are. A rate that the release refuses has its
        reason in place of an accuracy.
        """
        negatives = int((~self.draws[0].same).sum())
        figures: dict[str, Any] = {
            "pairs": len(self.draws[0].same),
            "draws": len(self.draws),
            **self._accuracy("accuracy", 0.0, seed),
        }
        for far in fars:
            name = f"val_at_far_{far:g}"
            rates = self.val(far)
            figures[name] = float(rates.mean())
            figures[f"{name}_spread"] = _spread(rates)
            figures[f"{name}_interval"] = self._val_interval(far, seed)
            figures[f"{name}_supported"] = allowed_false_accepts(far, negatives) >= 1
            if thresholds is None:
                continue
            name = f"accuracy_at_far_{far:g}"
            try:
                cut = log_odds_of(thresholds.for_pairs(far))
            except UsageError as error:
                figures[name] = None
                figures[f"{name}_reason"] = str(error)
            else:
                figures |= self._accuracy(name, cut, seed)
        return figures

    def _right(self, log_odds: float) -> list[np.ndarray]:
        return [
            reaches(score, log_odds) == pairs.same
            for pairs, score in zip(self.draws, self.scores, strict=True)
        ]

    def _accuracy(self, name: str, log_odds: float, seed: int) -> dict[str, Any]:
        rates = self.accuracy(log_odds)
        first, second = (
            np.concatenate([self.person[getattr(pairs, side)] for pairs in self.draws])
            for side in ("first", "second")
        )
        hits = np.concatenate(self._right(log_odds))
        return {
            name: float(rates.mean()),
            f"{name}_spread": _spread(rates),
            f"{name}_interval": pairs_interval(hits, first, second, seed, _REPEATS),
        }

    def _val_interval(self, far: float, seed: int) -> dict[str, float]:
        hits, whose = [], []
        for pairs, score in zip(self.draws, self.scores, strict=True):
            strangers = np.sort(score[~pairs.same])[::-1]
            hits.append(score[pairs.same] > _refused(strangers, far))
            whose.append(self.person[pairs.first[pairs.same]])
        return share_interval(np.concatenate(hits), np.concatenate(whose), seed, _REPEATS)


def _refused(falling: np.ndarray, far: float) -> float:
    allowed = allowed_false_accepts(far, len(falling))
    return float(falling[allowed]) if allowed < len(falling) else -np.inf


def random_pairs(
    faces: EmbeddedFaces, verifier: Verifier, count: int, seed: int, draws: int = DRAWS
) -> RandomPairs:
    """Draw up to `count` pairs, half of one person, `draws` times, and score them.

    Raises:
        FaceOpsError: nobody has two photos, or there is only one person.
    """
    drawn = [balanced_pairs(faces.persons, count, seed + number) for number in range(draws)]
    table = faces.embeddings
    scores = [verifier.logit(table[pairs.first], table[pairs.second]) for pairs in drawn]
    return RandomPairs(drawn, scores, codes(faces.persons))


def _spread(rates: np.ndarray) -> float:
    return float(rates.std(ddof=1)) if len(rates) > 1 else float("nan")


NEGATIVES = 10


@dataclass(frozen=True)
class OneAgainstTen:
    """The chance that the right photo scores highest, float64 (P,), for each person with two."""

    chances: np.ndarray
    negatives: int
    trials: int  # ordered pairs of one person

    @property
    def accuracy(self) -> float:
        """The mean over people; 1 / 11 is chance."""
        return float(self.chances.mean())

    def figures(self, seed: int) -> dict[str, Any]:
        """The accuracy with its interval over people."""
        people = np.arange(len(self.chances))
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": share_interval(self.chances, people, seed),
            "negatives": self.negatives,
            "people": len(people),
            "trials": self.trials,
        }


def one_against_ten(
    faces: EmbeddedFaces, verifier: Verifier, negatives: int = NEGATIVES
) -> OneAgainstTen:
    """Compare every ordered pair of one person with `negatives` random photos of others.

    Raises:
        FaceOpsError: nobody has two photos, or someone who has leaves too few photos of others.
    """
    person = codes(faces.persons)
    photos = np.bincount(person)
    able = photos > 1
    if not able.any() or len(person) - photos[able].max() < negatives:
        raise FaceOpsError(
            f"one photo against {negatives} of others needs a person with two photos and "
            f"{negatives} photos of other people; there are {len(person)} photos of "
            f"{len(photos)} people."
        )
    order = np.argsort(person, kind="stable")
    table, person = faces.embeddings[order], person[order]
    start, stop = (np.searchsorted(person, person, side) for side in ("left", "right"))
    rows = np.flatnonzero(able[person])
    exceeding = []
    for block in track(row_blocks(len(rows), len(person)), "blocks of anchors"):
        anchors = rows[block]
        for anchor, row in zip(anchors, verifier.logit_matrix(table[anchors], table), strict=True):
            own = slice(start[anchor], stop[anchor])
            right = np.delete(row[own], anchor - own.start)
            row[own] = -np.inf
            row.sort()
            exceeding.append(len(row) - np.searchsorted(row, right))
    whose = np.repeat(person[rows], photos[person[rows]] - 1)
    others = len(person) - photos[whose]
    won = 1 - chance_named(np.concatenate(exceeding), others, negatives)
    trials = np.bincount(whose, minlength=len(photos))
    chances = np.bincount(whose, won, len(photos))[able] / trials[able]
    return OneAgainstTen(chances, negatives, len(whose))
