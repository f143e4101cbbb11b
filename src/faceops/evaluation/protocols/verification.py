"""One-to-one verification on drawn pairs, and one genuine pair against ten impostor pairs.

Random pairs: N pairs, half of them genuine, drawn several times. VAL at a FAR (validation rate,
Schroff et al. 2015) is the share of genuine pairs at the threshold that lets at most that share of
the draw's own impostor pairs pass; no other threshold is chosen on these pairs. Genuine pairs are
drawn person by person in turn, so that people with many photos do not dominate; where there are
fewer than N / 2 of them, every draw has all.

One against ten: an anchor photo, another photo of its person, and ten photos of other people. No
negatives are drawn: where E of the M photos of others score as high as the genuine pair or higher,
C(M - E, 10) of C(M, 10) choices of ten leave it highest, so the mean is the exact expectation over
all of them. A tie is a miss. People have equal weights, and all pairs of a person too, both ways.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.figures import allowed_false_accepts
from faceops.base.work import track
from faceops.evaluation.protocols.album_scores import release_threshold
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.error_rates import chance_named, pairs_interval, share_interval
from faceops.verification.pairs import BalancedPairs, balanced_pairs, codes, row_blocks
from faceops.verification.thresholds import Thresholds, log_odds_of
from faceops.verification.verifier import Verifier, reaches

EVEN_ODDS = 0.5
DRAWS = 10
NEGATIVES = 10
_REPEATS = 300


@dataclass(frozen=True)
class RandomPairs:
    """The draws, the log odds float32 (N,) of each one's pairs, and the people's codes."""

    draws: list[BalancedPairs]
    scores: list[np.ndarray]
    person: np.ndarray

    def correct(self, log_odds: float) -> list[np.ndarray]:
        """Return which decisions at the threshold are right, bool (N,), for each draw."""
        return [
            reaches(score, log_odds) == pairs.same
            for pairs, score in zip(self.draws, self.scores, strict=True)
        ]

    def interval(self, log_odds: float, seed: int, repeats: int = _REPEATS) -> dict[str, float]:
        """Return the 95 % interval of the accuracy, over people."""
        first, second = (
            np.concatenate([self.person[getattr(pairs, side)] for pairs in self.draws])
            for side in ("first", "second")
        )
        correct = np.concatenate(self.correct(log_odds))
        return pairs_interval(correct, first, second, seed, repeats)

    def figures(
        self, fars: Sequence[float], thresholds: Thresholds | None, seed: int
    ) -> dict[str, Any]:
        """Means and spreads (standard deviation) over draws; intervals over people.

        An interval keeps the thresholds as they are. A rate that the release refuses has its
        reason in place of an accuracy.
        """
        figures: dict[str, Any] = {
            "pairs": len(self.draws[0].same),
            "draws": len(self.draws),
            **self._accuracy("accuracy", 0.0, seed),
        }
        for far in fars:
            figures |= self._val(far, seed)
            if thresholds is None:
                continue
            name = f"accuracy_at_far_{far:g}"
            cut, refusal = release_threshold(thresholds, far)
            if cut is None:
                figures |= {name: None, f"{name}_reason": refusal}
            else:
                figures |= self._accuracy(name, log_odds_of(cut), seed)
        return figures

    def _accuracy(self, name: str, log_odds: float, seed: int) -> dict[str, Any]:
        rates = np.array([correct.mean() for correct in self.correct(log_odds)])
        return _mean_and_spread(name, rates) | {f"{name}_interval": self.interval(log_odds, seed)}

    def _val(self, far: float, seed: int) -> dict[str, Any]:
        accepted, whose = [], []
        for pairs, score in zip(self.draws, self.scores, strict=True):
            impostors = np.append(np.sort(score[~pairs.same])[::-1], -np.inf)
            refused = impostors[allowed_false_accepts(far, len(impostors) - 1)]
            accepted.append(score[pairs.same] > refused)
            whose.append(self.person[pairs.first[pairs.same]])
        rates = np.array([part.mean() for part in accepted])
        name, negatives = f"val_at_far_{far:g}", int((~self.draws[0].same).sum())
        ends = share_interval(np.concatenate(accepted), np.concatenate(whose), seed, _REPEATS)
        return _mean_and_spread(name, rates) | {
            f"{name}_interval": ends,
            f"{name}_supported": allowed_false_accepts(far, negatives) >= 1,
        }


def random_pairs(
    faces: EmbeddedFaces, verifier: Verifier, count: int, seed: int, draws: int = DRAWS
) -> RandomPairs:
    """Draw up to `count` pairs, half of them genuine, `draws` times, and score them.

    Raises FaceOpsError: nobody has two photos, or there is only one person.
    """
    drawn = [balanced_pairs(faces.persons, count, seed + number) for number in range(draws)]
    table = faces.embeddings
    scores = [verifier.logit(table[pairs.first], table[pairs.second]) for pairs in drawn]
    return RandomPairs(drawn, scores, codes(faces.persons))


def _mean_and_spread(name: str, rates: np.ndarray) -> dict[str, float]:
    spread = float(rates.std(ddof=1)) if len(rates) > 1 else float("nan")
    return {name: float(rates.mean()), f"{name}_spread": spread}


@dataclass(frozen=True)
class OneAgainstTen:
    """The chance that the genuine pair scores highest, float64 (P,), for people with two photos."""

    chances: np.ndarray
    negatives: int
    trials: int  # ordered genuine pairs

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
    """Compare every ordered genuine pair with `negatives` random photos of others.

    Raises FaceOpsError: nobody has two photos, or someone who has leaves too few photos of others.
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
            genuine = np.delete(row[own], anchor - own.start)
            row[own] = -np.inf
            row.sort()
            exceeding.append(len(row) - np.searchsorted(row, genuine))
    whose = np.repeat(person[rows], photos[person[rows]] - 1)
    others = len(person) - photos[whose]
    won = 1 - chance_named(np.concatenate(exceeding), others, negatives)
    trials = np.bincount(whose, minlength=len(photos))
    chances = np.bincount(whose, won, len(photos))[able] / trials[able]
    return OneAgainstTen(chances, negatives, len(whose))
