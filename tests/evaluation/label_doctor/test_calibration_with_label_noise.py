"""Wrong labels among the pairs are estimated and do not bias the calibration."""

import numpy as np
import pytest

from faceops.evaluation.label_doctor.calibration import calibrate_with_label_noise, fit_label_noise
from faceops.verification.calibration import platt
from faceops.verification.pairs import score_table
from faceops.verification.verifier import Verifier
from tests.evaluation.label_doctor.planted import SIZE, draw


@pytest.mark.parametrize(("share", "unit"), [(0.0, 1.0), (0.04, 40.0), (0.15, 1.0)])
def test_the_true_line_is_found_whatever_the_share_and_the_unit(share: float, unit: float) -> None:
    """Two normal distributions 6 sigma apart: the log likelihood ratio is 6 x - 3 x offset."""
    random = np.random.default_rng(0)
    one, two = random.normal(6, 1, 20_000), random.normal(0, 1, 100_000)
    wrong = round(share * len(one))
    one[:wrong] = random.normal(0, 1, wrong)
    scale, bias, found = fit_label_noise(score_table(one * unit, two * unit))
    assert scale * unit == pytest.approx(6, rel=0.1)
    assert -bias / (scale * unit) == pytest.approx(3, abs=0.1)
    assert found == pytest.approx(share, abs=0.005)
    if share:
        assert platt(score_table(one * unit, two * unit))[0] * unit < 2.5


def test_swapped_labels_give_the_calibration_of_right_ones() -> None:
    embeddings, names = draw([5] * 150, 1)
    plain = Verifier(np.full(SIZE, -1, np.float32), 0.0, "distance")
    right = calibrate_with_label_noise(embeddings, names, plain)
    swapped = names.copy()
    chosen = np.random.default_rng(2).choice(len(names), 22, replace=False)
    swapped[chosen] = names[np.roll(chosen, 1)]
    noisy = calibrate_with_label_noise(embeddings, swapped, plain)
    assert right is not None
    assert noisy is not None
    assert right.wrong_pairs < 0.003
    pairs = swapped[:, None] == swapped[None]
    np.fill_diagonal(pairs, False)
    share = (pairs & (names[:, None] != names[None])).sum() / pairs.sum()
    assert noisy.wrong_pairs == pytest.approx(share, abs=0.01)
    assert noisy.verifier.weight[0] == pytest.approx(right.verifier.weight[0], rel=0.2)
    assert noisy.verifier.bias == pytest.approx(right.verifier.bias, rel=0.2)


def test_too_few_pairs_or_people_are_left_to_the_bundle() -> None:
    plain = Verifier(np.full(SIZE, -1, np.float32), 0.0, "distance")
    for counts in ([3] * 49, [2] * 600, [1] * 100, [60] * 3):
        assert calibrate_with_label_noise(*draw(counts, 0), plain) is None
    assert calibrate_with_label_noise(*draw([5] * 120, 0), plain) is not None
