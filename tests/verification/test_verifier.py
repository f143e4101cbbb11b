"""The verifier, its file, and comparisons with a threshold."""

import json
from itertools import product

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.verification.thresholds import NamingLimits
from faceops.verification.verifier import Calibration, Verifier, reaches, sigmoid

KNOTS = np.array([-3, -0.5, 0.25, 4], np.float32)
ISOTONIC = Calibration("isotonic", KNOTS, np.array([-6, -1, 1, 3], np.float32))
GOOD = {"kind": "linear", "bias": 1.0, "weight": [-1.0, -2.0]}


def verifier(calibration: Calibration = ISOTONIC) -> Verifier:
    draw = np.random.default_rng(0)
    return Verifier(-draw.random(8).astype(np.float32), 1.25, "linear", calibration)


@pytest.mark.parametrize("calibration", [ISOTONIC, Calibration("temperature")])
def test_verifier_equals_its_formula(calibration):
    a, b = np.random.default_rng(1).normal(size=(2, 6, 8)).astype(np.float32)
    one = verifier(calibration)
    for i, j in product(range(6), range(6)):
        raw = 1.25 + sum(float(w) * (a[i, k] - b[j, k]) ** 2 for k, w in enumerate(one.weight))
        odds = raw
        if len(calibration.knots):
            x, y = calibration.knots, calibration.log_odds
            odds = np.interp(raw, x, y) + min(raw - x[0], 0) + max(raw - x[-1], 0)
        for found in (one.logit_matrix(a, b)[i, j], one.logit(a[i], b[j])):
            assert found == pytest.approx(odds, abs=1e-5)
        wanted = pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)
        assert one.probability(a[i], b[j]) == wanted == one.probability_matrix(a, b)[i, j]


def test_calibration_keeps_the_ranking_of_float32_matrices_that_may_be_empty():
    raw = np.linspace(-20, 20, 4001, dtype=np.float32)
    assert (np.diff(ISOTONIC(raw)) > 0).all()
    np.testing.assert_allclose(sigmoid(raw), 1 / (1 + np.exp(-raw.astype(float))), rtol=1e-6)
    rows = np.ones((3, 8), np.float32)
    assert verifier().logit_matrix(rows, rows[:0]).shape == (3, 0)
    assert verifier().probability_matrix(rows[:2], rows).dtype == np.float32


@pytest.mark.parametrize(("above", "named"), [(0.0, True), (-1e-9, True), (1e-9, False)])
def test_naming_and_evaluation_compare_a_score_at_the_threshold_alike(above, named):
    """float32 cannot hold a threshold 1e-9 above a probability: it would round to it."""
    probability = np.array([0.9], np.float32)
    threshold = float(probability[0]) + above
    assert np.float32(threshold) == probability[0]
    assert reaches(probability, threshold).tolist() == [named]
    assert NamingLimits(threshold, 0.0).reached(probability).tolist() == [named]


def test_a_saved_verifier_loads_and_saves_to_the_same_bytes(tmp_path):
    verifier().save(tmp_path / "v.json")
    again = Verifier.load(tmp_path / "v.json")
    np.testing.assert_array_equal(again.weight, verifier().weight)
    assert (again.bias, again.kind, again.calibration.method) == (1.25, "linear", "isotonic")
    np.testing.assert_array_equal(again.calibration.log_odds, ISOTONIC.log_odds)
    again.save(tmp_path / "w.json")
    assert (tmp_path / "v.json").read_bytes() == (tmp_path / "w.json").read_bytes()
    (tmp_path / "v.json").write_text(json.dumps(GOOD))
    assert Verifier.load(tmp_path / "v.json").calibration.method == "platt"


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", json.dumps(GOOD | {"kind": "x"}), json.dumps(GOOD | {"weight": [[1]]})),
        json.dumps(GOOD | {"bias": float("nan")}),
        *(
            json.dumps(GOOD | {"calibration": calibration})
            for calibration in (
                {"method": "platt"},
                [1],
                {"method": "magic", "knots": [], "log_odds": []},
                {"method": "isotonic", "knots": [0, 1], "log_odds": [1, 1]},
            )
        ),
    ],
)
def test_damaged_verifier_file_is_refused(tmp_path, text):
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(FaceOpsError, match="not a verifier"):
        Verifier.load(tmp_path / "v.json")
