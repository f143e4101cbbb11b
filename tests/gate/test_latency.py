"""Time per photo: noise on the machine fails no model, a slower model fails."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from faceops.config.sections import Gate
from faceops.gate import rules
from faceops.gate.compare import FIRST_LOOK, MOST_PAIRS, Latency, measure_latency

LIMIT = 1.25


class Machine:
    """A clock that models advance; each run takes up to several times its cost."""

    def __init__(self, seed: int, noise: float) -> None:
        self.now, self.runs, self.noise = 0.0, 0, noise
        self.random = np.random.default_rng(seed)

    def clock(self) -> float:
        return self.now

    def model(self, cost: float) -> Callable[[object], None]:
        def run(_photo: object) -> None:
            burst = 8 if self.random.random() < self.noise / 10 else 1
            self.now += cost * burst * np.exp(self.random.normal(0, self.noise))
            self.runs += 1

        return run


def measured(cost: float, seed: int, noise: float = 0.5) -> tuple[Latency, int]:
    """Return the latency of a model of this cost beside one of cost 1, and the number of runs."""
    machine = Machine(seed, noise)
    models = machine.model(1.0), machine.model(cost)
    return measure_latency(*models, [None] * 30, LIMIT, machine.clock), machine.runs  # type: ignore[list-item]


@pytest.mark.parametrize("cost", [1.0, 2.0])
def test_on_a_noisy_machine_only_a_slower_model_is_found_slower(cost):
    for seed in range(20):
        took, _ = measured(cost, seed)
        assert (took.low > LIMIT) == (cost > LIMIT)
        assert took.low <= took.ratio <= took.high


def test_measuring_ends_when_it_is_decided_or_the_budget_is_spent():
    assert measured(1.0, 0, noise=0.01)[1] == 2 * FIRST_LOOK + 2  # and one run before
    took, runs = measured(LIMIT, 0)
    assert runs == 2 * MOST_PAIRS + 2
    assert took.low < LIMIT < took.high


@pytest.mark.parametrize(("cost", "passes"), [(1.0, True), (3.0, False)])
def test_the_rule_on_time_passes_an_equal_model_and_refuses_a_slower_one(cost, passes, monkeypatch):
    machine = Machine(1, 0.5)
    monkeypatch.setattr(rules, "_process", lambda model, photo: model(photo))
    monkeypatch.setattr(rules, "measure_latency", partial(measure_latency, clock=machine.clock))
    result = rules.time_per_photo(
        SimpleNamespace(  # type: ignore[arg-type]
            models=(machine.model(1.0), machine.model(cost)),
            settings=Gate(),
            frozen=SimpleNamespace(photos=[None] * 30),
        )
    )
    assert result.passed == passes
    assert passes or "1.25 times are allowed" in result.reason
