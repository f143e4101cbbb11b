"""Normalised scores: what a score means does not depend on the album's own scale of scores."""

from dataclasses import replace

import numpy as np
import pytest

from faceops.verification.measure_thresholds import measure_normalisation
from faceops.verification.normalisation import (
    NEAREST,
    RATES,
    Cohort,
    Normalisation,
    at_rate,
    pair_rate,
    rate_at,
    synthetic_cohort,
)
from faceops.verification.verifier import Part
from tests.verification.population import (
    SIZE,
    TAIL,
    VERIFIER,
    album,
    calibration_sets,
    normalisation,
)

KNOWN = normalisation(0.0, 0.4)
ROWS, _ = album(3, 50, 2)
COHORT = Cohort(KNOWN, album(4, 90, 1)[0])


def test_describe_equals_a_plain_loop():
    others = np.concatenate([COHORT.people, synthetic_cohort(KNOWN)]).astype(np.float64)
    described = COHORT.describe(ROWS)
    weight = np.array(KNOWN.weight)
    np.testing.assert_array_equal(described[:, :-2], ROWS)
    for row, (mean, deviation) in zip(ROWS.astype(float), described[:, -2:], strict=True):
        scores = sorted((((row - other) ** 2) @ weight for other in others), reverse=True)
        kept = scores[COHORT.skipped : COHORT.skipped + NEAREST]
        assert mean == pytest.approx(np.mean(kept), abs=1e-4)
        assert deviation == pytest.approx(np.std(kept), rel=1e-3)


def test_normalised_scores_depend_neither_on_the_scale_nor_on_a_shift_of_the_raw_scores():
    described = COHORT.describe(ROWS)
    expected = COHORT.verifier.logit_matrix(described, described)
    for factor in (0.2, 5.0):
        scaled = KNOWN.model_copy(update={"weight": [factor * one for one in KNOWN.weight]})
        other = replace(COHORT, normalisation=scaled)
        found = other.verifier.logit_matrix(*2 * (other.describe(ROWS),))
        np.testing.assert_allclose(found, expected, atol=5e-3)
    shifted = described.copy()
    shifted[:, -2] += 0.7  # as if every raw score, those of the cohort too, were 0.7 higher
    found = replace(COHORT.verifier, bias=0.7).logit_matrix(shifted, shifted)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_template_is_the_mean_as_far_from_the_centre_as_the_faces():
    groups, centre = np.arange(len(ROWS)) % 7, np.array(KNOWN.centre)
    found = KNOWN.templates(ROWS, groups)
    for group, template in enumerate(found.astype(float)):
        faces = ROWS[groups == group].astype(float)
        mean = (faces - centre).mean(axis=0)
        mean *= np.linalg.norm(faces - centre, axis=1).mean() / np.linalg.norm(mean)
        expected = (centre + mean) / np.linalg.norm(centre + mean)
        np.testing.assert_allclose(template, expected, atol=1e-6)
    np.testing.assert_allclose(KNOWN.templates(ROWS, np.arange(len(ROWS))), ROWS, atol=1e-6)


def test_scores_of_two_networks_are_normalised_alone_and_then_summed():
    shares, other = (0.7, 0.3), normalisation(0.4)
    rows, people = [album(seed, 50, 2)[0] for seed in (3, 5)], [COHORT.people, album(6, 90, 1)[0]]

    def side_by_side(two: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.sqrt(s) * one for s, one in zip(shares, two, strict=True)], 1)

    both = Normalisation(
        parts=[Part(SIZE, share) for share in shares], weight=[*KNOWN.weight, *other.weight],
        centre=side_by_side([np.array([known.centre]) for known in (KNOWN, other)])[0].tolist(),
        link=0, scale=1, shift=0, shape=KNOWN.shape, populations=[],
    )  # fmt: skip
    joined = Cohort(both, side_by_side(people).astype(np.float32))
    described = joined.describe(side_by_side(rows).astype(np.float32))
    found = joined.verifier.logit_matrix(described, described)
    assert described.shape == (len(rows[0]), 2 * SIZE + 4)
    np.testing.assert_allclose(found, found.T, atol=2e-3)
    np.testing.assert_allclose(
        found, joined.verifier.logit(described[:, None], described[None]), atol=5e-3
    )
    alone = []
    for place, known in enumerate((KNOWN, other)):
        plain = known.model_copy(update={"scale": 1.0, "shift": 0.0})
        one = Cohort(plain, people[place])
        # Its synthetic people are others, as they are drawn for both networks at once.
        random = synthetic_cohort(both)[:, place * SIZE : (place + 1) * SIZE] / shares[place] ** 0.5
        one.__dict__["_faces"] = np.concatenate([one.people, random])
        alone.append(one.verifier.logit_matrix(*2 * (one.describe(rows[place]),)))
    expected = shares[0] * alone[0] + shares[1] * alone[1]
    variance = 0.75 * (shares[0] ** 2 + shares[1] ** 2) + 0.25
    np.testing.assert_allclose(found, expected / variance**0.5, atol=2e-2)


