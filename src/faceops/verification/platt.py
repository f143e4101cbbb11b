"""Platt scaling: from a score to a probability."""

import numpy as np


def platt(genuine: np.ndarray, impostor: np.ndarray) -> tuple[float, float]:
    """Return (scale, bias) so that sigmoid(scale * score + bias) is a probability.

    `genuine`, `impostor` are scores of pairs of one person and of two, float (N,), (M,); both
    kinds weigh the same, so the probability holds where half of the pairs show one person.
    Targets are pulled in from 0 and 1 as Platt (1999) does, so separable scores stay finite.
    Newton's method on the two parameters; the scores are standardised first.
    """
    scores = np.concatenate([genuine, impostor]).astype(np.float64)
    centre, spread = scores.mean(), scores.std() or 1.0
    x = (scores - centre) / spread
    n, m = len(genuine), len(impostor)
    target = np.concatenate([np.full(n, (n + 1) / (n + 2)), np.full(m, 1 / (m + 2))])
    weight = np.concatenate([np.full(n, 0.5 / n), np.full(m, 0.5 / m)])
    scale, bias = 1.0, 0.0

    def loss(scale: float, bias: float) -> float:
        z = scale * x + bias
        return float((weight * (np.logaddexp(0, z) - target * z)).sum())

    for _ in range(100):
        z = scale * x + bias
        p = 0.5 * (1 + np.tanh(z / 2))
        error = weight * (p - target)
        curve = weight * p * (1 - p)
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
    return scale / spread, bias - scale * centre / spread
