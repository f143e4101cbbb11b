"""Fit the pair verifier on training people; calibrate and choose it on validation people.

Training people fit the layer's weights. Validation people choose between the layer and the plain
distance, calibrate it, and later set the thresholds. Test people are not used here.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from faceops.config.sections import Verify
from faceops.verification.calibration import ChosenCalibration, choose_calibration, platt
from faceops.verification.error_rates import ResampledTar, interval_figures, resampled_people
from faceops.verification.pairs import (
    PairScores,
    all_pair_scores,
    balanced_pairs,
    codes,
    genuine_pairs,
    impostors_at,
    score_table,
)
from faceops.verification.thresholds import people_for_far
from faceops.verification.verifier import Kind, Verifier

Loss = Literal["cross_entropy", "mean_squared_error"]
Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


def fit_layer(
    squared: np.ndarray, same: np.ndarray, *, l2: float, loss: Loss = "cross_entropy",
    sign_constraints: bool = True,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Return (weight float32 (D,), bias) for squared differences float32 (N, D).

    Minimises the `loss` of sigmoid(squared @ weight + bias) against `same` bool (N,), genuine and
    impostor pairs weighing the same, plus an `l2` penalty that pulls the weights towards those of
    the plain distance (see `objective`). With `sign_constraints` no weight is positive, and the
    bias is not negative. L-BFGS-B from the plain distance, so the result is reproducible.
    """
    from scipy.optimize import minimize

    distance = squared.sum(1, dtype=np.float64)
    scale, bias = platt(score_table(-distance[same], -distance[~same]))
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
    """Return the function to minimise: value and gradient at (D + 1,) relative weights and bias.

    The layer's weights are -scale x the relative ones, which are 1 for the plain distance. The
    penalty is l2 / 100 times the mean squared deviation of the relative weights from 1.
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


_OVERSAMPLING = 4  # a resample may hold that many times the impostor pairs above the threshold


@dataclass(frozen=True)
class Gain:
    """True accept rates at one false accept rate; [0] of the new score, [1] of the old one."""

    far: float
    rates: tuple[float, float]
    resampled: np.ndarray  # float64 (R, 2): the rates on resampled people

    @property
    def gain(self) -> float:
        return self.rates[0] - self.rates[1]

    @property
    def low(self) -> float:
        """Lower end of the gain's one-sided 95 % interval."""
        return float(np.quantile(self.resampled[:, 0] - self.resampled[:, 1], 0.05))

    def interval(self) -> dict[str, float]:
        """The gain's two-sided 95 % interval."""
        return interval_figures(self.resampled[:, 0] - self.resampled[:, 1])


def accept_rate_gain(
    new: PairScores, old: PairScores, persons: np.ndarray, far: float, *, seed: int = 0,
    repeats: int = 500,
) -> Gain:  # fmt: skip
    """Compare two scores of all pairs of `persons` (N,), by `all_pair_scores` with `seed`.

    Paired bootstrap over people: both scores see the same resamples, and each sets its threshold
    again on their impostor pairs.
    """
    person = codes(persons)
    new_tar, old_tar = (_resampled_tar(scores, person, far, seed) for scores in (new, old))
    genuine = np.bincount(new_tar.person, minlength=len(new_tar.photos))
    resamples = resampled_people(len(genuine), seed, repeats, lambda n: (n * genuine).any())
    resampled = np.array([(new_tar.rate(times), old_tar.rate(times)) for times in resamples])
    once = np.ones(len(genuine))
    return Gain(far, (new_tar.rate(once), old_tar.rate(once)), resampled)


def _resampled_tar(scores: PairScores, person: np.ndarray, far: float, seed: int) -> ResampledTar:
    count = len(scores.impostor)
    kept = min(count, int(_OVERSAMPLING * far * count) + 100)
    cut = np.partition(scores.impostor, count - kept)[count - kept]
    positions = np.flatnonzero(scores.impostor >= cut)
    first, second = impostors_at(positions, person, seed=seed)
    order = np.argsort(-scores.impostor[positions], kind="stable")
    rising = np.argsort(scores.genuine, kind="stable")
    highest = scores.impostor[positions][order]
    refused = np.searchsorted(scores.genuine[rising], highest, side="right")
    photos = np.bincount(person)
    whose = person[genuine_pairs(person)[:, 0]][rising]
    refused = np.append(refused, refused[-1])
    each = (photos.sum() ** 2 - (photos**2).sum()) / 2 / count
    return ResampledTar(
        far, photos, whose, refused, person[first][order], person[second][order], each
    )


