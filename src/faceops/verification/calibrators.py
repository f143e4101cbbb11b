"""Calibration methods: Platt scaling, temperature scaling and isotonic regression.

Each is fitted to a table of scores in which genuine pairs together weigh as much as impostor
pairs, so probabilities hold where half of the pairs are genuine.
"""

from typing import NamedTuple

import numpy as np

from faceops.verification.score_table import ScoreTable

# A steeper map would amplify the rounding of a float32 logit beyond 1e-5 in probability.
MAX_SLOPE = 4.0
MIN_STEP = 1e-3
SCALES = (1e-3, 1e3)  # of a temperature


def mean_loss(table: ScoreTable, logit: np.ndarray, high: float = 1, low: float = 0) -> float:
    """Return the log loss, in nats, of `logit` (S,) for the targets `high` and `low`."""
    one, two = table.weights
    softplus = np.logaddexp(0, logit)
    return float((one * (softplus - high * logit) + two * (softplus - low * logit)).sum())


def _targets(table: ScoreTable) -> tuple[float, float]:
    """Return Platt's targets of genuine and impostor pairs, near 1 and 0."""
    return (table.genuine.sum() + 1) / (table.genuine.sum() + 2), 1 / (table.impostor.sum() + 2)


def platt(table: ScoreTable) -> tuple[float, float]:
    """Return (scale, bias) so that sigmoid(scale * score + bias) is a probability (Platt 1999).

    His targets keep the result finite for separable scores. Newton's method on the two
    parameters, with a line search; the scores are standardised first.
    """
    pairs = table.genuine + table.impostor
    centre = np.average(table.score, weights=pairs)
    spread = float(np.sqrt(np.average((table.score - centre) ** 2, weights=pairs))) or 1.0
    x = (table.score - centre) / spread
    one, two = table.weights
    high, low = _targets(table)
    features = np.stack([x, np.ones_like(x)])
    values = np.array([1.0, 0.0])

    def loss(values: np.ndarray) -> float:
        return mean_loss(table, values @ features, high, low)

    for _ in range(100):
        p = 0.5 * (1 + np.tanh((values @ features) / 2))
        gradient = features @ (one * (p - high) + two * (p - low))
        hessian = (features * ((one + two) * p * (1 - p))) @ features.T
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        size, before = 1.0, loss(values)
        while size > 1e-6 and loss(values - size * step) > before:
            size /= 2
        values = values - size * step
        if np.abs(step).max() * size < 1e-10:
            break
    scale, bias = values
    return float(scale / spread), float(bias - scale * centre / spread)


def temperature(table: ScoreTable) -> float:
    """Return 1 / T so that sigmoid(logit / T) has the least log loss (Guo et al. 2017).

    The bias stays that of the layer fitted to training people. Targets are Platt's, the result is
    within `SCALES`.
    """
    one, two = table.weights
    high, low = _targets(table)
    lowest, highest = np.log(SCALES)
    for _ in range(60):  # the loss is convex in the scale: bisect its slope
        middle = (lowest + highest) / 2
        p = 0.5 * (1 + np.tanh(np.exp(middle) * table.score / 2))
        slope = float(((one * (p - high) + two * (p - low)) * table.score).sum())
        lowest, highest = (lowest, middle) if slope > 0 else (middle, highest)
    return float(np.exp((lowest + highest) / 2))


class IsotonicBlock(NamedTuple):
    """A stretch of logits over which the share of genuine pairs does not rise."""

    centre: float  # mean logit
    genuine: float  # weight, with the added pair
    impostor: float
    weight: float  # of all pairs, without those added

    @property
    def log_odds(self) -> float:
        """Of a genuine pair, for equal priors."""
        return float(np.log(self.genuine / self.impostor))


def isotonic(table: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """Return (knots, log odds), float32 (K,), strictly rising, for a table of logits.

    Centred isotonic regression (Oron & Flournoy 2017): each block of adjacent violators gives one
    knot at its mean logit, and log odds are interpolated between knots, so no two logits become
    equal. Blocks closer than `MAX_SLOPE` allows are merged. K may be 1.
    """
    kept: list[IsotonicBlock] = []
    for block in pool_adjacent_violators(table):
        kept.append(block)
        while len(kept) > 1 and _too_steep(kept[-2], kept[-1]):
            kept.append(_merged(kept.pop(), kept.pop()))
    knots = np.array([block.centre for block in kept])
    log_odds = np.array([block.log_odds for block in kept])
    return knots.astype(np.float32), log_odds.astype(np.float32)


def pool_adjacent_violators(table: ScoreTable) -> list[IsotonicBlock]:
    """Return the blocks, by rising logit and rising odds (Ayer et al. 1955).

    One more genuine pair at the lowest logit, and one more impostor pair at the highest, keep the
    probabilities from 0 and 1.
    """
    from scipy.optimize import isotonic_regression

    genuine, impostor = table.genuine.copy(), table.impostor.copy()
    genuine[0] += 1
    impostor[-1] += 1
    one, two = 0.5 * genuine / genuine.sum(), 0.5 * impostor / impostor.sum()
    starts = isotonic_regression(one / (one + two), weights=one + two).blocks[:-1]
    seen = sum(table.weights)
    columns = [np.add.reduceat(part, starts) for part in (seen * table.score, one, two, seen)]
    return [
        IsotonicBlock(total / weight, genuine, impostor, weight)
        for total, genuine, impostor, weight in zip(*columns, strict=True)
    ]


def _too_steep(left: IsotonicBlock, right: IsotonicBlock) -> bool:
    run, rise = right.centre - left.centre, right.log_odds - left.log_odds
    return run < MIN_STEP or rise < MIN_STEP or rise > MAX_SLOPE * run


def _merged(a: IsotonicBlock, b: IsotonicBlock) -> IsotonicBlock:
    weight = a.weight + b.weight
    centre = (a.centre * a.weight + b.centre * b.weight) / weight
    return IsotonicBlock(centre, a.genuine + b.genuine, a.impostor + b.impostor, weight)
