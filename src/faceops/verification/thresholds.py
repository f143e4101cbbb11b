"""Thresholds on the probability of a pair, each for a budget of errors.

The rule. A pair is accepted when its probability is at least the threshold. For a pair false
accept rate f, the threshold is the smallest float32 at which no more than a share f of the
measured impostor pairs is accepted; tied scores are accepted or refused together. A rate is
*supported* when at least ten measured impostor pairs are expected above its threshold
("rule of 30" of Doddington et al. 2000, relaxed: ten errors give about +-60 % at 95 %).

Search. A stranger compared with n gallery faces is given a name when any of the n pairs is
accepted. With independent pairs that has the probability 1 - (1 - f)^n, so the budget b of
strangers given a name allows f = 1 - (1 - b)^(1/n) a pair (ISO/IEC 19795-1, false positive
identification rate). Faces of one gallery person resemble each other, which only lowers the
true share: the rule errs on the safe side. Rates beyond the measured tail are extrapolated by
the slope of the last measured decade, in log odds over log rate; score tails that fall off
faster than exponentially, as those of distances do, are again over-estimated.
"""

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from faceops.embedding.accept_rates import allowed_false_accepts
from faceops.errors import FaceOpsError, UsageError

SUPPORTING_PAIRS = 10
_PER_DECADE = 8
_CLIP = 1e-9


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ThresholdRow(_Frozen):
    """The threshold for one budget of errors."""

    budget_kind: str = Field(description="pair_far: false accepts a pair of two people")
    budget: float
    probability: float = Field(description="accept a pair at or above it")
    true_accept_rate: float = Field(description="share of pairs of one person accepted at it")
    supported: bool = Field(description="at least ten impostor pairs expected above it")
    pairs_needed: int = Field(description="impostor pairs that would support it")


class TailPoint(_Frozen):
    """A point of the impostors' distribution: a share `far` reaches `probability`."""

    far: float
    probability: float


class Thresholds(_Frozen):
    """Thresholds of one release, and what they were measured on."""

    data: str = Field(description="which photos, in words")
    people: int
    photos: int
    genuine_pairs: int
    impostor_pairs: int
    table: list[ThresholdRow]
    impostor_tail: list[TailPoint] = Field(description="falling far, rising probability")
    default_budget: float = Field(description="share of strangers that may be given a name")
    runner_up_margin: float = Field(description="log odds by which the best must lead")

    def for_search(self, budget: float, gallery_faces: int) -> float:
        """Return the threshold for naming faces against a gallery of `gallery_faces` faces.

        At most a share `budget` of strangers then has a pair at or above it (see the module).

        Raises:
            UsageError: `budget` is not between 0 and 1, or the gallery is empty.
        """
        return self.for_pairs(_pair_rate(budget, gallery_faces))

    def search_is_measured(self, budget: float, gallery_faces: int) -> bool:
        """Whether `for_search` interpolates measured pairs rather than extrapolating."""
        return _pair_rate(budget, gallery_faces) >= self.impostor_tail[-1].far

    def for_pairs(self, far: float) -> float:
        """Return the threshold at a false accept rate a pair, inter- or extrapolated."""
        log_far = np.log([point.far for point in self.impostor_tail])
        values = np.array([point.probability for point in self.impostor_tail])
        wanted = math.log(far)
        if wanted >= log_far[0]:
            return float(values[0])
        if wanted >= log_far[-1]:
            after = int(np.searchsorted(-log_far, -wanted))
            if values[after] >= 1.0:  # no probability is refused for sure but those above 1
                return float(values[after])
            odds = _logit(values)
            return _sigmoid(float(np.interp(-wanted, -log_far, odds)))
        if values[-1] >= 1.0:
            return float(values[-1])
        odds = _logit(values)
        decade = int(np.argmin(np.abs(log_far - (log_far[-1] + math.log(10)))))
        run = log_far[decade] - log_far[-1]
        slope = (odds[-1] - odds[decade]) / run if run > 0 else 1.0
        return _sigmoid(odds[-1] + slope * (log_far[-1] - wanted))


def _pair_rate(budget: float, gallery_faces: int) -> float:
    if not 0 < budget < 1:
        raise UsageError(f"budget {budget} is wrong: a share of strangers, between 0 and 1.")
    if gallery_faces < 1:
        raise UsageError(f"A gallery of {gallery_faces} faces cannot be searched; enrol people.")
    return -math.expm1(math.log1p(-budget) / gallery_faces)


def _logit(values: np.ndarray) -> np.ndarray:
    clipped = np.clip(values.astype(np.float64), _CLIP, 1 - _CLIP)
    odds: np.ndarray = np.log(clipped) - np.log1p(-clipped)
    return odds


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


def threshold_at(impostor_descending: np.ndarray, far: float) -> float:
    """Return the smallest float32 at or above which at most a share `far` of impostors lies.

    `impostor_descending` is float32 (N,), sorted from high to low; ties fall together.
    """
    allowed = allowed_false_accepts(far, len(impostor_descending))
    if allowed >= len(impostor_descending):
        return 0.0
    first_refused = np.float32(impostor_descending[allowed])
    return float(np.nextafter(first_refused, np.float32(np.inf)))


def measure_thresholds(
    genuine: np.ndarray,
    impostor: np.ndarray,
    *,
    far_budgets: list[float],
    default_budget: float,
    runner_up_margin: float,
    data: str,
    people: int,
    photos: int,
) -> Thresholds:
    """Measure thresholds on probabilities of pairs of one person and of two, float (N,), (M,).

    Raises:
        FaceOpsError: too few pairs to measure anything.
    """
    if len(genuine) < 1 or len(impostor) < SUPPORTING_PAIRS * 2:
        raise FaceOpsError(
            f"{len(genuine)} pairs of one person and {len(impostor)} of two people are too few to "
            f"measure thresholds ({data}); give more people with two or more photos."
        )
    strangers = np.sort(np.asarray(impostor, np.float32))[::-1]
    same = np.asarray(genuine, np.float32)
    rows = []
    for far in sorted(far_budgets, reverse=True):
        probability = threshold_at(strangers, far)
        needed = math.ceil(SUPPORTING_PAIRS / far - 1e-6)
        rows.append(
            ThresholdRow(
                budget_kind="pair_far",
                budget=far,
                probability=probability,
                true_accept_rate=round(float((same >= np.float32(probability)).mean()), 6),
                supported=len(strangers) >= needed,
                pairs_needed=needed,
            )
        )
    return Thresholds(
        data=data,
        people=people,
        photos=photos,
        genuine_pairs=len(same),
        impostor_pairs=len(strangers),
        table=rows,
        impostor_tail=_tail(strangers),
        default_budget=default_budget,
        runner_up_margin=runner_up_margin,
    )


def _tail(strangers: np.ndarray) -> list[TailPoint]:
    last = SUPPORTING_PAIRS / len(strangers)
    rates = [0.9, 0.75]
    steps = np.arange(0, 1000) / _PER_DECADE
    rates += [float(rate) for rate in 0.5 * 10.0**-steps if rate > last * 1.05]
    rates.append(last)
    return [TailPoint(far=rate, probability=threshold_at(strangers, rate)) for rate in rates]
