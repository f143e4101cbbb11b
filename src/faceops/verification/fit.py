"""Fit the pair verifier on training people; calibrate and choose it on validation people."""

from dataclasses import dataclass

import numpy as np

from faceops.verification.linear_fit import fit_weights
from faceops.verification.pairs import (
    PairScores,
    all_pair_scores,
    balanced_pairs,
    codes,
    genuine_pairs,
)
from faceops.verification.platt import platt
from faceops.verification.thresholds import SUPPORTING_PAIRS, threshold_at
from faceops.verification.verifier import Kind, Verifier

HARD_SHARE = 0.25
_BOOTSTRAPS = 500


@dataclass(frozen=True)
class Fit:
    """The chosen verifier and why it was chosen."""

    verifier: Verifier
    scores: PairScores  # of all validation pairs, by the chosen verifier
    compared_at_far: float  # smallest supported false accept rate a pair
    true_accept_rate: dict[str, float]  # by kind, on validation people, at that rate
    gain: float  # of the linear verifier over the plain distance
    gain_low: float  # lower end of its one-sided 95 % interval over people
    training_pairs: int


def fit_verifier(
    train: np.ndarray,
    train_persons: np.ndarray,
    val: np.ndarray,
    val_persons: np.ndarray,
    *,
    pairs: int,
    l2: float,
    far_budgets: list[float],
    seed: int,
) -> Fit:
    """Fit on `train` float32 (N, D), calibrate and choose on `val` float32 (M, D).

    The linear verifier is kept only where it beats the plain distance on validation people: its
    true accept rate, at the smallest false accept rate of `far_budgets` that the validation
    pairs support, is higher with one-sided 95 % confidence (bootstrap over people, the same
    people for both). Otherwise the plain distance stays, which has nothing to over-fit.

    Raises:
        FaceOpsError: a split has too few people or photos for pairs.
    """
    drawn = balanced_pairs(train_persons, pairs, seed, train, HARD_SHARE)
    squared = (train[drawn.first] - train[drawn.second]) ** 2
    plain = np.full(train.shape[1], -1, np.float32)
    balanced_pairs(val_persons, 2, seed)  # raises when there are no pairs at all
    candidates: dict[Kind, tuple[Verifier, PairScores]] = {}
    weights: dict[Kind, np.ndarray] = {
        "distance": plain,
        "linear": fit_weights(squared, drawn.same, l2),
    }
    for kind, weight in weights.items():
        raw = Verifier(weight, 0.0, kind)
        logits = all_pair_scores(val, val_persons, raw.logit, seed=seed)
        scale, bias = platt(logits.genuine, logits.impostor)
        scale = max(scale, 1e-3)
        verifier = Verifier((weight * scale).astype(np.float32), float(np.float32(bias)), kind)
        candidates[kind] = (
            verifier,
            all_pair_scores(val, val_persons, verifier.probability, seed=seed),
        )
    impostors = len(candidates["distance"][1].impostor)
    supported = [far for far in far_budgets if impostors * far >= SUPPORTING_PAIRS]
    far = min(supported, default=max(far_budgets))
    accepted = {
        kind: scores.genuine >= np.float32(threshold_at(np.sort(scores.impostor)[::-1], far))
        for kind, (_, scores) in candidates.items()
    }
    gain, low = _gain(accepted["linear"], accepted["distance"], val_persons, seed)
    chosen: Kind = "linear" if low > 0 else "distance"
    return Fit(
        verifier=candidates[chosen][0],
        scores=candidates[chosen][1],
        compared_at_far=far,
        true_accept_rate={name: float(rows.mean()) for name, rows in accepted.items()},
        gain=gain,
        gain_low=low,
        training_pairs=len(drawn.same),
    )


def _gain(new: np.ndarray, old: np.ndarray, persons: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the mean of new - old over genuine pairs and its lower bound, people resampled."""
    person = codes(persons)[genuine_pairs(persons)[:, 0]]
    difference = np.bincount(person, new.astype(float) - old.astype(float))
    counts = np.bincount(person)
    difference, counts = difference[counts > 0], counts[counts > 0]
    draw = np.random.default_rng(seed)
    drawn = draw.integers(0, len(counts), (_BOOTSTRAPS, len(counts)))
    means = difference[drawn].sum(1) / counts[drawn].sum(1)
    return float(difference.sum() / counts.sum()), float(np.quantile(means, 0.05))
