"""Calibration methods find the true log odds of simulated pairs and stay finite."""

from itertools import pairwise

import numpy as np
import pytest

from faceops.verification.calibration import (
    CHOICES,
    MAX_SLOPE,
    fit_map,
    isotonic,
    mean_loss,
    platt,
    pool_adjacent_violators,
    temperature,
)
from faceops.verification.score_table import score_table


def normal(seed: int, genuine: int, impostor: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose true log odds, for even odds, are 4 x - 2."""
    draw = np.random.default_rng(seed)
    one, two = draw.normal(1, 0.5, genuine), draw.normal(0, 0.5, impostor)
    return one.astype(np.float32), two.astype(np.float32)


def test_platt_finds_the_odds_of_two_normal_distributions() -> None:
    scale, bias = platt(score_table(*normal(0, 200_000, 50_000)))
    assert scale == pytest.approx(4, rel=0.03)
    assert bias == pytest.approx(-2, rel=0.03)


def test_platt_is_at_the_minimum_of_the_loss() -> None:
    table = score_table(*normal(1, 50, 300))
    scale, bias = platt(table)
    high, low = 51 / 52, 1 / 302
    best = mean_loss(table, scale * table.score + bias, high, low)
    for step in (0.01, -0.01):
        for other in ((scale + step, bias), (scale, bias + step)):
            assert mean_loss(table, other[0] * table.score + other[1], high, low) > best


def test_temperature_finds_the_scale_and_keeps_zero() -> None:
    one, two = normal(3, 100_000, 100_000)
    raw = score_table(10 * (4 * one - 2), 10 * (4 * two - 2))
    assert temperature(raw) == pytest.approx(0.1, rel=0.02)
    assert fit_map(raw, "temperature")(np.zeros(1, np.float32))[0] == 0


@pytest.mark.parametrize("method", ["platt", "temperature", "isotonic"])
def test_binned_scores_give_nearly_the_same_map(method: str) -> None:
    one, two = normal(4, 3000, 9000)
    whole = fit_map(score_table(4 * one - 1.5, 4 * two - 1.5), method)  # type: ignore[arg-type]
    binned = fit_map(score_table(4 * one - 1.5, 4 * two - 1.5, bins=4000), method)  # type: ignore[arg-type]
    raw = np.linspace(-12, 12, 500, dtype=np.float32)
    difference = np.abs(binned(raw) - whole(raw))
    assert difference.mean() < 0.01
    assert difference.max() < (0.15 if method == "isotonic" else 0.01)


def test_pooled_blocks_equal_the_minimax_formula() -> None:
    table = score_table(*normal(5, 60, 100))
    one, two = table.genuine.copy(), table.impostor.copy()
    one[0], two[-1] = one[0] + 1, two[-1] + 1
    one, two = (np.append(0, np.cumsum(part / part.sum())) for part in (one, two))
    size = len(table.score)

    def share(a: int, b: int) -> float:
        return float((one[b] - one[a]) / (one[b] - one[a] + two[b] - two[a]))

    blocks = pool_adjacent_violators(table)
    assert len(blocks) > 5
    found = [block.genuine / (block.genuine + block.impostor) for block in blocks]
    assert sum(block.weight for block in blocks) == pytest.approx(1)
    for i in range(0, size, 3):  # the highest of the least means around i (Barlow et al. 1972)
        wanted = max(min(share(a, b) for b in range(i + 1, size + 1)) for a in range(i + 1))
        assert min(abs(level - wanted) for level in found) < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_isotonic_rises_strictly_and_never_too_steeply(seed: int) -> None:
    one, two = normal(seed, 400, 5000)
    table = score_table(6 * one - 3, 6 * two - 3)
    knots, log_odds = isotonic(table)
    assert all(a < b for a, b in pairwise(knots))
    slopes = np.diff(log_odds) / np.diff(knots)
    assert (slopes > 0).all()
    assert (slopes <= MAX_SLOPE * 1.01).all()
    raw = np.sort(np.concatenate([one, two]))
    whole = fit_map(score_table(one, two), "isotonic")(raw)
    assert (np.diff(whole[np.unique(raw, return_index=True)[1]]) >= 0).all()


def test_isotonic_fits_odds_that_platt_cannot() -> None:
    draw = np.random.default_rng(6)
    raw = draw.uniform(-6, 6, 40_000).astype(np.float32)
    true = np.where(raw > 0, 0.4 * raw, 2 * raw)
    same = draw.random(40_000) < 1 / (1 + np.exp(-true))
    table = score_table(raw[same], raw[~same])
    prior = np.log((~same).sum() / same.sum())  # genuine and impostor pairs weigh the same
    at = np.array([-3, -1.5, 1, 3, 5], np.float32)
    wanted = np.where(at > 0, 0.4 * at, 2 * at) + prior
    np.testing.assert_allclose(fit_map(table, "isotonic")(at), wanted, atol=0.5)
    assert np.abs(fit_map(table, "platt")(at) - wanted).max() > 0.7


@pytest.mark.parametrize("method", CHOICES)
@pytest.mark.parametrize(
    ("genuine", "impostor"),
    [
        (np.full(100, -0.2), np.full(100, -1.5)),  # separable
        (np.full(5, 1.0), np.full(900, 1.0)),  # no difference
        (np.array([0.3]), np.array([0.1])),  # one pair of each
        (np.full(20, -2.0), np.full(20, 3.0)),  # the wrong way round
    ],
)
def test_degenerate_scores_give_a_finite_rising_map(
    method: str, genuine: np.ndarray, impostor: np.ndarray
) -> None:
    fitted = fit_map(score_table(genuine, impostor), method)  # type: ignore[arg-type]
    found = fitted(np.array([-5, -1, 0, 1, 5], np.float32))
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
