"""An album without labels gets a threshold that keeps its budget; the labels here only check it."""

import numpy as np
import pytest

from faceops.base.errors import UsageError
from faceops.verification.album import (
    FEWEST_PEOPLE,
    JOIN,
    ROUNDS,
    AlbumThreshold,
    average_linkage,
    effective_people,
    group_people,
    link_faces,
    measure_album,
    pairs_within,
    threshold_in,
)
from faceops.verification.error_rates import impostor_comparisons
from tests.evaluation.simulated import thresholds
from tests.verification.population import album, normalisation

KNOWN = normalisation(0.0, 0.4)
NOBODY = np.zeros((0, 64), np.float32)


def random_similarity(count: int, seed: int) -> np.ndarray:
    upper = np.triu(np.random.default_rng(seed).normal(size=(count, count)), 1)
    return (upper + upper.T).astype(np.float32)


def same_groups(one: np.ndarray, two: np.ndarray) -> bool:
    return bool(((one[:, None] == one) == (two[:, None] == two)).all())


@pytest.mark.parametrize("seed", range(3))
def test_average_linkage_equals_scipy(seed):
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    similarity = random_similarity(40, seed)
    distance = 10.0 - similarity.astype(float)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance), "average")
    for cut in (-0.5, 0.2, 0.8, 1.5, 9.0):
        expected = fcluster(tree, 10.0 - cut, "distance")
        assert same_groups(average_linkage(similarity.copy(), cut), expected)


def test_average_linkage_keeps_pairs_apart_also_by_way_of_others():
    similarity = np.full((4, 4), 5.0, np.float32)
    similarity[0, 1] = similarity[1, 0] = -np.inf
    groups = average_linkage(similarity, 1.0)
    assert groups[0] != groups[1]
    assert len(np.unique(groups)) == 2
    assert len(average_linkage(np.zeros((0, 0), np.float32), 1.0)) == 0


def test_the_same_faces_in_another_order_are_the_same_album():
    rows, _ = album(1, 80, 3, 0.2)
    order = np.random.default_rng(0).permutation(len(rows))
    photos = np.arange(len(rows)) // 2
    one = measure_album(KNOWN, rows, rows[:9], photos)
    two = measure_album(KNOWN, rows[order], rows[:9][::-1], photos[order])
    np.testing.assert_array_equal(one.cohort.people, two.cohort.people)
    np.testing.assert_array_equal(one.tail, two.tail)
    assert one.threshold(0.01, 10) == two.threshold(0.01, 10)


def test_two_faces_of_one_photo_are_two_people():
    rows, _ = album(2, 60, 3)
    photos = np.arange(len(rows)) // 3  # all photos of a person in one, as a collage
    apart = pairs_within(photos)
    groups, _ = group_people(rows, link_faces(rows, KNOWN, apart), KNOWN, apart, JOIN, ROUNDS)
    assert len(apart) == 180
    assert (groups[apart[:, 0]] != groups[apart[:, 1]]).all()
    free, _ = group_people(rows, link_faces(rows, KNOWN, apart[:0]), KNOWN, apart[:0], JOIN, ROUNDS)
    assert (free[apart[:, 0]] == free[apart[:, 1]]).mean() > 0.9


def true_fpir(
    rows: np.ndarray, persons: np.ndarray, budget: float, size: int
) -> tuple[float, AlbumThreshold]:
    """Return the FPIR by labels at the threshold that the album gives without any."""
    measured = measure_album(KNOWN, rows, NOBODY)
    found = measured.threshold(budget, effective_people([1] * size))
    described, cut = measured.cohort.describe(rows), found.log_odds
    compared = impostor_comparisons(described, persons, measured.cohort.verifier, cut)
    return compared.rate(cut, size), found


