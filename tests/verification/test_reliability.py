"""Reliability of stated probabilities, by counts and by pairs."""

import numpy as np
import pytest

from faceops.verification.score_table import bin_sums, reliability_of, reliability_of_counts


def test_reliability_is_that_of_a_loop_over_pairs() -> None:
    draw = np.random.default_rng(0)
    one, two = draw.beta(4, 1, 50).astype(np.float32), draw.beta(1, 6, 400).astype(np.float32)
    one[0] = 1
    found = reliability_of(bin_sums(one), bin_sums(two))
    error, bins = 0.0, []
    for k in range(10):
        rows = [(p, s) for ps, s in ((one, 1), (two, 0)) for p in ps if min(int(p * 10), 9) == k]
        if rows:
            w = np.array([0.5 / 50 if s else 0.5 / 400 for _, s in rows])
            p, s = np.array(rows).T
            error += abs((w * s).sum() - (w * p).sum())
            bins.append((len(rows), w.sum(), w.sum() ** 2 / (w**2).sum(), (w * p).sum() / w.sum()))
    wanted = np.array(bins).T
    names = (found.pairs, found.weight, found.effective, found.predicted)
    np.testing.assert_allclose(np.stack(names), wanted, rtol=1e-6)
    assert found.expected_error == pytest.approx(error)


def test_counted_pairs_are_repeated_pairs() -> None:
    probability = np.array([0.05, 0.3, 0.3001, 0.92])
    genuine, impostor = np.array([0, 2, 1, 7]), np.array([9, 3, 0, 1])
    counted = reliability_of_counts(probability, genuine, impostor)
    plain = reliability_of(
        *(bin_sums(np.repeat(probability, counts)) for counts in (genuine, impostor))
    )
    np.testing.assert_allclose(counted.observed, plain.observed)
    assert counted.expected_error == pytest.approx(plain.expected_error)
