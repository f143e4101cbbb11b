"""The linear layer, its losses and signs, and the choice between it and the plain distance."""

import numpy as np
import pytest

from faceops.base.figures import threshold_at
from faceops.config.sections import Verify
from faceops.verification.fit import Loss, accept_rate_gain, fit_layer, fit_verifier, objective
from faceops.verification.pairs import PairScores, all_pair_scores, codes, genuine_pairs
from tests.verification.population import unit_rows

LOSSES: list[Loss] = ["cross_entropy", "mean_squared_error"]


def labelled(seed: int, count: int = 400, size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Squared differences of which every second dimension says nothing, and who is the same."""
    draw = np.random.default_rng(seed)
    same = np.arange(count) < count // 3
    spread = np.where(same[:, None] & (np.arange(size) % 2 == 0), 0.5, 1.0)
    return (draw.normal(size=(count, size)) * spread).astype(np.float32) ** 2, same


@pytest.mark.parametrize("loss", LOSSES)
def test_objective_equals_a_loop_over_pairs_and_its_gradient_finite_differences(loss):
    squared, same = labelled(2, 30)
    function = objective(squared, same, 0.7, 3.0, loss)
    relative, bias = np.linspace(0.5, 1.5, 6), 0.8
    total = 0.01 * 3.0 * ((relative - 1) ** 2).mean()
    for row, one in zip(squared.astype(float), same, strict=True):
        p = 1 / (1 + np.exp(-(bias - 0.7 * (row @ relative))))
        error = -np.log(p if one else 1 - p) if loss == "cross_entropy" else (p - one) ** 2
        total += error * 0.5 / (10 if one else 20)
    value, gradient = function(np.append(relative, bias))
    assert value == pytest.approx(total)
    for k, step in enumerate(1e-5 * np.eye(7)):
        at = np.append(relative, bias)
        slope = (function(at + step)[0] - function(at - step)[0]) / 2e-5
        assert gradient[k] == pytest.approx(slope, abs=1e-8)


def test_signs_are_free_only_without_constraints():
    draw = np.random.default_rng(4)
    squared = draw.random((500, 2)).astype(np.float32)
    same = squared[:, 1] - squared[:, 0] + 0.1 * draw.normal(size=500) > 0.3
    weight, bias = fit_layer(squared, same, l2=1e-4, sign_constraints=False)
    assert weight[1] > 0 > weight[0]
    assert bias < 0
    weight, bias = fit_layer(squared, same, l2=1e-4)
    assert weight[1] == 0
    assert bias >= 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("signs", [True, False])
@pytest.mark.parametrize(
    ("squared", "same"),
    [
        (np.repeat([[0.0, 0.1], [4.0, 5.0]], 50, axis=0), np.arange(100) < 50),  # separable
        (np.ones((40, 2)), np.arange(40) < 20),  # constant
        (np.zeros((40, 2)), np.arange(40) < 20),  # identical
        (np.array([[0.5, 0.1], [0.2, 0.9]]), np.array([True, False])),  # one pair of each
    ],
)
def test_degenerate_pairs_give_finite_weights(squared, same, loss, signs):
    weight, bias = fit_layer(
        squared.astype(np.float32), same, l2=1.0, loss=loss, sign_constraints=signs
    )
    assert np.isfinite([*weight, bias]).all()
    assert np.abs(weight).max() < 1e4


@pytest.mark.parametrize(
    ("spread", "kind"),
    [(np.where(np.arange(32) < 16, 0.15, 1.2), "linear"), (np.full(32, 0.7), "distance")],
)
def test_linear_verifier_is_kept_only_where_dimensions_differ(spread, kind):
    train, val = unit_rows(0, 150, 6, spread), unit_rows(1, 60, 6, spread)
    fit = fit_verifier(*train, *val, Verify(pairs=6000, far_budgets=[0.01], seed=0))
    weight = fit.verifier.weight
    assert fit.verifier.kind == kind
    if kind == "linear":
        assert fit.gain.gain > 0.02
        assert (weight <= 0).all()
        assert abs(weight[:16].mean()) > 2 * abs(weight[16:].mean())
    else:
        assert np.ptp(weight) == 0
    scores = all_pair_scores(*val, fit.verifier)
    np.testing.assert_allclose(fit.scores.genuine, scores.genuine, atol=1e-5)
    np.testing.assert_allclose(fit.scores.impostor, scores.impostor, atol=1e-5)


PERSONS = np.repeat([f"p{i:02}" for i in range(40)], np.arange(40) % 5 + 1)


def drawn_scores(seed: int, shift: float, decimals: int = 7) -> PairScores:
    draw = np.random.default_rng(seed)
    one = len(genuine_pairs(PERSONS))
    two = len(PERSONS) * (len(PERSONS) - 1) // 2 - one
    genuine, impostor = draw.normal(shift, 1, one), draw.normal(0, 1, two)
    parts = (part.round(decimals).astype(np.float32) for part in (genuine, impostor))
    return PairScores(*parts)


@pytest.mark.parametrize("decimals", [7, 0])
@pytest.mark.parametrize("far", [0.0, 0.001, 0.01, 0.3])
def test_rates_are_those_at_the_threshold_rule(far, decimals):
    new, old = drawn_scores(0, 2, decimals), drawn_scores(1, 1.5, decimals)
    found = accept_rate_gain(new, old, PERSONS, far, repeats=2)
    for rate, part in zip(found.rates, (new, old), strict=True):
        cut = threshold_at(np.sort(part.impostor)[::-1], far)
        assert rate == (part.genuine >= np.float32(cut)).mean()


def test_resample_is_that_of_copied_people():
    part = drawn_scores(2, 1.5)
    draw = np.random.default_rng(0)
    times = np.bincount(draw.integers(0, 40, 40), minlength=40)
    person = codes(PERSONS)
    genuine = np.repeat(part.genuine, times[person[genuine_pairs(PERSONS)[:, 0]]])
    first, second = np.triu_indices(len(person), 1)
    two = person[first] != person[second]
    copies = times[person[first[two]]] * times[person[second[two]]]
    impostor = np.repeat(part.impostor, copies)
    cut = threshold_at(np.sort(impostor)[::-1], 0.02)
    found = accept_rate_gain(part, part, PERSONS, 0.02, seed=0, repeats=1)
    assert found.resampled[0, 0] == pytest.approx((genuine >= np.float32(cut)).mean())


def test_better_score_gains_surely_and_an_equal_one_does_not():
    good, poor = drawn_scores(3, 3.5), drawn_scores(3, 1.5)
    found = accept_rate_gain(good, poor, PERSONS, 0.01)
    assert found.gain > 0.3
    low, high = found.interval().values()
    assert 0 < low < found.low < found.gain < high
    same = accept_rate_gain(good, good, PERSONS, 0.01)
    assert (same.gain, same.low) == (0, 0)
    assert found.resampled[:, 0].tolist() == same.resampled[:, 1].tolist()
