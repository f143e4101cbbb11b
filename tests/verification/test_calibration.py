"""Calibration finds the true log odds, the best is chosen by cross-validation; reliability."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from faceops.verification.calibration import (
    CHOICES,
    MAX_SLOPE,
    bin_sums,
    choose_calibration,
    fit_map,
    isotonic,
    pairs_by_fold,
    people_folds,
    platt,
    reliability_of,
    temperature,
)
from faceops.verification.pairs import (
    PairScores,
    all_pair_scores,
    codes,
    genuine_pairs,
    score_table,
)
from faceops.verification.verifier import Verifier


def normal(seed: int, genuine: int, impostor: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose true log odds, for even odds, are 4 x - 2."""
    draw = np.random.default_rng(seed)
    one, two = draw.normal(1, 0.5, genuine), draw.normal(0, 0.5, impostor)
    return one.astype(np.float32), two.astype(np.float32)


def test_platt_finds_the_odds_of_two_normal_distributions():
    scale, bias = platt(score_table(*normal(0, 200_000, 50_000)))
    assert scale == pytest.approx(4, rel=0.03)
    assert bias == pytest.approx(-2, rel=0.03)


def test_temperature_finds_the_scale_and_keeps_zero():
    one, two = normal(3, 100_000, 100_000)
    raw = score_table(10 * (4 * one - 2), 10 * (4 * two - 2))
    assert temperature(raw) == pytest.approx(0.1, rel=0.02)
    assert fit_map(raw, "temperature")(np.zeros(1, np.float32))[0] == 0


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_binned_scores_give_nearly_the_same_map(method):
    one, two = normal(4, 3000, 9000)
    whole = fit_map(score_table(4 * one - 1.5, 4 * two - 1.5), method)  # type: ignore[arg-type]
    binned = fit_map(score_table(4 * one - 1.5, 4 * two - 1.5, bins=4000), method)  # type: ignore[arg-type]
    raw = np.linspace(-12, 12, 500, dtype=np.float32)
    difference = np.abs(binned(raw) - whole(raw))
    assert difference.mean() < 0.01
    assert difference.max() < (0.15 if method == "isotonic" else 0.01)


@pytest.mark.parametrize("seed", range(2))
def test_isotonic_rises_strictly_and_never_too_steeply(seed):
    one, two = normal(seed, 400, 5000)
    table = score_table(6 * one - 3, 6 * two - 3)
    knots, log_odds = isotonic(table)
    assert all(a < b for a, b in pairwise(knots))
    slopes = np.diff(log_odds) / np.diff(knots)
    assert (slopes > 0).all()
    assert (slopes <= MAX_SLOPE * 1.01).all()
    raw = np.sort(np.concatenate([one, two]))
    whole = fit_map(score_table(one, two), "isotonic")(raw)
    assert (np.diff(whole[np.unique(raw, return_index=True)[1]]) >= 0).all()


@pytest.mark.parametrize("method", CHOICES)
@pytest.mark.parametrize(
    ("genuine", "impostor"),
    [
        (np.full(100, -0.2), np.full(100, -1.5)),  # separable
        (np.full(5, 1.0), np.full(900, 1.0)),  # no difference
        (np.array([0.3]), np.array([0.1])),  # one pair of each
        (np.full(20, -2.0), np.full(20, 3.0)),  # the wrong way round
    ],
)
def test_degenerate_scores_give_a_finite_rising_map(method, genuine, impostor):
    fitted = fit_map(score_table(genuine, impostor), method)  # type: ignore[arg-type]
    found = fitted(np.array([-5, -1, 0, 1, 5], np.float32))
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


def table_of(people: int, photos: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    persons = np.repeat(np.arange(people), photos)
    rows = draw.normal(size=(people, 8))[persons] + 0.5 * draw.normal(size=(len(persons), 8))
    return rows.astype(np.float32), persons.astype(str)


def scores_of(persons: np.ndarray, bend: bool) -> PairScores:
    """Logits of all pairs, with true log odds 2 x, or bent: 4 x below 0 and .5 x above."""
    draw = np.random.default_rng(1)
    one = len(genuine_pairs(persons))
    two = len(persons) * (len(persons) - 1) // 2 - one
    genuine, impostor = draw.normal(1, 1, one), draw.normal(-1, 1, two)
    if bend:
        genuine, impostor = (np.where(x > 0, 4 * x, x / 2) for x in (genuine, impostor))
    return PairScores(genuine.astype(np.float32), impostor.astype(np.float32))


def test_folds_are_of_people_and_even():
    person = codes(np.repeat([f"p{i}" for i in range(23)], np.arange(1, 24)))
    fold = people_folds(person, 5, seed=3)
    assert np.ptp(np.bincount(fold)) <= 1
    photos = np.bincount(fold[person])
    assert photos.max() < 1.6 * photos.min()
    np.testing.assert_array_equal(fold, people_folds(person, 5, seed=3))


def test_pairs_by_fold_equal_a_double_loop():
    rows, persons = table_of(7, 3)
    verifier = Verifier(np.full(8, -1, np.float32), 1.0, "distance")
    scores = all_pair_scores(rows, persons, verifier, log_odds=True)
    person = codes(persons)
    fold = people_folds(person, 3, seed=0)[person]
    table = pairs_by_fold(scores, person, fold, seed=0)
    pairs = [(i, j, verifier.logit(rows[i], rows[j])) for i, j in combinations(range(21), 2)]
    for k in range(3):
        inside = [(i, j, score) for i, j, score in pairs if fold[i] == fold[j] == k]
        outside = [(i, j, score) for i, j, score in pairs if k not in (fold[i], fold[j])]
        for part, own in ((table.within(k), inside), (table.without(k), outside)):
            for same, counts in ((True, part.genuine), (False, part.impostor)):
                wanted = sorted(s for i, j, s in own if (persons[i] == persons[j]) == same)
                # three photos, three pairs: each weighs a third
                times = np.rint(counts * (3 if same else 1)).astype(int)
                found = np.repeat(part.score, times)
                np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(("bend", "wanted"), [(False, "platt"), (True, "isotonic")])
def test_the_method_with_the_lowest_loss_is_chosen(bend, wanted):
    persons = table_of(60, 6)[1]
    choice = choose_calibration(scores_of(persons, bend), persons, seed=1)
    losses = {name: result.log_loss for name, result in choice.held_out.items()}
    assert choice.folds == 5
    if bend:
        assert choice.method == wanted
        assert losses["isotonic"] < losses["platt"] - 0.001
    else:  # knots fit only noise
        assert choice.method != "isotonic"
        assert losses["platt"] < losses["isotonic"]
        assert choice.map.scale == pytest.approx(2, rel=0.1)
    assert choice.held_out[choice.method].expected_error < 0.04


def test_a_named_method_is_used_and_the_others_are_measured_if_there_are_people_for_folds():
    persons = table_of(20, 4)[1]
    choice = choose_calibration(scores_of(persons, True), persons, method="temperature")
    assert (choice.method, choice.map.shift) == ("temperature", 0)
    assert set(choice.held_out) == {"platt", "temperature", "isotonic"}
    persons = np.array(["a", "a", "b", "c"])
    choice = choose_calibration(scores_of(persons, False), persons)
    assert (choice.method, choice.held_out, choice.folds) == ("platt", {}, 0)


def test_reliability_is_that_of_a_loop_over_pairs():
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
