"""The linear layer's losses, their gradients and its signs."""

import numpy as np
import pytest

from faceops.verification.fit import Loss, fit_layer, objective

LOSSES: list[Loss] = ["cross_entropy", "mean_squared_error"]


def pairs(seed: int, count: int = 400, size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Squared differences of which every second dimension says nothing, and who is the same."""
    draw = np.random.default_rng(seed)
    same = np.arange(count) < count // 3
    spread = np.where(same[:, None] & (np.arange(size) % 2 == 0), 0.5, 1.0)
    return (draw.normal(size=(count, size)) * spread).astype(np.float32) ** 2, same


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_that_of_finite_differences(loss: Loss) -> None:
    squared, same = pairs(0)
    function = objective(squared, same, scale=0.7, l2=3.0, loss=loss)
    at = np.random.default_rng(1).normal(1, 0.3, 7)
    gradient = function(at)[1]
    for k in range(7):
        step = np.zeros(7)
        step[k] = 1e-5
        slope = (function(at + step)[0] - function(at - step)[0]) / 2e-5
        assert gradient[k] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_objective_is_that_of_a_loop_over_pairs(loss: Loss) -> None:
    squared, same = pairs(2, 30)
    relative, bias = np.linspace(0.5, 1.5, 6), 0.8
    total = 0.0
    for row, one in zip(squared.astype(float), same, strict=True):
        p = 1 / (1 + np.exp(-(bias - 0.7 * (row @ relative))))
        error = -np.log(p if one else 1 - p) if loss == "cross_entropy" else (p - one) ** 2
        total += error * 0.5 / (10 if one else 20)
    total += 0.01 * 3.0 * ((relative - 1) ** 2).mean()
    found = objective(squared, same, 0.7, 3.0, loss)(np.append(relative, bias))[0]
    assert found == pytest.approx(total)


@pytest.mark.parametrize("loss", LOSSES)
def test_dimensions_that_tell_people_apart_weigh_more(loss: Loss) -> None:
    weight, bias = fit_layer(*pairs(3, 3000), l2=0.01, loss=loss)
    assert (weight <= 0).all()
    assert bias >= 0
    assert abs(weight[::2]).min() > 3 * abs(weight[1::2]).max()


def test_signs_are_free_only_where_they_may_be() -> None:
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
def test_hopeless_pairs_give_finite_weights(
    squared: np.ndarray, same: np.ndarray, loss: Loss, signs: bool
) -> None:
    weight, bias = fit_layer(
        squared.astype(np.float32), same, l2=1.0, loss=loss, sign_constraints=signs
    )
    assert np.isfinite([*weight, bias]).all()
    assert np.abs(weight).max() < 1e4
