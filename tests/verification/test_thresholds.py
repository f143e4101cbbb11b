"""Thresholds keep the budget that they were measured for, on people measured on and on others."""

from functools import cache

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.config.sections import Verify
from faceops.verification.false_accept_rate import threshold_at
from faceops.verification.false_positive_identification import count_strangers, find_lookalikes
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import PairScores
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier, sigmoid

SIZE = 24
SMALL = Verify(far_budgets=[0.1], fpir_budgets=[0.1], gallery_sizes=[5], default_budget=0.1, seed=0)
VERIFIER = Verifier(np.full(SIZE, -9, np.float32), 9.0, "distance")


@cache
def population(seed: int, people: int, photos: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings float32 of people of one population; some are everybody's lookalikes."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(people, SIZE))
    centres[:, 0] += draw.gamma(1.0, 1.2, people)  # hubs: resembling many, so pairs depend
    persons = np.repeat(np.arange(people), photos)
    embeddings = centres[persons] + 0.25 * draw.normal(size=(len(persons), SIZE))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings.astype(np.float32), persons.astype(str)


def all_scores(embeddings: np.ndarray, persons: np.ndarray) -> PairScores:
    first, second = np.triu_indices(len(persons), 1)
    same = persons[first] == persons[second]
    scores = VERIFIER.probability_matrix(embeddings, embeddings)[first, second]
    return PairScores(scores[same], scores[~same], False)


@cache
def measured(seed: int, people: int, default_budget: float = 0.1) -> Thresholds:
    embeddings, persons = population(seed, people)
    return measure_thresholds(
        embeddings, persons, VERIFIER, all_scores(embeddings, persons),
        Verify(
            far_budgets=[0.01, 0.001, 0.0001], fpir_budgets=[0.1, 0.01, 0.001],
            gallery_sizes=[20, 2000], default_budget=default_budget, seed=1,
        ),
        "a population",
    )  # fmt: skip


def log_odds(probability: float) -> float:
    return float(np.log(probability) - np.log1p(-probability))


@pytest.mark.parametrize("faces", [1, 7, 50, 200])
@pytest.mark.parametrize("budget", [0.1, 0.01])
def test_promise_holds_on_other_people(faces: int, budget: float) -> None:
    cut = log_odds(measured(0, 400).for_search(budget, faces))
    others = find_lookalikes(*population(1, 1500), VERIFIER, cut)
    seen = others.rate(cut, faces)
    # 400 people know a rate to within a factor; new people show it on the average.
    assert budget / 3 <= seen <= budget * 2


@pytest.mark.parametrize("faces", [400, 1400])
def test_larger_galleries_than_measured_stay_within_the_budget(faces: int) -> None:
    few = measured(0, 100)
    assert not few.search_is_measured(0.1, faces)
    cut = log_odds(few.for_search(0.1, faces))
    assert find_lookalikes(*population(1, 1500), VERIFIER, cut).rate(cut, faces) <= 0.1


def test_interval_of_a_larger_gallery_than_measured_holds_what_others_show() -> None:
    embeddings, persons = population(0, 400)
    row = measure_thresholds(
        embeddings, persons, VERIFIER, all_scores(embeddings, persons),
        Verify(
            far_budgets=[], fpir_budgets=[0.9], gallery_sizes=[2000], default_budget=0.9, seed=1
        ),
        "a population",
    ).search[0]  # fmt: skip
    assert row.probability is not None
    assert row.false_positive_rate is not None
    assert not row.measured
    cut = log_odds(row.probability)
    seen = find_lookalikes(*population(1, 2200), VERIFIER, cut).rate(cut, 2000)
    assert row.false_positive_rate.low <= seen <= row.false_positive_rate.high
    # A low end that grew with the gallery would have promised errors that nobody makes.
    assert seen < row.false_positive_rate.low * 2000 / 200


def test_threshold_in_the_table_keeps_its_budget_on_the_people_measured() -> None:
    thresholds = measured(0, 400)
    counts = count_strangers(*population(0, 400), VERIFIER, seed=1)
    row = next(r for r in thresholds.search if (r.gallery_faces, r.budget) == (20, 0.1))
    assert row.measured
    assert row.probability is not None
    close = find_lookalikes(*population(0, 400), VERIFIER, log_odds(row.probability), seed=1)
    assert close.rate(log_odds(row.probability), 20) <= 0.1
    assert row.false_positive_rate is not None
    assert row.false_positive_rate.low < 0.1 < row.false_positive_rate.high
    assert counts.rates(20)[0] > 0.1


def test_threshold_rises_with_the_gallery_and_falls_with_the_budget() -> None:
    thresholds = measured(0, 400)
    by_size = [thresholds.for_search(0.01, n) for n in (1, 3, 10, 50, 100, 199, 200, 1000, 10_000)]
    assert by_size == sorted(by_size)
    assert by_size[-1] > by_size[0]
    by_budget = [thresholds.for_search(b, 100) for b in (0.01, 0.1, 0.5, 0.99)]
    assert by_budget == sorted(by_budget, reverse=True)


def test_budget_beyond_the_people_is_refused_with_the_number_needed() -> None:
    thresholds = measured(0, 400)
    with pytest.raises(UsageError, match=r"3,000 people.* allow 0\.0075"):
        thresholds.for_search(0.001, 10)
    refused = [row for row in thresholds.search if row.probability is None]
    assert [(row.budget, row.people_needed) for row in refused] == [(0.001, 3000)] * 2
    with pytest.raises(UsageError, match=r"448 people"):
        thresholds.for_pairs(1e-4)
    assert [row.budget for row in thresholds.pairs if row.probability is None] == [1e-4]


def test_default_budget_beyond_the_people_stops_the_measurement() -> None:
    with pytest.raises(FaceOpsError, match=r"verify\.default_budget: .*300 people"):
        measured(0, 100, default_budget=0.01)


def test_pair_threshold_keeps_its_rate_and_states_an_interval() -> None:
    scores = all_scores(*population(0, 400))
    for row in measured(0, 400).pairs:
        if row.probability is None:
            continue
        seen = (scores.impostor >= np.float32(row.probability)).mean()
        assert seen <= row.budget
        assert row.false_accept_rate is not None
        assert row.false_accept_rate.low < seen < row.false_accept_rate.high
        assert row.probability == pytest.approx(
            measured(0, 400).for_pairs(row.budget), rel=0.02, abs=1e-4
        )


@pytest.mark.parametrize("budget", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_budget_outside_0_to_1_is_refused(budget: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        measured(0, 100).for_search(budget, 10)


def test_empty_gallery_is_refused() -> None:
    with pytest.raises(UsageError, match="enrol people"):
        measured(0, 100).for_search(0.1, 0)


def test_strangers_who_look_alike_let_nobody_through() -> None:
    embeddings = np.zeros((60, SIZE), np.float32)
    embeddings[:, 0] = 1
    persons = np.repeat(np.arange(30), 2).astype(str)
    sure = Verifier(np.full(SIZE, -9, np.float32), 40.0, "distance")
    thresholds = measure_thresholds(
        embeddings, persons, sure, PairScores(np.ones(30, np.float32), np.ones(1740, np.float32),
        False), SMALL, "one face",
    )  # fmt: skip
    assert thresholds.for_search(0.1, 10) > 1
    assert thresholds.pairs[0].true_accept_rate == 0


def test_too_few_pairs_are_refused_in_words() -> None:
    embeddings, persons = population(0, 100)
    none = PairScores(np.zeros(0, np.float32), np.zeros(100, np.float32), False)
    with pytest.raises(FaceOpsError, match="too few"):
        measure_thresholds(embeddings, persons, VERIFIER, none, SMALL, "x")


@pytest.mark.parametrize("far", [0.0, 0.1, 0.25, 0.3, 0.5, 1.0])
def test_tied_scores_fall_together_as_by_brute_force(far: float) -> None:
    scores = np.array([0.9, 0.9, 0.7, 0.7, 0.7, 0.5, 0.2, 0.2, 0.1, 0.1], np.float32)
    cut = np.float32(threshold_at(np.sort(scores)[::-1], far))
    candidates = [np.nextafter(s, np.float32(2)) for s in scores] + [np.float32(0)]
    allowed = [c for c in candidates if (scores >= c).sum() <= far * len(scores) + 1e-9]
    assert cut == min(allowed)


def test_sigmoid_and_log_odds_agree() -> None:
    assert log_odds(float(sigmoid(np.array(3.0)))) == pytest.approx(3.0, abs=1e-4)
