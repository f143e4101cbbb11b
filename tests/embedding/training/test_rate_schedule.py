"""The learning rate over a run."""

import pytest

from faceops.embedding.training.rate_schedule import rate_at


def test_rate_rises_then_falls_to_nothing() -> None:
    rates = [rate_at(step, 200, 0.1) for step in range(200)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-4
