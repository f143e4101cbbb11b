"""When a face gets the name of the best person: one rule, where photos are named and evaluated."""

from dataclasses import dataclass

import numpy as np

from faceops.verification.album import required_lead
from faceops.verification.verifier import clipped_log_odds, reaches


@dataclass(frozen=True)
class NamingLimits:
    """The limits on scores: probabilities, or log odds if scores are normalised in an album.

    Attributes:
        probability: the threshold, smallest probability of the best person.
        margin: smallest lead over the runner-up, in log odds; see `required_lead` too.
        log_odds: the same threshold, if scores are normalised; it decides then.
        usual_log_odds: that of the default budget, likewise, which `required_lead` is measured
            from: else a larger budget would leave more faces ambiguous.
    """

    probability: float
    margin: float
    log_odds: float | None = None
    usual_log_odds: float | None = None

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
        result: np.ndarray = led | alone
        return result