@pytest.mark.parametrize(
    ("people", "photos", "size", "alike"), [(250, 2, 20, 0.0), (250, 2, 20, 0.4), (200, 4, 50, 0.4)]
)
def test_the_budget_is_kept_in_albums_of_similar_and_of_other_people(people, photos, size, alike):
    rates = [true_fpir(*album(seed, people, photos, alike), 0.01, size)[0] for seed in (1, 2, 3)]
    assert 0.005 < np.mean(rates) < 0.02


def test_the_interval_holds_the_share_of_strangers_who_are_named():
    """Galleries and albums are drawn again and again; 95 % is aimed at."""
    covered = []
    for seed in range(20):
        rows, persons = album(seed, 110, 3, (0.0, 0.2, 0.4)[seed % 3])
        gallery = np.flatnonzero(np.isin(persons, [f"P{i}" for i in range(20)]))[::3]
        strangers = np.flatnonzero(~np.isin(persons, persons[gallery]))
        probes = np.setdiff1d(np.arange(len(rows)), gallery)
        measured = measure_album(KNOWN, rows[probes], rows[gallery])
        found = measured.threshold(0.02, effective_people([1] * 20))
        assert found.low is not None and found.high is not None
        described = measured.cohort.describe(rows)
        odds = measured.cohort.verifier.logit_matrix(described[strangers], described[gallery])
        covered.append(found.low <= (odds.max(axis=1) >= found.log_odds).mean() <= found.high)
    assert np.mean(covered) >= 0.85


def test_an_album_of_few_people_cannot_say_and_names_the_worst_population():
    rows, _ = album(3, FEWEST_PEOPLE - 5, 4)
    measured = measure_album(KNOWN, rows, NOBODY)
    assert measured.people < FEWEST_PEOPLE
    found = measured.threshold(0.01, 10)
    assert (found.population, found.low, found.high) == ("alike 0.4", None, None)
    name, odds = KNOWN.worst(1 - 0.994**0.1)
    assert (name, odds) == (found.population, pytest.approx(found.log_odds, abs=0.05))
    assert measured.strangers_named(np.array(found.log_odds), 10) == pytest.approx(0.006, rel=0.2)
    enough = measure_album(KNOWN, album(3, FEWEST_PEOPLE + 15, 4)[0], NOBODY)
    assert enough.threshold(0.01, 10).population == ""
    for few, gallery in ((NOBODY, NOBODY), (rows[:12], rows[12:])):  # whatever the gallery
        found = measure_album(KNOWN, few, gallery).threshold(0.01, 10)
        assert (found.population, found.low, found.people) == ("alike 0.4", None, len(few))


def test_the_threshold_rises_with_the_gallery_and_falls_with_the_budget():
    measured = measure_album(KNOWN, album(4, 150, 3)[0], NOBODY)
    cuts = [(0.2, 20), (0.01, 20), (0.01, 100), (0.01, 1000), (0.001, 1000)]
    assert (np.diff([measured.threshold(*cut).log_odds for cut in cuts]) > 0).all()
    found = measured.threshold(0.01, 20)
    assert measured.strangers_named(np.array(found.log_odds), 20) == pytest.approx(0.006, rel=0.05)
    assert 0 < found.probability < 1
    assert effective_people([1] * 7) == 7 and 10 < effective_people([2] * 10) < 20


def test_a_budget_that_the_release_does_not_support_is_refused():
    measured = measure_album(KNOWN, album(4, 60, 2)[0], NOBODY)
    with pytest.raises(UsageError, match="30,000 people"):
        threshold_in(measured, thresholds(), 1e-4, [1, 2])
    assert threshold_in(measured, thresholds(), 0.05, [1, 2]).budget == 0.05


def test_an_embedding_that_is_not_finite_does_not_move_the_threshold():
    rows, _ = album(6, 80, 3)
    broken = np.concatenate([rows, np.full((1, 64), np.nan, np.float32)])
    one, two = (measure_album(KNOWN, faces, rows[:5]) for faces in (rows, broken))
    np.testing.assert_array_equal(one.tail, two.tail)
    assert (one.people, one.faces + 1) == (two.people, two.faces)
