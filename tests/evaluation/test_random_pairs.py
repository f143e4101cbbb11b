"""Random pairs: equal to a loop over the draws, thresholds from elsewhere, refusals told."""

import numpy as np
import pytest

from faceops.evaluation.protocols.verification import random_pairs
from tests.evaluation.simulated import VERIFIER, people, thresholds


def test_figures_equal_a_loop_over_draws() -> None:
    drawn = random_pairs(people(60, 4, 0.8, 3), VERIFIER, 400, seed=1, draws=4)
    accuracies, vals = [], []
    for pairs, scores in zip(drawn.draws, drawn.scores, strict=True):
        assert (pairs.same.sum(), len(pairs.same)) == (200, 400)
        accuracies.append(np.mean((scores >= 0) == pairs.same))
        cut = np.sort(scores[~pairs.same])[-3]  # two of 200 pass
        vals.append((scores[pairs.same] > cut).mean())
    figures = drawn.figures([0.01], thresholds(), seed=0)
    assert figures["accuracy"] == pytest.approx(np.mean(accuracies))
    assert figures["accuracy_spread"] == pytest.approx(np.std(accuracies, ddof=1))
    assert figures["val_at_far_0.01"] == pytest.approx(np.mean(vals))
    assert figures["val_at_far_0.01_spread"] == pytest.approx(np.std(vals, ddof=1))
    assert figures["val_at_far_0.01_supported"]
    for name in ("accuracy", "val_at_far_0.01", "accuracy_at_far_0.01"):
        interval = figures[f"{name}_interval"]
        assert interval["low"] < figures[name] < interval["high"]


def test_rate_that_the_release_refuses_has_its_reason() -> None:
    drawn = random_pairs(people(30, 3), VERIFIER, 100, seed=1, draws=2)
    figures = drawn.figures([1e-6], thresholds(), seed=0)
    assert figures["accuracy_at_far_1e-06"] is None
    assert (
        "not supported by simulated people (7,140 pairs" in figures["accuracy_at_far_1e-06_reason"]
    )
    assert not figures["val_at_far_1e-06_supported"]
    assert "accuracy_at_far_0.01" not in drawn.figures([0.01], None, seed=0)


def test_draws_differ_and_are_seeded() -> None:
    faces = people(60, 4)
    one, two = (random_pairs(faces, VERIFIER, 100, seed=5, draws=2) for _ in range(2))
    assert one.scores[0].tolist() == two.scores[0].tolist()
    assert one.scores[0].tolist() != one.scores[1].tolist()
