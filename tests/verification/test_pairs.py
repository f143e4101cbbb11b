"""Pairs: genuine and impostor, drawn or all of them."""

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.verification.pairs import (
    all_pair_scores,
    balanced_pairs,
    codes,
    genuine_pairs,
    genuine_weights,
    impostors_at,
)
from faceops.verification.verifier import Verifier
from tests.verification.population import unit_rows

VERIFIER = Verifier(np.full(6, -1, np.float32), 0.5, "distance")


def test_genuine_pairs_equal_a_double_loop_and_weigh_one_per_person():
    persons = np.array(["b", "a", "b", "c", "a", "b"])
    wanted = [(i, j) for i in range(6) for j in range(i + 1, 6) if persons[i] == persons[j]]
    pairs, weights = genuine_pairs(persons), genuine_weights(persons)
    assert [tuple(pair) for pair in pairs] == wanted
    for person in "ab":
        assert weights[persons[pairs[:, 0]] == person].sum() == pytest.approx(1)


@pytest.mark.parametrize("hard", [0.0, 0.5])
def test_balanced_pairs_are_balanced_correct_and_distinct(hard):
    rows, persons = unit_rows(0, 50, 4, np.full(8, 0.3))
    plain, pairs, again = (balanced_pairs(persons, 200, 1, rows, h) for h in (0, hard, hard))
    assert (len(pairs.same), pairs.same.sum()) == (200, 100)
    np.testing.assert_array_equal(persons[pairs.first] == persons[pairs.second], pairs.same)
    assert len(np.unique(np.sort([pairs.first, pairs.second], axis=0), axis=1).T) == 200
    np.testing.assert_array_equal(pairs.first, again.first)
    cosines = [
        (rows[one.first] * rows[one.second])[~one.same].sum(axis=1).mean() for one in (pairs, plain)
    ]
    assert cosines[0] >= cosines[1] + 0.4 * hard


@pytest.mark.parametrize("persons", [["a", "b", "c"], ["a", "a"], []])
def test_people_without_pairs_are_refused(persons):
    with pytest.raises(FaceOpsError, match="two people or more"):
        balanced_pairs(np.array(persons), 10, 0)


@pytest.mark.parametrize("limit", [10**9, 200])
@pytest.mark.parametrize("log_odds", [False, True])
def test_all_pair_scores_equal_a_double_loop(limit, log_odds):
    rows, persons = unit_rows(2, 10, 3, np.full(6, 0.5))
    scores = all_pair_scores(rows, persons, VERIFIER, log_odds=log_odds, limit=limit)
    score = VERIFIER.logit if log_odds else VERIFIER.probability
    same, other = [], []
    for i in range(30):
        for j in range(i + 1, 30):
            kind = same if persons[i] == persons[j] else other
            kind.append(float(score(rows[i], rows[j])))
    np.testing.assert_allclose(scores.genuine, same, atol=1e-6)
    if limit > 200:
        np.testing.assert_allclose(scores.impostor, other, atol=1e-6)
    else:  # six photos with all others: no pair twice
        assert 6 * 24 < len(scores.impostor) < len(other)
        assert len(np.unique(scores.impostor)) == len(scores.impostor)
    first, second = impostors_at(np.arange(len(scores.impostor)), codes(persons), limit=limit)
    assert (persons[first] != persons[second]).all()
    np.testing.assert_allclose(score(rows[first], rows[second]), scores.impostor, atol=1e-6)
