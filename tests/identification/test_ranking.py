"""People are ranked by normalised scores as a loop over all faces would rank them."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from faceops.base.reasons import CODES, Reason
from faceops.gallery.store import Gallery
from faceops.identification.engine import ranking
from faceops.identification.engine.decide import decide
from faceops.identification.engine.ranking import AlbumSearch, usable_faces
from faceops.verification.measure_thresholds import measure_normalisation
from faceops.verification.normalisation import Normalisation, unit
from faceops.verification.thresholds import NamingLimits, TailPoint
from faceops.verification.verifier import Verifier, sigmoid
from tests.identification.columns import block, photo, ranked, reasons

SIZE = 32
VERIFIER = Verifier(np.linspace(-12, -8, SIZE).astype(np.float32), 12.0, "linear")


def faces_of(draw: np.random.Generator, persons: np.ndarray, noise: float = 0.5) -> np.ndarray:
    centres = draw.normal(size=(max(persons, default=0) + 1, SIZE))
    return unit(centres[persons] + noise * draw.normal(size=(len(persons), SIZE)))


@pytest.fixture(scope="module")
def normalisation() -> Normalisation:
    persons = np.repeat(np.arange(60), 3)
    tail = [TailPoint(rate=0.1, probability=0.01), TailPoint(rate=5e-6, probability=0.9)]
    rows = faces_of(np.random.default_rng(7), persons)
    found = measure_normalisation(rows, persons, VERIFIER, tail)
    assert found is not None
    return found


def gallery_of(embeddings: np.ndarray, persons: np.ndarray) -> Gallery:
    rows = SimpleNamespace(embeddings=embeddings, person_rows=persons, embedding_size=SIZE)
    return cast(Gallery, rows)


def naive(search: AlbumSearch, faces: np.ndarray, gallery: Gallery) -> list[list[Any]]:
    """The two best of (-log odds, distance, person) for each face, by loops."""
    cohort = search.album.cohort
    people = range(int(gallery.person_rows.max()) + 1)
    templates = np.concatenate(
        [
            cohort.normalisation.templates(own, np.zeros(len(own), int))
            for own in (gallery.embeddings[gallery.person_rows == one] for one in people)
        ]
    )
    odds = cohort.verifier.logit_matrix(cohort.describe(faces), cohort.describe(templates))
    distances = np.linalg.norm(faces[:, None] - templates[None], axis=2)
    return [
        sorted((-float(line[one]), float(distances[row, one]), one) for one in people)[:2]
        for row, line in enumerate(odds)
    ]


@pytest.mark.parametrize("cells", [1, 300, 1 << 22])
@pytest.mark.parametrize("people", [1, 2, 9])
def test_the_best_people_are_those_of_the_naive_loops(people, cells, normalisation, monkeypatch):
    monkeypatch.setattr(ranking, "_CELLS", cells)
    draw = np.random.default_rng(people)
    persons = draw.permutation(np.append(np.arange(people), draw.integers(0, people, 30)))
    rows = faces_of(draw, persons)
    gallery = gallery_of(rows, persons)
    faces = np.concatenate([rows[::4], faces_of(draw, np.arange(6))])
    search = AlbumSearch.of_no_album(normalisation, gallery)
    found = search.rank(faces)
    expected = naive(search, faces, gallery)
    there = slice(0, min(people, 2))
    assert found.people[:, there].tolist() == [[one for *_, one in row] for row in expected]
    odds = [[-odds for odds, _, _ in row] for row in expected]
    np.testing.assert_allclose(found.scores[:, there], odds, atol=2e-3)
    apart = [[apart for _, apart, _ in row] for row in expected]
    np.testing.assert_allclose(found.distances[:, there], apart, atol=1e-5)
    np.testing.assert_array_equal(found.probabilities[:, 0], sigmoid(found.scores[:, 0]))
    if people == 1:
        assert (found.people[:, 1] < 0).all() and np.isneginf(found.scores[:, 1]).all()
    share = search.album.strangers_named(found.scores[:, 0], search.enrolled)
    np.testing.assert_array_equal(found.stranger_share, share)
    assert search.rank(faces[:0]).people.shape == (0, 2)


@pytest.mark.parametrize("cells", [1, 300, 1 << 22])
def test_refused_people_are_not_ranked(cells, normalisation, monkeypatch):
    monkeypatch.setattr(ranking, "_CELLS", cells)
    draw = np.random.default_rng(cells)
    persons = np.repeat(np.arange(4), 3)
    rows = faces_of(draw, persons)
    search = AlbumSearch.of_no_album(normalisation, gallery_of(rows, persons))
    free = search.rank(rows)
    refused = np.stack([np.arange(12), free.people[:, 0]])
    found = search.rank(rows, refused[:, :9])
    np.testing.assert_array_equal(found.people[:9, 0], free.people[:9, 1])
    np.testing.assert_array_equal(found.people[9:], free.people[9:])
    everybody = np.stack([np.zeros(4, np.int64), np.arange(4)])
    found = search.rank(rows, everybody)
    assert found.people[0].tolist() == [-1, -1]
    assert np.isnan(found.probabilities[0]).all() and np.isnan(found.distances[0]).all()
    np.testing.assert_array_equal(found.people[1:], free.people[1:])


@pytest.fixture(scope="module")
def crowd(normalisation: Normalisation) -> tuple[np.ndarray, Gallery]:
    """Faces of 2,000 people, of whom each second one resembles the one before, and a gallery."""
    draw = np.random.default_rng(11)
    people = draw.normal(size=(2000, SIZE))
    people[1::2] = people[::2] + 0.15 * draw.normal(size=(1000, SIZE))  # lookalikes
    rows = np.repeat(people, 2, axis=0) + 0.5 * draw.normal(size=(4000, SIZE))
    probes = people[::5] + 0.5 * draw.normal(size=(400, SIZE))
    return unit(probes), gallery_of(unit(rows), np.repeat(np.arange(2000), 2))


def test_candidates_are_ranked_as_all_people_are_lookalikes_too(crowd, normalisation, monkeypatch):
    probes, gallery = crowd
    faces = np.concatenate([probes, faces_of(np.random.default_rng(12), np.arange(400))])
    everybody = AlbumSearch.of_no_album(normalisation, gallery).rank(faces)
    monkeypatch.setattr(ranking, "EXACT_PEOPLE", 0)
    search = AlbumSearch.of_no_album(normalisation, gallery)
    found = search.rank(faces)
    np.testing.assert_array_equal(found.people[:400], everybody.people[:400])
    assert (found.people == everybody.people).mean() >= 0.999  # of strangers
    same = found.people == everybody.people
    np.testing.assert_allclose(found.scores[same], everybody.scores[same], atol=1e-4)
    np.testing.assert_allclose(found.distances[same], everybody.distances[same], atol=1e-5)
    assert (found.scores <= everybody.scores + 1e-4).all()  # nobody scores higher than exactly
    limit = float(np.median(everybody.scores[:400, 0]))
    limits = NamingLimits(0.5, 1.0, log_odds=limit, usual_log_odds=limit)
    photos, none = np.arange(len(faces)), np.full(len(faces), -1, np.int8)
    exact, fast = (decide(one, photos, none, limits) for one in (everybody, found))
    assert (exact.reason == CODES[Reason.AMBIGUOUS]).sum() >= 20 and exact.named.sum() >= 20
    np.testing.assert_array_equal(fast.person, exact.person)
    np.testing.assert_array_equal(fast.reason, exact.reason)


def test_faces_with_refused_people_are_compared_with_everybody(crowd, normalisation, monkeypatch):
    probes, gallery = crowd
    faces = probes[:40]
    free = AlbumSearch.of_no_album(normalisation, gallery).rank(faces)
    refused = np.stack([np.arange(0, 40, 3), free.people[::3, 0]])
    exact = AlbumSearch.of_no_album(normalisation, gallery).rank(faces, refused)
    monkeypatch.setattr(ranking, "EXACT_PEOPLE", 0)
    found = AlbumSearch.of_no_album(normalisation, gallery).rank(faces, refused)
    np.testing.assert_array_equal(found.people, exact.people)
    np.testing.assert_array_equal(found.people[::3, 0], free.people[::3, 1])


def test_people_with_the_same_photo_are_sorted_by_name(normalisation):
    draw = np.random.default_rng(3)
    rows = faces_of(draw, np.arange(8))
    persons = np.array([5, 3, 4, 0, 1, 2, 6, 5])
    rows[[1, 2]] = rows[0]  # 5, 3 and 4 share a photo; 5 has another one too
    found = AlbumSearch.of_no_album(normalisation, gallery_of(rows, persons)).rank(rows[:1])
    assert found.people.tolist() == [[3, 4]]


@pytest.mark.parametrize("people", [10, 40])
def test_single_photos_keep_the_budget(people, normalisation):
    draw = np.random.default_rng(people)
    centres = draw.normal(size=(people + 3000, SIZE))
    rows = unit(centres + 0.5 * draw.normal(size=centres.shape))
    search = AlbumSearch.of_no_album(normalisation, gallery_of(rows[:people], np.arange(people)))
    cut = search.album.threshold(0.05, search.enrolled)
    assert cut.low is None
    strangers = search.rank(rows[people:]).scores[:, 0]
    known = search.rank(unit(centres[:people] + 0.5 * draw.normal(size=(people, SIZE))))
    assert (strangers >= cut.log_odds).mean() <= 0.06
    assert (known.scores[:, 0] >= cut.log_odds).mean() >= 0.9


def test_the_album_is_of_usable_faces_and_each_photo_counts_once():
    values = np.arange(1, 5, dtype=np.float32)
    pair, poor = photo("a", [0.9, 0.9]), photo("b", [0.05, 0.9, 0.9])
    poor.faces["box"][1, 2] = 5  # pixels wide
    poor.faces["forgotten"][2] = True
    one = photo("c", [0.9], values[None])
    blocks = [block(pair, poor, photo(None)), block(pair, one)]
    rows, photos = usable_faces(blocks)
    assert rows.tolist() == [0, 1, 7] and photos.tolist() == [0, 0, 4]
    rows, photos = usable_faces([block(poor, photo(None))])
    assert rows.shape == photos.shape == (0,)


@pytest.mark.parametrize(
    ("odds", "expected"),
    [
        ((18.0,), None),
        ((17.999,), Reason.BELOW_THRESHOLD),
        ((18.0, 16.0), None),
        ((20.0, 17.5), None),  # a runner-up near the threshold has to be led by more
        ((20.0, 17.501), Reason.AMBIGUOUS),
    ],
)
def test_scores_are_compared_in_log_odds_where_all_probabilities_are_1(odds, expected):
    limits = NamingLimits(1.0, 1.0, log_odds=18.0, usual_log_odds=18.0)
    one = np.zeros(1, int), np.full(1, -1, np.int8)
    assert reasons(decide(ranked([odds], log_odds=True), *one, limits)) == [expected]
