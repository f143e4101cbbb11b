"""Intervals over people, and the false positive identification rate as of every gallery."""

from itertools import combinations

import numpy as np
import pytest

from faceops.verification.error_rates import (
    GRID,
    count_strangers,
    impostor_comparisons,
    pairs_interval,
    share_interval,
)
from faceops.verification.verifier import Verifier
from tests.verification.population import unit_rows


def people(seed: int, count: int, photos: int) -> tuple[np.ndarray, np.ndarray]:
    return unit_rows(seed, count, photos, np.full(8, 0.6))


VERIFIER = Verifier(np.full(8, -4, np.float32), 4.0, "distance")


@pytest.mark.parametrize("gallery", [1, 2, 4, 6])
@pytest.mark.parametrize("log_odds", [-3.0, 0.0, 1.5])
def test_rate_equals_drawing_every_gallery(gallery, log_odds):
    embeddings, persons = people(1, 7, 1)
    scores = VERIFIER.logit_matrix(embeddings, embeddings)
    named = [
        (scores[probe, list(enrolled)] >= np.float32(log_odds)).any()
        for probe in range(7)
        for enrolled in combinations([other for other in range(7) if other != probe], gallery)
    ]
    counts = count_strangers(embeddings, persons, VERIFIER, draws=1)
    at = int(np.argmin(np.abs(GRID - log_odds)))
    close = impostor_comparisons(embeddings, persons, VERIFIER, -5.0, draws=1)
    assert close.rate(log_odds, gallery) == pytest.approx(np.mean(named), abs=1e-9)
    assert counts.rates(gallery)[at] == pytest.approx(close.rate(float(GRID[at]), gallery))


def test_people_weigh_the_same_whatever_their_number_of_photos():
    embeddings, persons = people(2, 5, 2)
    rows = np.arange(10) != 3  # one person has one photo
    counts = count_strangers(embeddings[rows], persons[rows], VERIFIER, draws=2, seed=3)
    named = counts.counts > 0
    by_person = [named[:, counts.person == person].mean((0, 1)) for person in range(5)]
    np.testing.assert_allclose(counts.rates(4), np.mean(by_person, axis=0), atol=1e-12)


def test_a_gallery_larger_than_the_people_is_an_error():
    for gallery in (0, 40):
        with pytest.raises(ValueError, match="1 to 39"):
            count_strangers(*people(4, 40, 1), VERIFIER, draws=1).rates(gallery)


@pytest.mark.parametrize("gallery", [1, 5, 11])
def test_pseudo_values_equal_leaving_each_person_out(gallery):
    embeddings, persons = people(5, 12, 1)
    close = impostor_comparisons(embeddings, persons, VERIFIER, -1.0, draws=1)
    rate, pseudo = close._influences(-1.0, gallery)
    for code, person in enumerate(np.unique(persons)):
        left = persons != person
        without = impostor_comparisons(embeddings[left], persons[left], VERIFIER, -1.0, draws=1)
        assert pseudo[code] == pytest.approx(12 * rate - 11 * without.rate(-1.0, gallery))
    if gallery < 11:  # unbiased: the mean over all leavings is the rate itself
        assert pseudo.mean() == pytest.approx(rate)


@pytest.mark.parametrize("gallery", [20, 60, 110])  # also galleries of nearly all people
def test_interval_covers_the_true_rate(gallery):
    truth_embeddings, truth_persons = people(0, 3000, 1)
    close = impostor_comparisons(truth_embeddings, truth_persons, VERIFIER, 2.0, draws=1)
    truth = close.rate(2.0, gallery)
    covered = 0
    for trial in range(20):
        rows = np.random.default_rng(trial).permutation(3000)[:120]
        some = impostor_comparisons(
            truth_embeddings[rows], truth_persons[rows], VERIFIER, 2.0, draws=1
        )
        low, high = some.interval(2.0, gallery, repeats=100).values()
        covered += low <= truth <= high
    assert covered >= 17


def test_upper_end_without_a_false_positive_is_three_over_the_people():
    embeddings, persons = people(6, 60, 1)
    close = impostor_comparisons(embeddings, persons, VERIFIER, 12.0)
    assert close.rate(12.0, 10) == 0
    assert close.interval(12.0, 10) == {"low": 0.0, "high": 3 / 60}


def test_interval_of_a_share_covers_it_and_widens_with_fewer_people():
    draw = np.random.default_rng(0)
    hits = draw.random(2000) < 0.8
    many = share_interval(hits, np.arange(2000) // 2, 0)
    few = share_interval(hits, np.arange(2000) // 200, 0)
    assert many["low"] < hits.mean() < many["high"]
    assert many["high"] - many["low"] == pytest.approx(4 * np.sqrt(0.16 / 2000), rel=0.2)
    assert few["high"] >= few["low"]
    none = np.zeros(0, int)
    assert np.isnan(list(share_interval(none, none, 0).values())).all()


def test_interval_of_pairs_of_two_people_equals_a_plain_resampling():
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
