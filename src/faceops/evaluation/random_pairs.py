"""N random pairs, half of one person, drawn several times: accuracy, and VAL at a FAR.

Accuracy at even odds asks whether the calibrated probability is right more often than not;
accuracy at a pair threshold is what the release does with that false accept rate. Neither
threshold is chosen on these pairs. VAL at a FAR (validation rate, Schroff et al. 2015) is: the
threshold lets at most that share of the draw's own pairs of two people pass. Pairs of one person
are drawn person by person in turn, so that people with many photos do not rule; where there are
fewer than N / 2 of them, every draw holds all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.base.errors import UsageError
from faceops.embedding.accept_rates import allowed_false_accepts
from faceops.evaluation.bootstrap import pairs_interval, share_interval
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.roc import tar_at_far
from faceops.verification.pairs import Pairs, balanced_pairs, codes
from faceops.verification.tail import log_odds_of
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier

DRAWS = 10
_REPEATS = 300


@dataclass(frozen=True)
class RandomPairs:
    """The draws, the log odds float32 (N,) of each one's pairs, and the people's codes."""

    draws: list[Pairs]
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
            (score >= np.float32(log_odds)) == pairs.same
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
