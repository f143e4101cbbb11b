"""Is one model better than another on the same people, by more than its standard error?

Whole people are drawn with replacement (Efron 1979), the same ones for both models; the standard
error is the deviation of the difference over the resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceops.evaluation.bootstrap import resampled_pair_shares, resampled_shares
from faceops.evaluation.open_set import OpenSet
from faceops.evaluation.pair_intervals import pair_intervals
from faceops.evaluation.pair_scan import PairScan
from faceops.evaluation.shown import shown_share
from faceops.release.gate.paired_bootstrap import ModelFigures, resampled_people
from faceops.release.gate.trials import Outcomes

REPEATS = 300

HEADER = ("figure", "as it is", "trained", "difference", "standard error", "finding")


@dataclass(frozen=True)
class Gain:
    """A figure of both models, shares, and the standard error of new minus old."""

    name: str
    old: float
    new: float
    standard_error: float

    @property
    def finding(self) -> str:
        """Better or worse by more than the standard error, or not told apart."""
        gain = self.new - self.old
        if abs(gain) <= self.standard_error:
            return "not told apart"
        return f"{'better' if gain > 0 else 'worse'} by more than its standard error"

    def row(self) -> list[str]:
        """Return the cells of a table."""
        shares = [shown_share(value) for value in (self.old, self.new)]
        return [self.name, *shares, f"{self.new - self.old:+.4f}",
                f"{self.standard_error:.4f}", self.finding]  # fmt: skip


def share_gain(name: str, old: np.ndarray, new: np.ndarray, person: np.ndarray, seed: int) -> Gain:
    """Compare the means of `old` and `new` (N,), hits or chances; `person` int (N,) is whose."""
    difference = new.astype(float) - old.astype(float)
    error = resampled_shares(difference, person, seed).std(ddof=1)
    return Gain(name, float(old.mean()), float(new.mean()), float(error))


def pairs_gain(
    name: str,
    old: np.ndarray,
    new: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    seed: int,
) -> Gain:
    """Compare right decisions bool (N,) on pairs of people `first` and `second`, int (N,)."""
    difference = new.astype(float) - old.astype(float)
    error = resampled_pair_shares(difference, first, second, seed).std(ddof=1)
    return Gain(name, float(old.mean()), float(new.mean()), float(error))


def tar_gains(
    name: str, old: PairScan, new: PairScan, fars: Sequence[float], seed: int
) -> list[Gain]:
    """Compare TAR at each of `fars` over all pairs, the threshold of each model set anew."""
    resampled = [pair_intervals(scan, fars, seed).resampled for scan in (old, new)]
    errors = (resampled[1] - resampled[0]).std(axis=0, ddof=1)
    return [
        Gain(f"{name}, TAR at FAR {far:g}", old.roc.tar(far), new.roc.tar(far), float(error))
        for far, error in zip(fars, errors, strict=True)
    ]


def search_gain(name: str, old: OpenSet, new: OpenSet, fpir: float, seed: int) -> Gain:
    """Compare DIR at `fpir` on the same draws, the threshold of each model set anew."""
    person, known = new.person, new.known
    people = int(person.max()) + 1
    kinds = np.stack([np.bincount(person[of], minlength=people) > 0 for of in (known, ~known)], 1)
    weights = resampled_people(people, kinds, REPEATS, seed)
    figures = [
        ModelFigures(Outcomes(one.best, one.right, one.named), person, known) for one in (old, new)
    ]
    rates = np.array([[model.dir(weight, fpir) for model in figures] for weight in weights])
    once = np.ones(people, np.float32)
    error = (rates[:, 1] - rates[:, 0]).std(ddof=1)
    return Gain(name, figures[0].dir(once, fpir), figures[1].dir(once, fpir), float(error))
