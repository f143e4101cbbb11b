"""Platt scaling: from a score to a probability."""

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