@dataclass(frozen=True)
class VerifierFit:
    """The chosen verifier and the measurements behind the choice."""

    verifier: Verifier
    scores: PairScores  # probabilities of all validation pairs by `verifier`
    gain: Gain  # of the linear verifier over the plain distance, on validation people
    calibration: ChosenCalibration
    training_pairs: int

    def figures(self) -> dict[str, Any]:
        """Return the measurements as plain values for verify.json."""
        return {
            "kind": self.verifier.kind,
            "training_pairs": self.training_pairs,
            "compared_at_far": self.gain.far,
            "tar": {"linear": self.gain.rates[0], "distance": self.gain.rates[1]},
            "gain": self.gain.gain,
            "gain_interval": self.gain.interval(),
            "gain_low": self.gain.low,  # one-sided; the linear verifier is kept if it is above 0
            "calibration": {
                "method": self.calibration.method,
                "folds_of_people": self.calibration.folds,
                "held_out": {
                    method: asdict(result) for method, result in self.calibration.held_out.items()
                },
            },
        }


def fit_verifier(
    train: np.ndarray, train_persons: np.ndarray, val: np.ndarray, val_persons: np.ndarray,
    settings: Verify,
) -> VerifierFit:  # fmt: skip
    """Fit on `train` float32 (N, D), choose and calibrate on `val` float32 (M, D).

    The linear verifier is kept only if its true accept rate on validation people is higher than the
    plain distance's with one-sided 95 % confidence (paired bootstrap over people), at the smallest
    false accept rate of `far_budgets` that the validation people support.

    Raises FaceOpsError: a split has too few people or photos for pairs.
    """
    balanced_pairs(val_persons, 2, settings.seed)  # raises if there are no pairs
    layers, training_pairs = fit_layers(train, train_persons, settings)
    logits = {
        kind: all_pair_scores(val, val_persons, layer, log_odds=True, seed=settings.seed)
        for kind, layer in layers.items()
    }
    people = len(np.unique(val_persons))
    supported = [far for far in settings.far_budgets if people >= people_for_far(far)]
    far = min(supported, default=max(settings.far_budgets))
    gain = accept_rate_gain(
        logits["linear"], logits["distance"], val_persons, far, seed=settings.seed
    )
    chosen: Kind = "linear" if gain.low > 0 else "distance"
    raw = logits.pop(chosen)
    logits.clear()
    method = None if settings.calibration == "auto" else settings.calibration
    calibration = choose_calibration(raw, val_persons, method=method, seed=settings.seed)
    verifier = calibration.map.of(layers[chosen])
    # The raw logits give the calibrated probabilities: no pair is scored twice.
    genuine, impostor = (calibration.map.probability(part) for part in (raw.genuine, raw.impostor))
    scores = PairScores(genuine, impostor)
    return VerifierFit(verifier, scores, gain, calibration, training_pairs)


def fit_layers(
    train: np.ndarray, persons: np.ndarray, settings: Verify
) -> tuple[dict[Kind, Verifier], int]:
    """Return the uncalibrated verifier of each kind, and the number of pairs to fit them.

    The distance is the same layer with one weight for all dimensions. `train` float32 (N, D).

    Raises FaceOpsError: too few people or photos for pairs.
    """
    pairs = balanced_pairs(
        persons, settings.pairs, settings.seed, train, settings.hard_negative_share
    )
    squared = (train[pairs.first] - train[pairs.second]) ** 2
    distance = squared.sum(1, keepdims=True)
    scale, bias = fit_layer(distance, pairs.same, l2=settings.l2, loss=settings.loss)
    plain = np.full(train.shape[1], min(scale[0], np.float32(-1e-3)), np.float32)
    signs = settings.sign_constraints
    linear = fit_layer(
        squared, pairs.same, l2=settings.l2, loss=settings.loss, sign_constraints=signs
    )
    layers: dict[Kind, Verifier] = {
        "distance": Verifier(plain, bias, "distance"),
        "linear": Verifier(*linear, "linear"),
    }
    return layers, len(pairs.same)
