"""Platt scaling: from a score to a probability."""

from typing import NamedTuple

import numpy as np

from faceops.verification.score_table import ScoreTable, score_table


def platt(genuine: np.ndarray, impostor: np.ndarray) -> tuple[float, float]:
    """Return (scale, bias) so that sigmoid(scale * score + bias) is a probability.

    `genuine`, `impostor` are scores of pairs of one person and of two, float (N,), (M,); both
    kinds weigh the same, so the probability holds where half of the pairs show one person.
    """
    return platt_of(score_table(genuine, impostor))


def targets(table: ScoreTable) -> tuple[float, float]:
    """Return the targets of pairs of one person and of two: 1 and 0, pulled in as Platt's are."""
    return (table.genuine.sum() + 1) / (table.genuine.sum() + 2), 1 / (table.impostor.sum() + 2)


def mean_loss(table: ScoreTable, logit: np.ndarray, high: float = 1, low: float = 0) -> float:
    """Return the log-loss, in nats, of `logit` (S,) for the targets `high` and `low`."""
    one, two = table.weights
    softplus = np.logaddexp(0, logit)
    return float((one * (softplus - high * logit) + two * (softplus - low * logit)).sum())


def platt_of(table: ScoreTable) -> tuple[float, float]:
    """Return (scale, bias) for a table of scores, as `platt`.

    Targets are pulled in from 0 and 1 as Platt (1999) does, so separable scores stay finite.
    Newton's method on the two parameters; the scores are standardised first.
    """
    pairs = table.genuine + table.impostor
    centre = np.average(table.score, weights=pairs)
    spread = float(np.sqrt(np.average((table.score - centre) ** 2, weights=pairs))) or 1.0
    x = (table.score - centre) / spread
    one, two = table.weights
    high, low = targets(table)
    scale, bias = 1.0, 0.0

    def loss(scale: float, bias: float) -> float:
        return mean_loss(table, scale * x + bias, high, low)

    for _ in range(100):
        p = 0.5 * (1 + np.tanh((scale * x + bias) / 2))
        error = one * (p - high) + two * (p - low)
        curve = (one + two) * p * (1 - p)
        gradient = np.array([(error * x).sum(), error.sum()])
        hessian = np.array(
            [[(curve * x * x).sum(), (curve * x).sum()], [(curve * x).sum(), curve.sum()]]
        )
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        size, before = 1.0, loss(scale, bias)
        while size > 1e-6 and loss(scale - size * step[0], bias - size * step[1]) > before:
            size /= 2
        scale, bias = scale - size * step[0], bias - size * step[1]
        if np.abs(step).max() * size < 1e-10:
            break
    return float(scale / spread), float(bias - scale * centre / spread)


# A steeper map would blow up the rounding of a float32 logit beyond 1e-5 in probability.
MAX_SLOPE = 4.0
_MIN_STEP = 1e-3


def isotonic(table: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """Return (knots, log odds), float32 (K,), strictly rising, for a table of logits.

    Pool adjacent violators (Ayer et al. 1955), then centred isotonic regression (Oron &
    Flournoy 2017): each block stands for its mean logit alone, and between the centres the log
    odds are interpolated, so no two logits become equal. Blocks closer than `MAX_SLOPE` allows
    are pooled too. Both kinds of pairs weigh the same. One pair of one person more at the lowest
    logit, and one of two people more at the highest, keep the ends from 0 and 1, as Platt's
    targets do. K may be 1, where the pairs say nothing more.
    """
    kept: list[Block] = []
    for block in pool(table):
        kept.append(block)
        while len(kept) > 1 and _too_steep(kept[-2], kept[-1]):
            kept.append(_pooled(kept.pop(), kept.pop()))
    knots = np.array([block.centre for block in kept])
    log_odds = np.array([block.log_odds for block in kept])
    return knots.astype(np.float32), log_odds.astype(np.float32)


class Block(NamedTuple):
    """A stretch of logits over which the share of one person's pairs does not rise."""

    centre: float  # mean logit
    one: float  # weight of pairs of one person, the added one included
    two: float  # weight of pairs of two people
    mass: float  # weight of all pairs, without those added

    @property
    def log_odds(self) -> float:
        """Of one person, for even odds."""
        return float(np.log(self.one / self.two))


def pool(table: ScoreTable) -> list[Block]:
    """Return the blocks of adjacent violators, by rising logit and rising odds."""
    from scipy.optimize import isotonic_regression

    genuine, impostor = table.genuine.copy(), table.impostor.copy()
    genuine[0] += 1
    impostor[-1] += 1
    one, two = 0.5 * genuine / genuine.sum(), 0.5 * impostor / impostor.sum()
    starts = isotonic_regression(one / (one + two), weights=one + two).blocks[:-1]
    seen = sum(table.weights)
    columns = [np.add.reduceat(part, starts) for part in (seen * table.score, one, two, seen)]
    return [Block(total / mass, a, b, mass) for total, a, b, mass in zip(*columns, strict=True)]


def _too_steep(left: Block, right: Block) -> bool:
    run, rise = right.centre - left.centre, right.log_odds - left.log_odds
    return run < _MIN_STEP or rise < _MIN_STEP or rise > MAX_SLOPE * run


def _pooled(a: Block, b: Block) -> Block:
    mass = a.mass + b.mass
    centre = (a.centre * a.mass + b.centre * b.mass) / mass
    return Block(centre, a.one + b.one, a.two + b.two, mass)


SCALES = (1e-3, 1e3)


def temperature(table: ScoreTable) -> float:
    """Return 1 / T so that sigmoid(logit / T) has the least log-loss on a table of logits.

    Guo et al. (2017) divide the logits of a trained network, its bias included, by one number.
    Here they are those of the layer as fitted to training people: where it is undecided stays
    where it is, people held out say only how sure it may be elsewhere. Both kinds of pairs
    weigh the same, targets are pulled in as Platt's are, and the scale is within `SCALES`.
    """
    one, two = table.weights
    high, low = targets(table)
    lowest, highest = np.log(SCALES)
    for _ in range(60):  # the loss is convex in the scale: halve where its slope changes sign
        middle = (lowest + highest) / 2
        p = 0.5 * (1 + np.tanh(np.exp(middle) * table.score / 2))
        slope = float(((one * (p - high) + two * (p - low)) * table.score).sum())
        lowest, highest = (lowest, middle) if slope > 0 else (middle, highest)
    return float(np.exp((lowest + highest) / 2))
