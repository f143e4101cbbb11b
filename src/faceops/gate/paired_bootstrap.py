"""Figures of two models on the same probes, and intervals of their difference over people.

Paired percentile bootstrap (Efron 1979; Bolle, Ratha and Pankanti 2004 for clustered biometric
samples): whole people are drawn with replacement, and each resample weighs the probes of both
models alike, so that what makes a person easy or hard for both cancels out. Thresholds are set anew
in each resample and for each model, on the strangers drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from faceops.gate.trials import Outcomes
from faceops.verification.bootstrap import percentile_interval, resampled_people


@dataclass(frozen=True)
class Difference:
    """A figure of both models and the interval of challenger minus champion."""

    champion: float
    challenger: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """Challenger minus champion."""
        return self.challenger - self.champion


def interval(
    champion: float, challenger: float, resampled: np.ndarray, confidence: float
) -> Difference:
    """Return the difference with the percentile interval of `resampled` (R,), differences."""
    return Difference(
        float(champion), float(challenger), *percentile_interval(resampled, confidence)
    )


class ModelFigures:
    """One model's open-set figures under any weights of the people."""

    def __init__(self, outcomes: Outcomes, person: np.ndarray, known: np.ndarray) -> None:
        """`person` int (P,) and `known` bool (P,) are those of the probes."""
        self._person, self._known = person, known
        self._named, self._right = outcomes.named, outcomes.right
        strangers = np.flatnonzero(~known)
        falling = strangers[np.argsort(-outcomes.score[strangers], kind="stable")]
        self._stranger_score = outcomes.score[falling]
        self._stranger_person = person[falling]
        # A probe of a known person counts where its score is above the last stranger's let in.
        self._score = np.where(outcomes.right, outcomes.score, np.float32(-2))

    def threshold(self, weight: np.ndarray, fpir: float) -> float:
        """Return the stranger's score that must be passed; tied strangers are refused together.

        `weight` float (people,) says how often each person was drawn.
        """
        let_in = np.cumsum(weight[self._stranger_person])
        total = let_in[-1]
        at = int(np.searchsorted(let_in, fpir * total + 1e-9, side="right"))
        # Without a stranger to refuse every right name counts, but never a photo without a face.
        return float(self._stranger_score[at]) if at < len(let_in) else -1.0

    def dir(self, weight: np.ndarray, fpir: float, rows: np.ndarray | None = None) -> float:
        """Return DIR at FPIR, of the probes `rows` bool (P,) where given; NaN without any."""
        hits, all_known = self._weighed(weight, fpir)
        return _share(hits, all_known, slice(None) if rows is None else rows)

    def strangers_named(self, weight: np.ndarray) -> float:
        """Return the share of strangers' probes that the release names at its own threshold."""
        each = weight[self._person] * ~self._known
        return _share(each * self._named, each, slice(None))

    def named_rightly(self, weight: np.ndarray) -> float:
        """Return the share of known people's probes that get their name at its own threshold."""
        each = weight[self._person] * self._known
        return _share(each * (self._named & self._right), each, slice(None))

    def worst(
        self, weight: np.ndarray, fpir: float, groups: Mapping[str, np.ndarray]
    ) -> tuple[str, float]:
        """Return the name and the DIR of the group, mask bool (P,), that is named worst."""
        hits, all_known = self._weighed(weight, fpir)
        rates = {name: _share(hits, all_known, rows) for name, rows in groups.items()}
        rates = {name: rate for name, rate in rates.items() if not np.isnan(rate)}
        if not rates:
            return "", float("nan")
        name = min(rates, key=lambda group: (rates[group], group))
        return name, rates[name]

    def _weighed(self, weight: np.ndarray, fpir: float) -> tuple[np.ndarray, np.ndarray]:
        """Return each probe's weight (P,) if it is named rightly at `fpir`, and if it is known."""
        all_known = self._known * weight[self._person]
        return (self._score > self.threshold(weight, fpir)) * all_known, all_known


def _share(part: np.ndarray, whole: np.ndarray, rows: np.ndarray | slice) -> float:
    total = float(whole[rows].sum())
    return float(part[rows].sum()) / total if total else float("nan")


def resampled_weights(people: int, known: np.ndarray, repeats: int, seed: int) -> np.ndarray:
    """Return float32 (R, people): how often each person was drawn.

    A resample without a known person or without a stranger is drawn again.

    Args:
        people: how many there are.
        known: bool (people, 2): has the person a probe while enrolled, and one as a stranger?
        repeats: R.
        seed: of the draws.
    """

    def both(times: np.ndarray) -> bool:
        return bool(times[known[:, 0]].any() and times[known[:, 1]].any())

    return np.array(list(resampled_people(people, seed, repeats, both)), np.float32)
