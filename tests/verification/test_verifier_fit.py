"""Pairs, calibration, and the choice between the fitted verifier and the plain distance."""

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Verify
from faceops.verification.fit import fit_verifier
from faceops.verification.pairs import (
    all_pair_scores,
    balanced_pairs,
    codes,
    genuine_pairs,
    impostors_at,
)
from faceops.verification.verifier import Verifier


def people(
    draw: np.random.Generator, count: int, photos: int, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised vectors around a centre a person, with its own spread in each dimension."""
    centres = np.repeat(draw.normal(size=(count, len(spread))), photos, axis=0)
    rows = centres + draw.normal(size=centres.shape) * spread
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.repeat([f"P{i:03}" for i in range(count)], photos)


def test_genuine_pairs_are_those_of_a_double_loop() -> None:
    persons = np.array(["b", "a", "b", "c", "a", "b"])
    wanted = [(i, j) for i in range(6) for j in range(i + 1, 6) if persons[i] == persons[j]]
    assert [tuple(pair) for pair in genuine_pairs(persons)] == wanted


@pytest.mark.parametrize("hard", [0.0, 0.5])
def test_balanced_pairs_are_balanced_right_and_without_repeats(hard: float) -> None:
    rows, persons = people(np.random.default_rng(0), 20, 4, np.full(8, 0.5))
    pairs = balanced_pairs(persons, 100, 1, rows, hard)
    assert pairs.same.sum() == 50
    assert len(pairs.same) == 100
    np.testing.assert_array_equal(persons[pairs.first] == persons[pairs.second], pairs.same)
    assert len(np.unique(np.sort([pairs.first, pairs.second], axis=0), axis=1).T) == 100
    again = balanced_pairs(persons, 100, 1, rows, hard)
    np.testing.assert_array_equal(pairs.first, again.first)


def test_hard_pairs_are_closer_than_random_ones() -> None:
    rows, persons = people(np.random.default_rng(0), 50, 4, np.full(8, 0.3))

    def closeness(share: float) -> float:
        pairs = balanced_pairs(persons, 200, 1, rows, share)
        two = ~pairs.same
        return float((rows[pairs.first[two]] * rows[pairs.second[two]]).sum(1).mean())

    assert closeness(1.0) > closeness(0.0) + 0.3


@pytest.mark.parametrize("persons", [["a", "b", "c"], ["a", "a"], []])
def test_people_without_pairs_are_refused(persons: list[str]) -> None:
    with pytest.raises(FaceOpsError, match="two people or more"):
        balanced_pairs(np.array(persons), 10, 0)


@pytest.mark.parametrize("limit", [10**9, 200])
@pytest.mark.parametrize("log_odds", [False, True])
def test_all_pair_scores_are_those_of_a_double_loop(limit: int, log_odds: bool) -> None:
    rows, persons = people(np.random.default_rng(2), 10, 3, np.full(6, 0.5))
    verifier = Verifier(np.full(6, -1, np.float32), 0.5, "distance")
    scores = all_pair_scores(rows, persons, verifier, log_odds=log_odds, limit=limit)
    score = verifier.logit if log_odds else verifier.probability
    same, other = [], []
    for i in range(30):
        for j in range(i + 1, 30):
            kind = same if persons[i] == persons[j] else other
            kind.append(float(score(rows[i], rows[j])))
    np.testing.assert_allclose(scores.genuine, same, atol=1e-6)
    assert scores.sampled == (limit == 200)
    if not scores.sampled:
        np.testing.assert_allclose(scores.impostor, other, atol=1e-6)
    else:  # six photos met all others: no pair twice
        assert 6 * 24 < len(scores.impostor) < len(other)
        assert len(np.unique(scores.impostor)) == len(scores.impostor)


@pytest.mark.parametrize("limit", [10**9, 200])
def test_positions_in_the_scan_name_their_pairs(limit: int) -> None:
    rows, persons = people(np.random.default_rng(3), 10, 3, np.full(6, 0.5))
    verifier = Verifier(np.full(6, -1, np.float32), 0.5, "distance")
    scores = all_pair_scores(rows, persons, verifier, limit=limit).impostor
    first, second = impostors_at(np.arange(0, len(scores), 7), codes(persons), limit=limit)
    assert (persons[first] != persons[second]).all()
    found = verifier.probability(rows[first], rows[second])
    np.testing.assert_allclose(found, scores[::7], atol=1e-6)


def fitted(spread: np.ndarray, seed: int = 0) -> tuple[str, np.ndarray, float]:
    draw = np.random.default_rng(seed)
    train, train_persons = people(draw, 150, 6, spread)
    val, val_persons = people(draw, 60, 6, spread)
    settings = Verify(pairs=6000, far_budgets=[0.01], seed=seed)
    fit = fit_verifier(train, train_persons, val, val_persons, settings)
    scores = all_pair_scores(val, val_persons, fit.verifier)
    np.testing.assert_allclose(fit.scores.genuine, scores.genuine, atol=1e-5)
    np.testing.assert_allclose(fit.scores.impostor, scores.impostor, atol=1e-5)
    return fit.verifier.kind, fit.verifier.weight, fit.gain.gain


def test_linear_verifier_is_kept_where_dimensions_differ_in_worth() -> None:
    spread = np.where(np.arange(32) < 16, 0.15, 1.2)
    kind, weight, gain = fitted(spread)
    assert kind == "linear"
    assert gain > 0.02
    assert (weight <= 0).all()
    assert abs(weight[:16].mean()) > 2 * abs(weight[16:].mean())


def test_plain_distance_is_kept_where_all_dimensions_are_alike() -> None:
    kind, weight, _ = fitted(np.full(32, 0.7))
    assert kind == "distance"
    assert np.ptp(weight) == 0


def test_probabilities_are_calibrated_on_unseen_people() -> None:
    draw = np.random.default_rng(5)
    spread = np.full(32, 0.9)
    train, val, test = (people(draw, 80, 5, spread) for _ in range(3))
    fit = fit_verifier(*train, *val, Verify(pairs=4000, far_budgets=[0.01], seed=0))
    pairs = balanced_pairs(test[1], 1600, 0)
    probability = fit.verifier.probability(test[0][pairs.first], test[0][pairs.second])
    middle = (probability > 0.3) & (probability < 0.7)
    assert abs(probability.mean() - 0.5) < 0.03
    assert abs(pairs.same[middle].mean() - probability[middle].mean()) < 0.15
