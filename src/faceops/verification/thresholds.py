"""The thresholds of a release on the probability of a pair, each for a budget of errors.

A pair is accepted when its probability is at least the threshold; tied scores are accepted or
rejected together. docs/evaluation.md has the rules for galleries: between two measured sizes the
threshold is interpolated in log odds over log n; beyond the largest one, n, that for a gallery N
keeps budget * n / N at n, which bounds the FPIR in N from above.

Each measured rate is a tail: points (rate, probability), where the share `rate` of pairs or of
strangers reaches `probability`. Between two points the threshold is interpolated linearly in log
odds over log rate. Beyond the last one the slope of the last measured decade continues; tails that
fall faster than exponentially, as those of distances do, are then over-estimated, so the threshold
errs on the strict side.

A budget for which the measured people are too few is refused. If none of P strangers are
identified, the FPIR can still be 3 / P with 95 % confidence (rule of three, Hanley & Lippman-Hand
1983). For a FAR, ten pairs of people must be expected above the threshold (the rule of 30 of
Doddington et al. 2000, relaxed: ten errors give about +-60 % at 95 %).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from faceops.base.errors import UsageError
from faceops.faces.quality import LengthScale
from faceops.verification.normalisation import FrozenModel, Normalisation
from faceops.verification.verifier import clipped_log_odds, reaches

_GROWTH = 10  # of galleries, over which the rise of a threshold is measured


class TailPoint(FrozenModel):
    """The share `rate` reaches `probability`."""

    rate: float = Field(description="share of pairs or of strangers at or above the probability")
    probability: float


class SearchTail(FrozenModel):
    """False positive identification rates in galleries of one size."""

    gallery_faces: int
    points: list[TailPoint] = Field(description="falling rate, rising probability")


class Interval(FrozenModel):
    """95 % confidence interval, people resampled, at a fixed threshold."""

    low: float
    high: float


class PairThreshold(FrozenModel):
    """The threshold for a false accept rate of pairs; None where the people are too few."""

    budget: float = Field(description="false accept rate of pairs")
    people_needed: int = Field(description="number of people that the budget needs")
    probability: float | None = Field(None, description="accept a pair at or above it")
    false_accept_rate: Interval | None = None
    true_accept_rate: float | None = Field(None, description="share of genuine pairs accepted")


class SearchThreshold(FrozenModel):
    """The threshold for an FPIR in a gallery; None where the people are too few."""

    gallery_faces: int
    budget: float = Field(description="false positive identification rate")
    people_needed: int = Field(description="number of people that the budget needs")
    probability: float | None = Field(None, description="name a face at or above it")
    measured: bool = Field(False, description="false: extrapolated by the module's rule")
    false_positive_rate: Interval | None = None


class Thresholds(FrozenModel):
    """Thresholds of one release, and what they were measured on.

    Those of a search are for what needs no album, as enrolment and the grouping of unknown people,
    and in releases without a normalisation for naming too.
    """

    data: str = Field(description="which photos, in words")
    people: int
    photos: int
    genuine_pairs: int
    impostor_pairs: int
    pairs: list[PairThreshold]
    search: list[SearchThreshold]
    pair_tail: list[TailPoint]
    search_tails: list[SearchTail] = Field(description="by rising gallery size, the first is 1")
    default_budget: float = Field(description="false positive identification rate")
    runner_up_margin: float = Field(description="minimum lead of the best person, log odds")
    quality_deciles: list[float] = Field(
        default=[], description="nine deciles of the quality of the photos' faces"
    )
    quality_version: int = Field(1, description="of the measure of quality, see `faces.quality`")
    length_scale: LengthScale | None = Field(
        None, description="for the quality after embedding; None in older releases"
    )
    normalisation: Normalisation | None = Field(
        None, description="for thresholds that adapt to an album; None in older releases"
    )

    def quality_after(self, before: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return the quality of faces once they are embedded, float64 (N,), 0 to 1.

        The geometric mean of `before`, `Quality.overall` (N,) of the photo, and the share of the
        length of the raw embedding `lengths` (N,); `before` where that is NaN, unknown.
        """
        if self.length_scale is None:
            return before
        after = np.sqrt(before * self.length_scale.share(lengths))
        return np.where(np.isnan(after), before, after)

    def for_search(self, budget: float, gallery_faces: int) -> float:
        """Return the threshold that keeps an FPIR of `budget` in a gallery of `gallery_faces`.

        Raises UsageError: as `require`.
        """
        self.require(budget, gallery_faces)
        return as_threshold(search_log_odds(self.search_tails, budget, gallery_faces))

    def for_groups(self, budget: float, faces: int) -> float:
        """Return the threshold from which two of `faces` unknown faces are linked.

        That of a search, in galleries of the measured sizes. Above, its log odds rise with the
        logarithm of the number as from a tenth of the largest measured size to that size: faster
        than in truth where tails fall faster than exponentially. The bound of `for_search` rests on
        the highest scores of all, of which wrong labels have many, and is taken where it is lower.

        Raises UsageError: as `require`.
        """
        threshold, tails = self.for_search(budget, faces), self.search_tails
        largest = tails[-1].gallery_faces
        if faces <= largest or largest < _GROWTH:
            return threshold
        low, high = (search_log_odds(tails, budget, size) for size in (largest // _GROWTH, largest))
        if math.isinf(high):
            return threshold
        grown = max(high - low, 0) * math.log(faces / largest, _GROWTH)
        return min(threshold, as_threshold(high + grown))

    def require(self, budget: float, gallery_faces: int) -> None:
        """Refuse what no threshold can keep.

        Raises UsageError: `budget` is not between 0 and 1 or the people are too few for it, or the
        gallery is empty.
        """
        _check_budget(budget)
        if gallery_faces < 1:
            raise UsageError(
                f"A gallery of {gallery_faces} faces cannot be searched; enrol people."
            )
        if self.people < people_for_fpir(budget):
            raise UsageError(fpir_refusal(budget, self.people, self.data))

    def search_is_measured(self, budget: float, gallery_faces: int) -> bool:
        """Whether `for_search` interpolates between measurements, rather than extrapolating."""
        return is_measured(self.search_tails, budget, gallery_faces)

    def for_pairs(self, far: float) -> float:
        """Return the threshold at a false accept rate of pairs.

        Raises UsageError: `far` is not between 0 and 1, or the people are too few for it.
        """
        _check_budget(far)
        if self.people < (needed := people_for_far(far)):
            raise UsageError(
                f"a false accept rate of {far:g} is not supported by {self.data} "
                f"({math.comb(self.people, 2):,} pairs of people); it needs {needed:,} people "
                f"({math.comb(needed, 2):,} pairs). Calibrate on more people, or allow "
                f"{_rounded_up(smallest_far(self.people))}."
            )
        return as_threshold(log_odds_at(self.pair_tail, far))


def is_measured(tails: Sequence[SearchTail], budget: float, gallery_faces: int) -> bool:
    """Whether the smallest measured gallery of at least that size reaches down to `budget`."""
    tail = next((tail for tail in tails if tail.gallery_faces >= gallery_faces), None)
    return tail is not None and budget >= tail.points[-1].rate * (1 - 1e-9)


def fpir_refusal(budget: float, people: int, data: str) -> str:
    """Return the sentence that refuses an FPIR for which `people` people are too few."""
    return (
        f"a false positive identification rate of {budget:g} is not supported by {data}: even if "
        f"none of {people:,} people were identified, the rate could be "
        f"{smallest_fpir(people):.2g}; it needs {people_for_fpir(budget):,} people. Calibrate on "
        f"more people, or allow {_rounded_up(smallest_fpir(people))}."
    )


def _check_budget(budget: float) -> None:
    if not 0 < budget < 1:
        raise UsageError(f"budget {budget} is wrong: a rate between 0 and 1.")


def _rounded_up(rate: float) -> str:
    """Return `rate` with two significant digits, never below it."""
    places = 1 - math.floor(math.log10(rate))
    return f"{min(math.ceil(rate * 10**places - 1e-9) / 10**places, 1.0):g}"


def search_log_odds(tails: Sequence[SearchTail], budget: float, gallery_faces: int) -> float:
    """Return the threshold in log odds by the module's rule; inf where no face can be named."""
    sizes = [tail.gallery_faces for tail in tails]
    if gallery_faces >= sizes[-1]:
        return log_odds_at(tails[-1].points, budget * sizes[-1] / gallery_faces)
    above = int(np.searchsorted(sizes, gallery_faces, side="right"))
    low, high = (log_odds_at(tails[i].points, budget) for i in (above - 1, above))
    if math.isinf(high):
        return math.inf
    step = math.log(gallery_faces / sizes[above - 1]) / math.log(sizes[above] / sizes[above - 1])
    return low + step * (max(high, low) - low)


POINTS_PER_DECADE = 8
# Above 1 - 2^-24 float32 knows only 1: a threshold there would accept whatever rounds to it.
LARGEST_LOG_ODDS = math.log(2.0**24 - 1)
ABOVE_ONE = math.nextafter(1.0, 2.0)  # the threshold that no probability reaches


def tail_rates(smallest: float) -> list[float]:
    """Return the rates of a tail's points: .9, .75, then eight per decade down to `smallest`."""
    rates = [0.9, 0.75, *(10.0 ** -(np.arange(2, 300) / POINTS_PER_DECADE))]
    return [float(rate) for rate in rates if rate > smallest * 1.05] + [float(smallest)]


def log_odds_at(tail: Sequence[TailPoint], rate: float) -> float:
    """Return the threshold in log odds that keeps `rate`; inf where none does."""
    log_rate = np.log([point.rate for point in tail])
    values = np.array([point.probability for point in tail])
    wanted = math.log(rate)
    if wanted >= log_rate[0]:
        return log_odds_of(values[0])
    odds = np.array([log_odds_of(value) for value in values])
    if wanted >= log_rate[-1]:
        after = int(np.searchsorted(-log_rate, -wanted))
        if math.isinf(odds[after]):
            return math.inf
        return float(np.interp(-wanted, -log_rate, odds))
    if math.isinf(odds[-1]):
        return math.inf
    decade = int(np.argmin(np.abs(log_rate - (log_rate[-1] + math.log(10)))))
    run = log_rate[decade] - log_rate[-1]
    slope = max((odds[-1] - odds[decade]) / run, 0.0) if run > 0 else 1.0
    return float(odds[-1] + slope * (log_rate[-1] - wanted))


def as_threshold(log_odds: float) -> float:
    """Return the probability at `log_odds`; `ABOVE_ONE` beyond the range of float32."""
    if log_odds > LARGEST_LOG_ODDS:
        return ABOVE_ONE
    small = math.exp(-abs(log_odds))
    return (1.0 if log_odds >= 0 else small) / (1 + small)


def log_odds_of(probability: float) -> float:
    """Return ln(p / (1 - p)); inf for 1 and more."""
    if probability >= 1:
        return math.inf
    clipped = max(float(probability), 1e-9)
    return math.log(clipped) - math.log1p(-clipped)


IMPOSTOR_PAIRS = 10
_RULE_OF_THREE = 3


def people_for_fpir(fpir: float) -> int:
    return math.ceil(_RULE_OF_THREE / fpir - 1e-9)


def smallest_fpir(people: int) -> float:
    """Return the smallest FPIR that `people` people support, at most 1."""
    return min(_RULE_OF_THREE / people, 1.0) if people else 1.0


def people_for_far(far: float) -> int:
    """Return the number of people that a false accept rate needs."""
    wanted = math.ceil(IMPOSTOR_PAIRS / far - 1e-6)  # pairs of people
    people = (1 + math.isqrt(1 + 8 * wanted)) // 2
    while math.comb(people, 2) < wanted:
        people += 1
    return people


def smallest_far(people: int) -> float:
    """Return the smallest false accept rate that `people` people support, at most 1."""
    return min(IMPOSTOR_PAIRS / max(math.comb(people, 2), 1), 1.0)


_NEAR = 2.0  # log odds below the threshold from which a runner-up has to be led by more


def required_lead(
    runner_up: np.ndarray | float, threshold: float, margin: float
) -> np.ndarray | float:
    """Return the lead over the `runner_up` that a name needs; all in log odds.

    `threshold` is that of the default budget: the lead does not depend on the one that is asked
    for, so a larger budget takes no name away. The lead is the release's `margin`, and more where
    the runner-up comes near the threshold too, as a relative does.
    """
    return margin + np.maximum(runner_up - threshold + _NEAR, 0)


@dataclass(frozen=True)
class NamingLimits:
    """The limits on scores: probabilities, or log odds if scores are normalised in an album."""

    probability: float  # the threshold, smallest probability of the best person
    margin: float  # smallest lead over the runner-up, in log odds; see `required_lead` too
    log_odds: float | None = None  # the same threshold, if scores are normalised; it decides then
    usual_log_odds: float | None = None  # of the default budget, likewise; see `required_lead`

    def reached(self, best: np.ndarray) -> np.ndarray:
        """Return bool (N,): do the scores (N,) of the best people reach the threshold?"""
        return reaches(best, self.probability if self.log_odds is None else self.log_odds)

    def leads(self, best: np.ndarray, runner_up: np.ndarray) -> np.ndarray:
        """Return bool (N,): does the best score (N,) lead the runner-up's (N,) by enough?

        In log odds: in large galleries, thresholds lie so near to 1 that differences of
        probabilities say little. Where nobody else is enrolled, the runner-up's score is -inf.
        """
        alone = np.isneginf(runner_up)
        if self.log_odds is None or self.usual_log_odds is None:
            odds = clipped_log_odds(best), clipped_log_odds(np.where(alone, 0, runner_up))
            led = odds[0] - odds[1] >= self.margin
        else:
            needed = required_lead(runner_up, self.usual_log_odds, self.margin)
            led = np.subtract(best, np.where(alone, 0, runner_up), dtype=float) >= needed
        return led | alone
