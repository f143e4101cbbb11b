"""The upper tail of strangers' scores: which threshold keeps which rate.

A tail is a list of points (rate, probability): at `probability` and above lies a share `rate` of
what was measured, pairs or strangers. Between two points the threshold is interpolated linearly
in log odds over log rate. Beyond the last one the slope of the last measured decade goes on;
score tails that fall off faster than exponentially, as those of distances do, are then
over-estimated, so the threshold errs on the strict side.
"""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

PER_DECADE = 8
# Above 1 - 2^-24 float32 knows only 1: a threshold there would let in whatever rounds to it.
LARGEST_LOG_ODDS = math.log(2.0**24 - 1)
NO_NAME = math.nextafter(1.0, 2.0)


class TailPoint(BaseModel):
    """A share `rate` reaches `probability`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float = Field(description="share of pairs or of strangers at or above the probability")
    probability: float


def tail_rates(smallest: float) -> list[float]:
    """Return the rates at which a tail is kept: .9, .75, then eight a decade to `smallest`."""
    rates = [0.9, 0.75, *(10.0 ** -(np.arange(2, 300) / PER_DECADE))]
    return [float(rate) for rate in rates if rate > smallest * 1.05] + [float(smallest)]


def log_odds_at(tail: Sequence[TailPoint], rate: float) -> float:
    """Return the log odds of the threshold that keeps `rate`; inf where none does."""
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
    """Return the probability at `log_odds`; above 1, that is no name, where float32 ends."""
    if log_odds > LARGEST_LOG_ODDS:
        return NO_NAME
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    return math.exp(log_odds) / (1 + math.exp(log_odds))


def log_odds_of(probability: float) -> float:
    """Return ln(p / (1 - p)); inf for 1 and more, the threshold that nothing reaches for sure."""
    if probability >= 1:
        return math.inf
    clipped = max(float(probability), 1e-9)
    return math.log(clipped) - math.log1p(-clipped)
