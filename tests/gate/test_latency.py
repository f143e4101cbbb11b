"""Time per photo: noise on the machine refuses nobody, and a slower model is found out."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from faceops.config.sections import Gate
from faceops.gate import latency, rules
from faceops.gate.compare import Comparison
from faceops.gate.latency import MOST_PAIRS, measure_latency
from faceops.gate.photos import freeze
from faceops.release.bundle import Bundle
from faceops.release.evaluate.measured_model import MeasuredModel, PeopleSeen

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


def measured(cost: float, seed: int, noise: float = 0.5) -> tuple[latency.Latency, int]:
    """Return the latency of a model of this cost beside one of cost 1, and the number of runs."""
    machine = Machine(seed, noise)
    models = machine.model(1.0), machine.model(cost)
    return measure_latency(*models, [None] * 30, LIMIT, machine.clock), machine.runs  # type: ignore[list-item]


@pytest.mark.parametrize("seed", range(20))
def test_a_model_beside_itself_on_a_noisy_machine_is_not_shown_to_be_slower(seed: int) -> None:
    assert measured(1.0, seed)[0].low <= LIMIT


@pytest.mark.parametrize("seed", range(20))
def test_a_slower_model_is_found_out_on_a_noisy_machine(seed: int) -> None:
    took, _ = measured(2.0, seed)
    assert took.low > LIMIT
    assert took.low <= took.ratio <= took.high


def test_measuring_ends_when_it_is_decided_or_the_budget_is_spent() -> None:
    assert measured(1.0, 0, noise=0.01)[1] == 2 * latency.FIRST_LOOK + 2  # and one run before
    took, runs = measured(LIMIT, 0)
    assert runs == 2 * MOST_PAIRS + 2
    assert took.low < LIMIT < took.high


def test_one_bundle_against_itself_passes_with_a_noisy_clock_and_fails_if_slowed(
    sface_bundle: Path, synthetic_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MeasuredModel.from_bundle(Bundle.load(sface_bundle))
    frozen = freeze(synthetic_set, [])
    seen = PeopleSeen({}, "")
    same = Comparison((model, model), frozen, Gate(), (seen, seen), tmp_path)
    random, delay = np.random.default_rng(1), 0.0

    def noisy() -> float:
        nonlocal delay
        delay += random.exponential(0.02)
        return latency.time.perf_counter() + delay

    monkeypatch.setattr(rules, "measure_latency", partial(measure_latency, clock=noisy))
    monkeypatch.setattr(latency, "MOST_PAIRS", 60)
    assert rules.time_per_photo(same).passed
    other = MeasuredModel.from_bundle(Bundle.load(sface_bundle))
    process = rules._process

    def slowed(one: object, photo: object) -> None:
        for _ in range(3 if one is other else 1):
            process(one, photo)  # type: ignore[arg-type]

    monkeypatch.setattr(rules, "_process", slowed)
    result = rules.time_per_photo(
        Comparison((model, other), frozen, Gate(), (seen, seen), tmp_path)
    )
    assert not result.passed
    assert "1.25 times are allowed" in result.reason
