"""Fit the linear layer over squared differences on pairs of training people."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from faceops.verification.platt import platt

Loss = Literal["cross_entropy", "mean_squared_error"]
Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


def fit_layer(
    squared: np.ndarray,
    same: np.ndarray,
    *,
    l2: float,
    loss: Loss = "cross_entropy",
    sign_constraints: bool = True,
) -> tuple[np.ndarray, float]:
    """Return (weight float32 (D,), bias) for squared differences float32 (N, D).

    Minimises the `loss` of sigmoid(squared @ weight + bias) against `same` bool (N,), pairs of
    one person and of two weighing the same, plus l2 times the mean squared relative deviation
    of the weights from those of the plain distance (all alike, at the scale that fits best), in
    hundredths. That pull decides where pairs say little: with few people the fit stays near the
    plain distance.

    With `sign_constraints` no weight is above 0, as no difference makes two faces more alike,
    and the bias is not below 0: identical embeddings are at least as likely one person as two.
    Calibration may move the bias later, by what validation people show. L-BFGS-B from the
    plain distance, so the result is reproducible.
    """
    from scipy.optimize import minimize

    distance = squared.sum(1, dtype=np.float64)
    scale, bias = platt(-distance[same], -distance[~same])
    scale = max(scale, 1e-3)
    size = squared.shape[1]
    start = np.append(np.ones(size), max(bias, 0.0) if sign_constraints else bias)
    bounds = [(0.0 if sign_constraints else None, None)] * (size + 1)
    function = objective(squared, same, scale, l2, loss)
    found = minimize(function, start, jac=True, bounds=bounds, method="L-BFGS-B")
    return (-scale * found.x[:-1]).astype(np.float32), float(np.float32(found.x[-1]))


def objective(
    squared: np.ndarray, same: np.ndarray, scale: float, l2: float, loss: Loss
) -> Objective:
    """Return the function to minimise: values and gradient at (D + 1,) relative weights, bias.

    The layer's weights are -scale x the relative ones, which are 1 for the plain distance.
    """
    features = squared.astype(np.float64)
    target = same.astype(np.float64)
    weight = np.where(same, 0.5 / max(same.sum(), 1), 0.5 / max((~same).sum(), 1))
    size = features.shape[1]

    def function(values: np.ndarray) -> tuple[float, np.ndarray]:
        relative, bias = values[:-1], values[-1]
        z = bias - scale * (features @ relative)
        p = 0.5 * (1 + np.tanh(z / 2))
        if loss == "cross_entropy":
            value = (weight * (np.logaddexp(0, z) - target * z)).sum()
            error = weight * (p - target)
        else:
            value = (weight * (p - target) ** 2).sum()
            error = 2 * weight * (p - target) * p * (1 - p)
        pull = relative - 1
        value += 0.01 * l2 * (pull @ pull) / size
        gradient = np.append(-scale * (error @ features) + 0.02 * l2 * pull / size, error.sum())
        return float(value), gradient

    return function