@pytest.mark.parametrize("parts", [[(SIZE - 1, 1.0)], [(SIZE, 0.9)], [(SIZE, 2.0), (0, -1.0)]])
def test_parts_that_do_not_fit_the_embedding_are_refused(parts):
    with pytest.raises(ValueError, match=f"sizes must add up to {SIZE}, the size of an embedding"):
        Normalisation.model_validate(KNOWN.model_dump() | {"parts": parts})


def test_a_rate_is_the_inverse_of_a_score_also_beyond_the_last_rate():
    tail = np.cumsum(np.random.default_rng(0).uniform(0.1, 1, len(RATES)))
    for rate in (0.4, 0.07, 1e-3, 2e-5, 1e-6, 1e-8):
        assert rate_at(tail, np.array(at_rate(tail, rate))) == pytest.approx(rate, rel=1e-6)
    assert (np.diff([at_rate(tail, rate) for rate in (0.5, 0.1, 1e-4, 1e-7)]) > 0).all()


@pytest.mark.parametrize(("budget", "enrolled"), [(0.01, 1), (0.01, 100), (0.5, 7.5)])
def test_a_rate_of_pairs_makes_three_fifths_of_the_budget(budget, enrolled):
    assert 1 - (1 - pair_rate(budget, enrolled)) ** enrolled == pytest.approx(0.6 * budget)


def test_the_synthetic_cohort_lies_around_the_centre_and_is_always_the_same():
    cohort = synthetic_cohort(KNOWN)
    np.testing.assert_allclose(np.linalg.norm(cohort, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(cohort.mean(axis=0), KNOWN.centre, atol=0.03)
    np.testing.assert_array_equal(cohort, synthetic_cohort(KNOWN))


def test_the_worst_population_is_the_one_whose_strangers_resemble_each_other_most():
    assert [one.name for one in KNOWN.populations] == ["alike 0", "alike 0.4"]
    name, odds = KNOWN.worst(1e-4)
    assert name == "alike 0.4"
    assert odds > normalisation(0.0).worst(1e-4)[1] + 0.5
    assert KNOWN.worst(1e-5)[1] > odds


def test_the_scale_makes_log_odds_of_normalised_scores():
    rows, persons, sets = calibration_sets(0.0, 0.4)
    own, whose = rows[sets == "alike 0"], persons[sets == "alike 0"]
    cohort = Cohort(KNOWN, own[np.unique(whose, return_index=True)[1]])
    odds = cohort.verifier.logit_matrix(*2 * (cohort.describe(own),))
    same = whose[:, None] == whose
    assert np.median(odds[same & ~np.eye(len(own), dtype=bool)]) > 3
    assert np.quantile(odds[~same], 0.99) < 0


def test_sets_of_few_people_are_left_out_and_alone_they_give_nothing():
    few, many = album(5, 20, 3), album(6, 60, 3)
    rows, persons = np.concatenate([few[0], many[0]]), np.char.add("x", np.r_[few[1], many[1]])
    for nothing in (few, album(7, 80, 1)):  # few people, one photo a person
        assert measure_normalisation(*nothing, VERIFIER, TAIL) is None
    sets = np.repeat(["few", "many"], [60, 180])
    found = measure_normalisation(rows, persons, VERIFIER, TAIL, sets)
    alone = measure_normalisation(*many, VERIFIER, TAIL)
    assert found is not None and alone is not None
    assert [one.name for one in found.populations] == ["many"]
    assert alone.populations[0].name  # "" would say that an album needs no fallback


def test_a_small_set_does_not_end_the_tail_of_the_large_ones():
    large, small = album(8, 300, 4), album(9, 45, 2)
    alone = measure_normalisation(*large, VERIFIER, TAIL)
    both = measure_normalisation(
        np.concatenate([large[0], small[0]]), np.r_[large[1], np.char.add("small", small[1])],
        VERIFIER, TAIL, np.repeat(["large", "small"], [1200, 90]),
    )  # fmt: skip
    assert alone is not None and both is not None
    steps = [np.diff(one.curve[RATES.index(3e-4) :]) for one in (alone, both)]
    np.testing.assert_allclose(*steps, rtol=0.1)
    assert (steps[0] > 0).all()
