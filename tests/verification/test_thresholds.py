"""Thresholds keep their budget, on the people they were measured on and on others."""

from functools import cache
from math import comb

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.config.sections import Verify
from faceops.verification.error_rates import count_strangers, impostor_comparisons
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import PairScores, all_pair_scores
from faceops.verification.thresholds import (
    Thresholds,
    log_odds_of,
    people_for_far,
    people_for_fpir,
    smallest_far,
    smallest_fpir,
)
from faceops.verification.verifier import Verifier

SIZE = 24
VERIFIER = Verifier(np.full(SIZE, -9, np.float32), 9.0, "distance")
SMALL = Verify(far_budgets=[0.1], fpir_budgets=[0.1], gallery_sizes=[5], default_budget=0.1, seed=0)


@cache
def population(seed: int, people: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings float32 of two photos per person; some people resemble many others."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(people, SIZE))
    centres[:, 0] += draw.gamma(1.0, 1.2, people)  # pairs are then not independent
    persons = np.repeat(np.arange(people), 2)
    embeddings = centres[persons] + 0.25 * draw.normal(size=(len(persons), SIZE))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings.astype(np.float32), persons.astype(str)


def measure(people: int, **settings: object) -> Thresholds:
    rows = population(0, people)
    verify = Verify.model_validate(
        {"fpir_budgets": [0.1, 0.01, 0.001], "gallery_sizes": [20, 2000], "seed": 1} | settings
    )
    return measure_thresholds(
        *rows, VERIFIER, all_pair_scores(*rows, VERIFIER), verify, "a population"
    )


@cache
def measured(people: int) -> Thresholds:
    return measure(people, default_budget=0.1)


def fpir(seed: int, people: int, probability: float, faces: int) -> float:
    cut = log_odds_of(probability)
    return impostor_comparisons(*population(seed, people), VERIFIER, cut, seed=1).rate(cut, faces)


@pytest.mark.parametrize("faces", [1, 7, 50, 200])
@pytest.mark.parametrize("budget", [0.1, 0.01])
def test_budget_is_kept_on_other_people(faces, budget):
    rate = fpir(1, 1500, measured(400).for_search(budget, faces), faces)
    # 400 people measure a rate to within a factor.
    assert budget / 3 <= rate <= budget * 2


@pytest.mark.parametrize("threshold", [Thresholds.for_search, Thresholds.for_groups])
@pytest.mark.parametrize("faces", [400, 1400])
def test_larger_galleries_and_groups_than_measured_stay_within_the_budget(faces, threshold):
    few = measured(100)
    assert not few.search_is_measured(0.1, faces)
    assert fpir(1, 1500, threshold(few, 0.1, faces), faces) <= 0.1
    assert few.for_groups(0.1, 20) == few.for_search(0.1, 20)


def test_photos_under_a_wrong_name_hardly_raise_the_threshold_of_many_unknown_faces():
    rows, persons = population(0, 400)
    wrong = persons.astype("U9")
    wrong[1:17:2] = [f"wrong {number}" for number in range(8)]
    settings = Verify(fpir_budgets=[0.1], gallery_sizes=[20], default_budget=0.1, seed=1)
    noisy = measure_thresholds(
        rows, wrong, VERIFIER, all_pair_scores(rows, wrong, VERIFIER), settings, "a population"
    )
    clean, faces = measured(400), 100_000
    raised = [
        log_odds_of(threshold(noisy, 0.1, faces)) - log_odds_of(threshold(clean, 0.1, faces))
        for threshold in (Thresholds.for_groups, Thresholds.for_search)
    ]
    assert raised[0] < 0.5 and raised[1] > 2, raised


def test_interval_of_a_larger_gallery_than_measured_contains_the_rate_on_others():
    row = measure(
        400, far_budgets=[], fpir_budgets=[0.9], gallery_sizes=[2000], default_budget=0.9
    ).search[0]
    assert row.probability is not None and row.false_positive_rate is not None
    assert not row.measured
    rate = fpir(1, 2200, row.probability, 2000)
    assert row.false_positive_rate.low <= rate <= row.false_positive_rate.high
    assert rate < row.false_positive_rate.low * 2000 / 200  # the low end does not grow


def test_threshold_in_the_table_keeps_its_budget_on_the_people_measured():
    rows = {(row.gallery_faces, row.budget): row for row in measured(400).search}
    row = rows[20, 0.1]
    assert row.measured
    assert row.probability is not None and row.false_positive_rate is not None
    assert fpir(0, 400, row.probability, 20) <= 0.1
    assert row.false_positive_rate.low < 0.1 < row.false_positive_rate.high
    assert count_strangers(*population(0, 400), VERIFIER, seed=1).rates(20)[0] > 0.1


def test_threshold_rises_with_the_gallery_and_falls_with_the_budget():
    sizes = (1, 3, 10, 50, 100, 199, 200, 1000, 10_000)
    by_size = [measured(400).for_search(0.01, n) for n in sizes]
    assert by_size == sorted(by_size)
    assert by_size[-1] > by_size[0]
    by_budget = [measured(400).for_search(b, 100) for b in (0.01, 0.1, 0.5, 0.99)]
    assert by_budget == sorted(by_budget, reverse=True)


def test_budget_that_needs_more_people_is_refused_with_their_number():
    thresholds = measured(400)
    with pytest.raises(UsageError, match=r"3,000 people.* allow 0\.0075"):
        thresholds.for_search(0.001, 10)
    refused = [row for row in thresholds.search if row.probability is None]
    assert [(row.budget, row.people_needed) for row in refused] == [(0.001, 3000)] * 2
    with pytest.raises(UsageError, match=r"448 people"):
        thresholds.for_pairs(1e-4)
    assert [row.budget for row in thresholds.pairs if row.probability is None] == [1e-4]
    with pytest.raises(FaceOpsError, match=r"verify\.default_budget: .*300 people"):
        measure(100, default_budget=0.01)


def test_pair_threshold_keeps_its_rate_and_states_an_interval():
    scores = all_pair_scores(*population(0, 400), VERIFIER)
    for row in measured(400).pairs[:2]:
        assert row.probability is not None and row.false_accept_rate is not None
        rate = (scores.impostor >= np.float32(row.probability)).mean()
        assert rate <= row.budget
        assert row.false_accept_rate.low < rate < row.false_accept_rate.high
        stated = pytest.approx(measured(400).for_pairs(row.budget), rel=0.02, abs=1e-4)
        assert row.probability == stated


@pytest.mark.parametrize(
    ("budget", "faces", "message"),
    [
        *((budget, 10, "between 0 and 1") for budget in (0.0, 1.0, -0.1, 2.0, float("nan"))),
        (0.1, 0, "enrol people"),
    ],
)
def test_budget_outside_0_to_1_and_an_empty_gallery_are_refused(budget, faces, message):
    with pytest.raises(UsageError, match=message):
        measured(100).for_search(budget, faces)


def test_strangers_who_look_the_same_are_never_accepted():
    embeddings = np.zeros((60, SIZE), np.float32)
    embeddings[:, 0] = 1
    persons = np.repeat(np.arange(30), 2).astype(str)
    scores = PairScores(np.ones(30, np.float32), np.ones(1740, np.float32))
    sure = Verifier(np.full(SIZE, -9, np.float32), 40.0, "distance")
    thresholds = measure_thresholds(embeddings, persons, sure, scores, SMALL, "one face")
    assert thresholds.for_search(0.1, 10) > 1
    assert thresholds.pairs[0].true_accept_rate == 0


def test_too_few_pairs_are_refused():
    none = PairScores(np.zeros(0, np.float32), np.zeros(100, np.float32))
    with pytest.raises(FaceOpsError, match="too few"):
        measure_thresholds(*population(0, 100), VERIFIER, none, SMALL, "x")


@pytest.mark.parametrize(("fpir", "people"), [(0.1, 30), (0.01, 300), (0.001, 3000)])
def test_fpir_needs_three_over_it(fpir, people):
    assert people_for_fpir(fpir) == people and smallest_fpir(0) == smallest_fpir(1) == 1
    assert smallest_fpir(people) == pytest.approx(fpir)
    # 95 % of the time at least one of that many strangers is named when a share `fpir` is.
    assert 1 - (1 - fpir) ** people == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("far", [0.3, 0.01, 0.001, 1e-4, 1e-6])
def test_far_needs_ten_pairs_of_people_and_no_more(far):
    people = people_for_far(far)
    assert comb(people, 2) * far >= 10 - 1e-6
    assert comb(people - 1, 2) * far < 10
    assert smallest_far(people) <= far * (1 + 1e-9) and smallest_far(0) == smallest_far(1) == 1
