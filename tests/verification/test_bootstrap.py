"""Intervals over people have the stated coverage."""

import numpy as np
import pytest

from faceops.verification.bootstrap import pairs_interval, share_interval


def test_interval_covers_the_share_and_widens_with_fewer_people() -> None:
    draw = np.random.default_rng(0)
    hits = draw.random(2000) < 0.8
    many = share_interval(hits, np.arange(2000) // 2, 0)
    few = share_interval(hits, np.arange(2000) // 200, 0)
    assert many["low"] < hits.mean() < many["high"]
    assert many["high"] - many["low"] == pytest.approx(4 * np.sqrt(0.16 / 2000), rel=0.2)
    assert few["high"] >= few["low"]
    person = np.arange(2000) // 5  # pairs of one person are weighed as their person
    one = share_interval(hits, person, 4, 400)
    assert pairs_interval(hits, person, person, 4, 400) == pytest.approx(one)
    none = np.zeros(0, int)
    assert np.isnan(
        [pairs_interval(none, none, none, 0)["low"], share_interval(none, none, 0)["high"]]
    ).all()


def test_interval_of_pairs_of_two_people_equals_a_plain_resampling() -> None:
    draw = np.random.default_rng(0)
    first, second = np.triu_indices(12, 0)
    hits = draw.random(len(first)) < 0.7
    random = np.random.default_rng(5)
    means = []
    for _ in range(200):
        times = np.bincount(random.integers(0, 12, 12), minlength=12)
        weight = times[first] * np.where(first == second, 1, times[second])
        means.append(np.average(hits, weights=weight))
    found = pairs_interval(hits, second, first, 5, 200)  # in either order
    low, high = np.quantile(means, [0.025, 0.975])
    assert found == pytest.approx({"low": low, "high": high})
