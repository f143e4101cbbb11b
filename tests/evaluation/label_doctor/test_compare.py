"""Blocks and samples equal plain loops."""

import numpy as np
import pytest

from faceops.evaluation.label_doctor import compare as photo_groups
from faceops.evaluation.label_doctor.compare import group_photos, nearest_other
from tests.evaluation.label_doctor.planted import calibrated, draw


def test_nearest_other_is_the_plain_loop() -> None:
    verifier = calibrated()
    embeddings, names = draw([3, 1, 2, 4] * 4, 3)
    person = np.unique(names, return_inverse=True)[1]
    row, best = nearest_other(embeddings, person, embeddings, person, verifier)
    for i, (found, score) in enumerate(zip(row, best, strict=True)):
        others = [j for j in range(len(person)) if person[j] != person[i]]
        logits = {j: float(verifier.logit(embeddings[i], embeddings[j])) for j in others}
        assert found == max(logits, key=lambda j: logits[j])
        assert score == pytest.approx(logits[found], abs=1e-3)


def test_without_another_person_there_is_no_nearest() -> None:
    embeddings, alone = draw([4], 0)[0], np.zeros(4, np.int64)
    for count in (4, 0):
        templates, owner = embeddings[:count], alone[:count]
        row, best = nearest_other(embeddings, alone, templates, owner, calibrated())
        assert (row == -1).all() and np.isneginf(best).all()


def test_average_linkage_is_the_textbooks() -> None:
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


def test_a_person_of_very_many_photos_is_grouped_by_a_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verifier = calibrated()
    embeddings, names = draw([90, 40, 1], 4)
    order = np.random.default_rng(0).permutation(len(names))
    embeddings, one = embeddings[order], np.zeros(len(names), np.int64)
    whole = group_photos(embeddings, one, verifier, -4.6)
    assert sorted(whole.size) == [1, 40, 90]
    monkeypatch.setattr(photo_groups, "_MOST", 30)
    sampled = group_photos(embeddings, one, verifier, -4.6)
    assert (sampled.group == whole.group).all()
