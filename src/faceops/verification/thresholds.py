"""Thresholds on the probability of a pair, each for a budget of errors: the release's promise.

The rule. A pair is accepted when its probability is at least the threshold. For a pair false
accept rate f, the threshold is the smallest float32 at which no more than a share f of the
measured impostor pairs is accepted; tied scores are accepted or refused together.

Search. A stranger is named when any of n gallery faces is accepted. How often, was measured for
galleries of several sizes (`faceops.verification.false_positive_identification`); between two
sizes the threshold for one budget is interpolated in log odds over log n. For a gallery N larger
than the largest measured one, n, the threshold is that which kept budget * n / N there, which
bounds the rate in N from above. Several faces of one person count as so many people, which again
errs on the strict side. Rates below the measured ones follow the tail (`.tail`).

A budget that the people measured cannot speak for at all (`.support`) is refused.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from faceops.base.errors import UsageError
from faceops.verification.false_accept_rate import (
    people_for_pairs,
    people_for_search,
    people_pairs,
    smallest_pair_rate,
    smallest_search_budget,
)
from faceops.verification.score_table import TailPoint, as_threshold, log_odds_at


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Frozen):
    """95 %, people resampled, the threshold held fixed."""

    low: float
    high: float


class PairThreshold(_Frozen):
    """The threshold for a false accept rate a pair; none where the people are too few for it."""

    budget: float = Field(description="false accepts a pair of two people")
    people_needed: int = Field(description="people who would support it")
    probability: float | None = Field(None, description="accept a pair at or above it")
    false_accept_rate: Interval | None = None
    true_accept_rate: float | None = Field(None, description="pairs of one person accepted at it")


class SearchThreshold(_Frozen):
    """The threshold for a share of strangers named; none where the people are too few for it."""

    gallery_faces: int
    budget: float = Field(description="false positive identification rate")
    people_needed: int = Field(description="people who would support it")
    probability: float | None = Field(None, description="name a face at or above it")
    measured: bool = Field(False, description="else extrapolated by the module's rule")
    false_positive_rate: Interval | None = None


class SearchTail(_Frozen):
    """Shares of strangers named in galleries of one size."""

    gallery_faces: int
    points: list[TailPoint] = Field(description="falling rate, rising probability")


class Thresholds(_Frozen):
    """Thresholds of one release, and what they were measured on."""

    data: str = Field(description="which photos, in words")
    people: int
    photos: int
    genuine_pairs: int
    impostor_pairs: int
    pairs: list[PairThreshold]
    search: list[SearchThreshold]
    pair_tail: list[TailPoint]
    search_tails: list[SearchTail] = Field(description="by rising gallery size, the first is 1")
    default_budget: float = Field(description="share of strangers that may be given a name")
    runner_up_margin: float = Field(description="log odds by which the best must lead")
    quality_deciles: list[float] = Field(
        default=[], description="nine values that cut the quality of the photos' faces into tenths"
    )

    def for_search(self, budget: float, gallery_faces: int) -> float:
        """Return the threshold for naming faces against a gallery of `gallery_faces` faces.

        At most a share `budget` of strangers then has a pair at or above it (see the module).

        Raises:
            UsageError: `budget` is not between 0 and 1, the people measured are too few to speak
                for it, or the gallery is empty.
        """
        check_budget(budget)
        if gallery_faces < 1:
            raise UsageError(
                f"A gallery of {gallery_faces} faces cannot be searched; enrol people."
            )
        if self.people < people_for_search(budget):
            raise UsageError(refused_budget(budget, self.people, self.data))
        return as_threshold(search_log_odds(self.search_tails, budget, gallery_faces))

    def search_is_measured(self, budget: float, gallery_faces: int) -> bool:
        """Whether `for_search` interpolates what was measured rather than extrapolating."""
        sizes = [tail.gallery_faces for tail in self.search_tails]
        reach = next((n for n in sizes if n >= gallery_faces), None)
        if reach is None:
            return False
        smallest = self.search_tails[sizes.index(reach)].points[-1].rate
        return budget >= smallest * (1 - 1e-9)

    def for_pairs(self, far: float) -> float:
        """Return the threshold at a false accept rate a pair.

        Raises:
            UsageError: `far` is not between 0 and 1, or the people measured are too few for it.
        """
        check_budget(far)
        if self.people < people_for_pairs(far):
            raise UsageError(refused_rate(far, self.people, self.data))
        return as_threshold(log_odds_at(self.pair_tail, far))


def search_log_odds(tails: Sequence[SearchTail], budget: float, gallery_faces: int) -> float:
    """Return the threshold's log odds, inf where no name can be given, by the module's rule."""
    sizes = [tail.gallery_faces for tail in tails]
    if gallery_faces >= sizes[-1]:
        return log_odds_at(tails[-1].points, budget * sizes[-1] / gallery_faces)
    above = int(np.searchsorted(sizes, gallery_faces, side="right"))
    low, high = (log_odds_at(tails[i].points, budget) for i in (above - 1, above))
    if math.isinf(high):
        return math.inf
    step = math.log(gallery_faces / sizes[above - 1]) / math.log(sizes[above] / sizes[above - 1])
    return low + step * (max(high, low) - low)


def check_budget(budget: float) -> None:
    """Raise UsageError unless `budget` lies between 0 and 1."""
    if not 0 < budget < 1:
        raise UsageError(f"budget {budget} is wrong: a share of strangers, between 0 and 1.")


def refused_budget(budget: float, people: int, data: str) -> str:
    """Return why `people` people cannot speak for a search budget, and what would."""
    needed = people_for_search(budget)
    return (
        f"a budget of {budget:g} cannot be promised on {data}: even if none of {people:,} people "
        f"were named, {smallest_search_budget(people):.2g} of strangers could be; it takes "
        f"{needed:,} people ({people_pairs(needed):,} pairs of people). Calibrate on more people, "
        f"or allow {round_up(smallest_search_budget(people))}."
    )


def refused_rate(far: float, people: int, data: str) -> str:
    """Return why `people` people cannot speak for a pair's false accept rate, and what would."""
    needed = people_for_pairs(far)
    return (
        f"a false accept rate of {far:g} a pair is not supported by {data} "
        f"({people_pairs(people):,} pairs of people); it takes {needed:,} people "
        f"({people_pairs(needed):,} pairs). Calibrate on more people, or allow "
        f"{round_up(smallest_pair_rate(people))}."
    )


def round_up(rate: float) -> str:
    """Return `rate` with two digits, never below it."""
    digits: Literal[2] = 2
    places = digits - 1 - math.floor(math.log10(rate))
    return f"{min(math.ceil(rate * 10**places - 1e-9) / 10**places, 1.0):g}"
