"""Fit the pair verifier on training people; calibrate and choose it on validation people.

Who is used for what: training people fit the layer's weights; validation people, of whom none
is a training person, choose between it and the plain distance, calibrate it, and later set the
thresholds; test people are seen by none of this.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.config.sections import Verify
from faceops.verification.accept_rate_gain import Gain, accept_rate_gain
from faceops.verification.choose_calibration import Choice, choose_calibration
from faceops.verification.linear_fit import fit_layer
from faceops.verification.pairs import PairScores, all_pair_scores, balanced_pairs
from faceops.verification.support import people_for_pairs
from faceops.verification.verifier import Kind, Verifier


@dataclass(frozen=True)
class Fit:
    """The chosen verifier and why it was chosen."""

    verifier: Verifier
    scores: PairScores  # of all validation pairs, probabilities by the chosen verifier
    gain: Gain  # of the linear verifier over the plain distance, on validation people
    calibration: Choice
    training_pairs: int

    def figures(self) -> dict[str, Any]:
        """Return what the choices were made by, as plain values for verify.json."""
        low, high = self.gain.interval()
        return {
            "kind": self.verifier.kind,
            "training_pairs": self.training_pairs,
            "compared_at_far": self.gain.far,
            "tar": {"linear": self.gain.rates[0], "distance": self.gain.rates[1]},
            "gain": self.gain.gain,
            "gain_interval": {"low": low, "high": high},
            "gain_low": self.gain.low,  # one-sided: the linear verifier is kept where it is above 0
            "calibration": {
                "method": self.calibration.method,
                "folds_of_people": self.calibration.folds,
                "held_out": {
                    method: {"log_loss": worth.log_loss, "expected_error": worth.expected_error}
                    for method, worth in self.calibration.held_out.items()
                },
            },
        }


def fit_verifier(
    train: np.ndarray,
    train_persons: np.ndarray,
    val: np.ndarray,
    val_persons: np.ndarray,
    settings: Verify,
) -> Fit:
    """Fit on `train` float32 (N, D), calibrate and choose on `val` float32 (M, D).

    The linear verifier is kept only where it beats the plain distance on validation people: its
    true accept rate, at the smallest false accept rate of `far_budgets` that the validation
    people support, is higher with one-sided 95 % confidence (bootstrap over people, the same
    people for both). Otherwise the plain distance stays, which has nothing to over-fit.
    Calibration rises strictly, so it comes after that choice and changes nothing about it.

    Raises:
        FaceOpsError: a split has too few people or photos for pairs.
    """
    balanced_pairs(val_persons, 2, settings.seed)  # raises when there are no pairs at all
    layers, training_pairs = fit_layers(train, train_persons, settings)
    logits = {
        kind: all_pair_scores(val, val_persons, layer, log_odds=True, seed=settings.seed)
        for kind, layer in layers.items()
    }
    people = len(np.unique(val_persons))
    supported = [far for far in settings.far_budgets if people >= people_for_pairs(far)]
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
    # No pair is scored twice: the calibrated probabilities follow from the raw logits.
    genuine, impostor = (calibration.map.probability(part) for part in (raw.genuine, raw.impostor))
    scores = PairScores(genuine, impostor, raw.sampled)
    return Fit(verifier, scores, gain, calibration, training_pairs)


def fit_layers(
    train: np.ndarray, persons: np.ndarray, settings: Verify
) -> tuple[dict[Kind, Verifier], int]:
    """Return the uncalibrated verifier of each kind, and the pairs they were fitted on.

    The distance is the same layer with one weight for all dimensions. `train` float32 (N, D).

    Raises:
        FaceOpsError: too few people or photos for pairs.
    """
    drawn = balanced_pairs(
        persons, settings.pairs, settings.seed, train, settings.hard_negative_share
    )
    squared = (train[drawn.first] - train[drawn.second]) ** 2
    distance = squared.sum(1, keepdims=True)
    scale, bias = fit_layer(distance, drawn.same, l2=settings.l2, loss=settings.loss)
    plain = np.full(train.shape[1], min(scale[0], np.float32(-1e-3)), np.float32)
    weight, shift = fit_layer(
        squared,
        drawn.same,
        l2=settings.l2,
        loss=settings.loss,
        sign_constraints=settings.sign_constraints,
    )
    layers: dict[Kind, Verifier] = {
        "distance": Verifier(plain, bias, "distance"),
        "linear": Verifier(weight, shift, "linear"),
    }
    return layers, len(drawn.same)
