"""TAR and AUC against their definitions."""

import numpy as np
import pytest

from faceops.base.figures import allowed_false_accepts
from faceops.embedding.accept_rates import area_under_roc, true_accept_rate, validation_figures


@pytest.mark.parametrize("far", [0.3, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("rounded", [False, True])
def test_tar_is_the_best_that_lets_few_enough_impostors_through(far: float, rounded: bool) -> None:
    draw = np.random.default_rng(1)
    genuine, impostor = draw.normal(0, 1, 300), draw.normal(1.5, 1, 400)
    if rounded:
        genuine, impostor = genuine.round(1), impostor.round(1)
    best = 0.0
    for threshold in np.concatenate([genuine, impostor]):
        if np.mean(impostor < threshold) <= far:
            best = max(best, float(np.mean(genuine < threshold)))
    assert true_accept_rate(genuine, impostor, far) == pytest.approx(best)


def test_a_rate_allows_its_floor_whatever_floats_make_of_the_product() -> None:
    assert [allowed_false_accepts(far, 1000) for far in (0.003, 0.0039, 0.0001, 1)] == [
        3,
        3,
        0,
        1000,
    ]
    assert true_accept_rate(np.array([9.0]), np.array([1.0, 2.0]), 1) == 1


def test_auc_counts_pairs_in_the_right_order_and_half_of_the_ties() -> None:
    draw = np.random.default_rng(2)
    genuine, impostor = draw.integers(0, 9, 60), draw.integers(3, 12, 80)
    wins = [(g < i) + 0.5 * (g == i) for g in genuine for i in impostor]
    assert area_under_roc(genuine, impostor) == pytest.approx(np.mean(wins))


def test_figures_of_a_perfect_and_of_a_blind_embedding() -> None:
    labels = np.repeat(np.arange(10), 3)
    perfect = np.eye(10, dtype=np.float32)[labels]
    figures = validation_figures(perfect, labels)
    assert figures["val_tar"] == figures["val_auc"] == figures["val_score"] == 1
    blind = validation_figures(np.tile(np.array([1, 0], np.float32), (30, 1)), labels)
    assert blind["val_tar"] == 0
    assert blind["val_auc"] == pytest.approx(0.5)
