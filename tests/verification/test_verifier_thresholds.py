"""Thresholds keep the budget that they were measured for."""

import json
from pathlib import Path

import numpy as np
import pytest

from faceops.errors import FaceOpsError, UsageError
from faceops.verification.thresholds import Thresholds, measure_thresholds, threshold_at
from faceops.verification.verifier import Verifier, sigmoid


def measured(genuine: np.ndarray, impostor: np.ndarray, budgets: list[float]) -> Thresholds:
    return measure_thresholds(
        genuine, impostor, far_budgets=budgets, default_budget=0.01, runner_up_margin=1.0,
        data="simulated", people=2, photos=4,
    )  # fmt: skip


def simulated(draw: np.random.Generator, count: int) -> np.ndarray:
    return sigmoid(draw.normal(-6, 2, count))


@pytest.mark.parametrize("faces", [1, 10, 100, 1000])
@pytest.mark.parametrize("budget", [0.01, 0.1])
def test_strangers_named_stay_within_the_budget(faces: int, budget: float) -> None:
    draw = np.random.default_rng(faces)
    thresholds = measured(simulated(draw, 100) + 0.5, simulated(draw, 500_000), [0.01])
    assert thresholds.search_is_measured(budget, faces) == (faces < 1000 or budget == 0.1)
    cut = thresholds.for_search(budget, faces)
    strangers = 4000
    best = simulated(draw, strangers * faces).reshape(strangers, faces).max(1)
    named = (best >= cut).mean()
    error = 3 * np.sqrt(budget * (1 - budget) / strangers)
    assert named <= budget + error
    assert named >= (budget - error) * 0.5  # not so strict that nobody would be named


def test_extrapolation_beyond_the_measured_tail_is_on_the_safe_side() -> None:
    draw = np.random.default_rng(3)
    thresholds = measured(np.array([0.9]), simulated(draw, 20_000), [0.01])
    assert not thresholds.search_is_measured(0.01, 1000)
    cut = thresholds.for_search(0.01, 1000)
    best = simulated(draw, 2000 * 1000).reshape(2000, 1000).max(1)
    assert (best >= cut).mean() <= 0.01


def test_threshold_rises_with_the_gallery_and_falls_with_the_budget() -> None:
    thresholds = measured(np.array([0.9]), simulated(np.random.default_rng(0), 5000), [0.01])
    by_size = [thresholds.for_search(0.01, n) for n in (1, 3, 10, 50, 100, 1000, 100_000)]
    assert by_size == sorted(by_size)
    assert len(set(by_size)) == len(by_size)
    by_budget = [thresholds.for_search(b, 100) for b in (0.001, 0.01, 0.1, 0.5, 0.99)]
    assert by_budget == sorted(by_budget, reverse=True)


@pytest.mark.parametrize("far", [0.0, 0.1, 0.25, 0.3, 0.5, 1.0])
def test_tied_scores_fall_together_as_by_brute_force(far: float) -> None:
    scores = np.array([0.9, 0.9, 0.7, 0.7, 0.7, 0.5, 0.2, 0.2, 0.1, 0.1], np.float32)
    cut = np.float32(threshold_at(np.sort(scores)[::-1], far))
    candidates = [np.nextafter(s, np.float32(2)) for s in scores] + [np.float32(0)]
    allowed = [c for c in candidates if (scores >= c).sum() <= far * len(scores) + 1e-9]
    assert cut == min(allowed)


def test_saturated_impostors_let_nobody_through() -> None:
    impostor = np.ones(1000, np.float32)
    thresholds = measured(np.ones(5, np.float32), impostor, [0.01])
    assert thresholds.table[0].true_accept_rate == 0
    assert thresholds.for_search(0.01, 10) > 1


def test_support_needs_ten_pairs_above_the_threshold() -> None:
    impostor = simulated(np.random.default_rng(1), 10_000)
    table = measured(np.array([0.9]), impostor, [1e-4, 1e-3, 1e-2]).table
    assert [(row.budget, row.supported) for row in table] == [
        (1e-2, True), (1e-3, True), (1e-4, False),
    ]  # fmt: skip
    assert table[-1].pairs_needed == 100_000


@pytest.mark.parametrize("budget", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_budget_outside_0_to_1_is_refused(budget: float) -> None:
    thresholds = measured(np.array([0.9]), simulated(np.random.default_rng(1), 100), [0.1])
    with pytest.raises(UsageError, match="between 0 and 1"):
        thresholds.for_search(budget, 10)


def test_too_few_pairs_are_refused_in_words() -> None:
    with pytest.raises(FaceOpsError, match="too few"):
        measured(np.zeros(0), np.zeros(100), [0.1])


def test_verifier_equals_its_formula_and_survives_its_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    verifier = Verifier(-draw.random(8).astype(np.float32), 1.25, "linear")
    a, b = draw.normal(size=(2, 5, 8)).astype(np.float32)
    wanted = []
    for x, y in zip(a, b, strict=True):
        odds = 1.25 + sum(float(w) * (x[k] - y[k]) ** 2 for k, w in enumerate(verifier.weight))
        wanted.append(1 / (1 + np.exp(-odds)))
    np.testing.assert_allclose(verifier.probability(a, b), wanted, atol=1e-6)
    verifier.save(tmp_path / "v.json")
    again = Verifier.load(tmp_path / "v.json")
    np.testing.assert_array_equal(again.weight, verifier.weight)
    assert (again.bias, again.kind) == (1.25, "linear")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({"kind": "x", "weight": [[1]], "bias": 0})]
)
def test_damaged_verifier_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(FaceOpsError, match="not a verifier"):
        Verifier.load(tmp_path / "v.json")
