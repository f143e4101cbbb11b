"""The curve agrees with scikit-learn and with a search over all thresholds, also with ties."""

import numpy as np
import pytest

from faceops.base.figures import allowed_false_accepts, roc, threshold_at


def tied(seed: int, size: int, shift: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, size).round(1).astype(np.float32)


@pytest.mark.parametrize("shift", [0.0, 1.0, 10.0])
def test_auc_equals_scikit_learn(shift):
    from sklearn.metrics import roc_auc_score

    genuine, impostor = tied(0, 300, shift), tied(1, 500, 0)
    labels = np.repeat([1, 0], [300, 500])
    wanted = roc_auc_score(labels, np.concatenate([genuine, impostor]))
    assert roc(genuine, impostor).auc == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("sizes", [(3000, 5000), (3, 4), (1, 1), (2, 1), (1, 3)])
def test_curve_equals_scikit_learn_at_every_rate(sizes):
    from sklearn.metrics import roc_curve

    genuine, impostor = tied(0, sizes[0], 1), tied(1, sizes[1], 0)
    labels = np.repeat([1, 0], sizes)
    fpr, tpr, _ = roc_curve(labels, np.concatenate([genuine, impostor]), drop_intermediate=False)
    far, tar = roc(genuine, impostor).curve()
    wanted = [tpr[fpr <= f + 1e-12].max() for f in far]
    np.testing.assert_allclose(tar, wanted, atol=1e-12)
    assert far[-1] == tar[-1] == 1


def test_tar_at_far_is_that_of_the_release_s_threshold_rule():
    draw = np.random.default_rng(0)
    genuine, impostor = (draw.beta(*ab, 2000).astype(np.float32) for ab in ((5, 2), (2, 5)))
    for far in (0.1, 0.01, 0.001, 0.0001):
        cut = threshold_at(np.sort(impostor)[::-1], far)
        assert roc(genuine, impostor).tar(far) == (genuine >= np.float32(cut)).mean()


def test_a_rate_allows_its_floor_whatever_floats_make_of_the_product():
    allowed = [allowed_false_accepts(far, 1000) for far in (0.003, 0.0039, 0.0001, 1)]
    assert allowed == [3, 3, 0, 1000]
    assert roc(np.array([-9.0]), np.array([-1.0, -2.0])).tar(1) == 1


@pytest.mark.parametrize("far", [0.0, 0.1, 0.25, 0.3, 0.5, 1.0])
def test_tied_scores_are_accepted_together_as_by_brute_force(far):
    scores = np.array([0.9, 0.9, 0.7, 0.7, 0.7, 0.5, 0.2, 0.2, 0.1, 0.1], np.float32)
    cut = np.float32(threshold_at(np.sort(scores)[::-1], far))
    candidates = [np.nextafter(s, np.float32(2)) for s in scores] + [np.float32(0)]
    allowed = [c for c in candidates if (scores >= c).sum() <= far * len(scores) + 1e-9]
    assert cut == min(allowed)
