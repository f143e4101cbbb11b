"""Random pairs and one against ten equal loops over draws."""

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.evaluation.protocols.verification import one_against_ten, random_pairs
from tests.evaluation.simulated import VERIFIER, coarse, people, shuffled, thresholds


def test_figures_equal_a_loop_over_draws():
    drawn = random_pairs(people(60, 4, 0.8, 3), VERIFIER, 400, seed=1, draws=4)
    (same, other, _, _) = random_pairs(people(60, 4, 0.8, 3), VERIFIER, 400, seed=1, draws=4).scores
    assert same.tolist() == drawn.scores[0].tolist() != other.tolist()
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


def test_rate_that_the_release_refuses_has_its_reason():
    drawn = random_pairs(people(30, 3), VERIFIER, 100, seed=1, draws=2)
    figures = drawn.figures([1e-6], thresholds(), seed=0)
    assert figures["accuracy_at_far_1e-06"] is None
    assert (
        "not supported by simulated people (7,140 pairs" in figures["accuracy_at_far_1e-06_reason"]
    )
    assert not figures["val_at_far_1e-06_supported"]
    assert "accuracy_at_far_0.01" not in drawn.figures([0.01], None, seed=0)


@pytest.mark.parametrize("block", [1, 500, 1 << 21])
@pytest.mark.parametrize("ties", [False, True])
def test_expectation_equals_drawn_trials(ties, block, monkeypatch):
    monkeypatch.setattr("faceops.verification.pairs.BLOCK", block)
    faces = shuffled(people(8, 3, 1.0))
    faces = faces.of(np.arange(len(faces)) != 3)
    faces = coarse(faces) if ties else faces
    result = one_against_ten(faces, VERIFIER, 4)
    scores = VERIFIER.logit_matrix(faces.embeddings, faces.embeddings).round(4)
    draw = np.random.default_rng(0)
    wanted = []
    for name in np.unique(faces.persons):
        own, others = (np.flatnonzero(faces.persons == name), np.flatnonzero(faces.persons != name))
        trials = [
            scores[a, b] > scores[a, draw.permutation(others)[:4]].max()
            for a in own for b in own if a != b for _ in range(300)
        ]  # fmt: skip
        wanted.append(np.mean(trials))
    np.testing.assert_allclose(result.chances, wanted, atol=0.05)
    assert result.accuracy == pytest.approx(np.mean(wanted), abs=0.015)
    assert result.trials == 7 * 6 + 2


def test_embeddings_that_say_nothing_win_one_time_in_eleven():
    faces = people(150, 2, 50.0)
    figures = one_against_ten(faces, VERIFIER).figures(0)
    assert figures["accuracy"] == pytest.approx(1 / 11, abs=0.02)
    assert figures["accuracy_interval"]["low"] < 1 / 11 < figures["accuracy_interval"]["high"]


def test_too_few_photos_of_others_is_a_sentence():
    with pytest.raises(FaceOpsError, match=r"10 photos of other people; there are 10 photos"):
        one_against_ten(people(5, 2), VERIFIER)
    with pytest.raises(FaceOpsError, match="two photos"):
        one_against_ten(people(20, 1), VERIFIER)
