"""Blocks and samples equal plain loops; wrong labels do not bias the calibration."""

import numpy as np
import pytest

from faceops.evaluation.label_doctor import compare as photo_groups
from faceops.evaluation.label_doctor.compare import (
    calibrate_with_label_noise,
    fit_label_noise,
    group_photos,
    nearest_other,
)
from faceops.verification.calibration import platt
from faceops.verification.pairs import score_table
from faceops.verification.verifier import Verifier
from tests.evaluation.label_doctor.planted import SIZE, calibrated, draw


def test_nearest_other_is_the_plain_loop():
    verifier = calibrated()
    embeddings, names = draw([3, 1, 2, 4] * 4, 3)
    person = np.unique(names, return_inverse=True)[1]
    row, best = nearest_other(embeddings, person, embeddings, person, verifier)
    for i, (found, score) in enumerate(zip(row, best, strict=True)):
        others = [j for j in range(len(person)) if person[j] != person[i]]
        logits = {j: float(verifier.logit(embeddings[i], embeddings[j])) for j in others}
        assert found == max(logits, key=lambda j: logits[j])
        assert score == pytest.approx(logits[found], abs=1e-3)


def test_without_another_person_there_is_no_nearest():
    embeddings, alone = draw([4], 0)[0], np.zeros(4, np.int64)
    for count in (4, 0):
        templates, owner = embeddings[:count], alone[:count]
        row, best = nearest_other(embeddings, alone, templates, owner, calibrated())
        assert (row == -1).all() and np.isneginf(best).all()


def test_average_linkage_is_the_textbooks():
    """Merge the two groups with the highest mean over their pairs, until none is above the cut."""
    verifier = calibrated()
    embeddings, names = draw([5, 4, 1, 1], 8, spread=0.14)
    apart = -4.0
    scores = verifier.logit_matrix(embeddings, embeddings)
    groups = [[i] for i in range(len(names))]
    while len(groups) > 1:
        means = {
            (a, b): np.mean([scores[i, j] for i in groups[a] for j in groups[b]])
            for a in range(len(groups))
            for b in range(a)
        }
        (a, b), highest = max(means.items(), key=lambda item: item[1])
        if highest < apart:
            break
        groups[b] += groups.pop(a)
    assert 1 < len(groups) < len(names)
    found = group_photos(embeddings, np.zeros(len(names), np.int64), verifier, apart)
    assert {tuple(sorted(group)) for group in groups} == {
        tuple(found.photos(group)) for group in range(len(found.size))
    }
    assert found.size[found.core[0]] == max(len(group) for group in groups)
    lengths = np.linalg.norm(found.template, axis=1)
    assert lengths == pytest.approx(np.ones(len(found.size)), abs=1e-5)


def test_a_person_of_very_many_photos_is_grouped_by_a_sample(monkeypatch):
    verifier = calibrated()
    embeddings, names = draw([90, 40, 1], 4)
    order = np.random.default_rng(0).permutation(len(names))
    embeddings, one = embeddings[order], np.zeros(len(names), np.int64)
    whole = group_photos(embeddings, one, verifier, -4.6)
    assert sorted(whole.size) == [1, 40, 90]
    monkeypatch.setattr(photo_groups, "_MOST", 30)
    sampled = group_photos(embeddings, one, verifier, -4.6)
    assert (sampled.group == whole.group).all()


@pytest.mark.parametrize(("share", "unit"), [(0.0, 1.0), (0.04, 40.0), (0.15, 1.0)])
def test_the_true_line_is_found_whatever_the_share_and_the_unit(share, unit):
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


def test_swapped_labels_give_the_calibration_of_right_ones():
    embeddings, names = draw([5] * 150, 1)
    plain = Verifier(np.full(SIZE, -1, np.float32), 0.0, "distance")
    right, right_share = calibrate_with_label_noise(embeddings, names, plain)
    swapped = names.copy()
    chosen = np.random.default_rng(2).choice(len(names), 22, replace=False)
    swapped[chosen] = names[np.roll(chosen, 1)]
    noisy, noisy_share = calibrate_with_label_noise(embeddings, swapped, plain)
    assert right_share is not None and right_share < 0.003
    pairs = swapped[:, None] == swapped[None]
    np.fill_diagonal(pairs, False)
    share = (pairs & (names[:, None] != names[None])).sum() / pairs.sum()
    assert noisy_share == pytest.approx(share, abs=0.01)
    assert noisy.weight[0] == pytest.approx(right.weight[0], rel=0.2)
    assert noisy.bias == pytest.approx(right.bias, rel=0.2)


def test_too_few_pairs_or_people_are_left_to_the_bundle():
    plain = Verifier(np.full(SIZE, -1, np.float32), 0.0, "distance")
    for counts in ([3] * 49, [2] * 600, [1] * 100, [60] * 3):
        assert calibrate_with_label_noise(*draw(counts, 0), plain) == (plain, None)
    assert calibrate_with_label_noise(*draw([5] * 120, 0), plain)[0] is not plain
