"""Fit the weights of the linear verifier on pairs of training people."""

import numpy as np

from faceops.verification.platt import platt


def fit_weights(squared: np.ndarray, same: np.ndarray, l2: float) -> np.ndarray:
    """Return weights float32 (D,), none above 0, for squared differences float32 (N, D).

    Minimises the cross-entropy of `same` bool (N,) plus l2 times the mean squared relative
    deviation of the weights from those of the plain distance (all alike, at the scale that
    fits best), in hundredths of a nat. That pull decides where pairs say little: with few
    people the fit stays near the plain distance. Weights above 0 are not allowed, as no
    difference makes two faces more alike. Convex; L-BFGS-B, so the result is reproducible.
    """
    from scipy.optimize import minimize

    features = squared.astype(np.float64)
    distance = features.sum(1)
    scale, bias = platt(-distance[same], -distance[~same])
    scale = max(scale, 1e-3)
    target = same.astype(np.float64)
    weight = np.where(same, 0.5 / max(same.sum(), 1), 0.5 / max((~same).sum(), 1))
    size = features.shape[1]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        relative, shift = values[:-1], values[-1]
        z = shift - scale * (features @ relative)
        p = 0.5 * (1 + np.tanh(z / 2))
        error = weight * (p - target)
        pull = relative - 1
        value = (weight * (np.logaddexp(0, z) - target * z)).sum()
        value += 0.01 * l2 * (pull @ pull) / size
        gradient = np.append(-scale * (error @ features) + 0.02 * l2 * pull / size, error.sum())
        return float(value), gradient

    start = np.append(np.ones(size), bias)
    bounds = [(0.0, None)] * size + [(None, None)]
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
    return (-scale * found.x[:-1]).astype(np.float32)
