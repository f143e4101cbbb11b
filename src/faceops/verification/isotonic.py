"""Isotonic calibration that stays strictly increasing."""

from typing import NamedTuple

import numpy as np

from faceops.verification.score_table import ScoreTable

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
