"""The calibration is chosen by cross-validation over people."""

import numpy as np
import pytest

from faceops.verification.calibration import choose_calibration, pairs_by_fold, people_folds, platt
from faceops.verification.pairs import (
    PairScores,
    all_pair_scores,
    codes,
    genuine_pairs,
    genuine_weights,
)
from faceops.verification.score_table import score_table
from faceops.verification.verifier import Method, Verifier


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
    return PairScores(genuine.astype(np.float32), impostor.astype(np.float32), False)


def test_folds_are_of_people_and_even() -> None:
    person = codes(np.repeat([f"p{i}" for i in range(23)], np.arange(1, 24)))
    fold = people_folds(person, 5, seed=3)
    assert np.ptp(np.bincount(fold)) <= 1
    photos = np.bincount(fold[person])
    assert photos.max() < 1.6 * photos.min()
    np.testing.assert_array_equal(fold, people_folds(person, 5, seed=3))


def test_pairs_by_fold_equal_a_double_loop() -> None:
    rows, persons = table_of(7, 3)
    verifier = Verifier(np.full(8, -1, np.float32), 1.0, "distance")
    scores = all_pair_scores(rows, persons, verifier, log_odds=True)
    person = codes(persons)
    fold = people_folds(person, 3, seed=0)[person]
    table = pairs_by_fold(scores, person, fold, seed=0)
    for k in range(3):
        inside, outside = [], []
        for i in range(21):
            for j in range(i + 1, 21):
                if fold[i] == k and fold[j] == k:
                    inside.append((persons[i] == persons[j], verifier.logit(rows[i], rows[j])))
                if fold[i] != k and fold[j] != k:
                    outside.append((persons[i] == persons[j], verifier.logit(rows[i], rows[j])))
        for part, pairs in ((table.within(k), inside), (table.without(k), outside)):
            for same, counts in ((True, part.genuine), (False, part.impostor)):
                wanted = sorted(float(score) for kind, score in pairs if kind == same)
                # three photos, three pairs: each weighs a third
                times = np.rint(counts * (3 if same else 1)).astype(int)
                found = np.repeat(part.score, times)
                np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(("bend", "wanted"), [(False, "platt"), (True, "isotonic")])
def test_the_method_with_the_lowest_loss_is_chosen(bend: bool, wanted: Method) -> None:
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


def test_people_weigh_the_same_whatever_their_number_of_photos() -> None:
    persons = np.append(np.repeat("many", 40), np.repeat([f"p{i}" for i in range(30)], 2))
    draw = np.random.default_rng(4)
    whose = persons[genuine_pairs(persons)[:, 0]]
    mixed, right = draw.normal(-1, 1, len(whose)), draw.normal(1, 1, len(whose))
    genuine = np.where(whose == "many", mixed, right).astype(np.float32)
    two = len(persons) * (len(persons) - 1) // 2 - len(genuine)
    scores = PairScores(genuine, draw.normal(-1, 1, two).astype(np.float32), False)
    found = choose_calibration(scores, persons, method="platt").map
    weights = genuine_weights(persons)
    assert weights[whose == "many"].sum() == pytest.approx(1)
    # As if the one person had given one pair.
    one = np.append(np.median(genuine[whose == "many"]), genuine[whose != "many"])
    scale, shift = platt(score_table(one, scores.impostor))
    assert (found.scale, found.shift) == (
        pytest.approx(scale, rel=0.1),
        pytest.approx(shift, abs=0.1),
    )
    pooled = platt(score_table(genuine, scores.impostor))
    assert abs(pooled[0] - scale) > 0.3 * scale


def test_a_named_method_is_used_and_the_others_are_still_measured() -> None:
    persons = table_of(20, 4)[1]
    choice = choose_calibration(scores_of(persons, True), persons, method="temperature")
    assert choice.method == "temperature"
    assert choice.map.shift == 0
    assert set(choice.held_out) == {"platt", "temperature", "isotonic"}


def test_too_few_people_for_folds_use_platt() -> None:
    persons = np.array(["a", "a", "b", "c"])
    choice = choose_calibration(scores_of(persons, False), persons)
    assert (choice.method, choice.held_out, choice.folds) == ("platt", {}, 0)


def test_the_verifier_is_the_layer_followed_by_the_map() -> None:
    rows, persons = table_of(12, 4)
    layer = Verifier(np.linspace(-2, -1, 8).astype(np.float32), 3.0, "linear")
    raw = all_pair_scores(rows, persons, layer, log_odds=True)
    for method in ("platt", "temperature", "isotonic"):
        choice = choose_calibration(raw, persons, method=method)  # type: ignore[arg-type]
        found = all_pair_scores(rows, persons, choice.map.of(layer))
        np.testing.assert_allclose(choice.map.probability(raw.impostor), found.impostor, atol=1e-5)
