"""People are ranked by normalised scores as a loop over all faces would rank them."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from faceops.base.reasons import Reason
from faceops.gallery.store import Gallery
from faceops.identification.engine import album_search
from faceops.identification.engine.album_search import AlbumSearch, usable_faces
from faceops.identification.engine.decide import Candidate, NamingRule, decide
from faceops.identification.settings import IDENTIFICATION
from faceops.identification.state.found_photo import FoundFace, FoundPhoto
from faceops.verification.measure_normalisation import measure_normalisation
from faceops.verification.normalisation import Normalisation, unit
from faceops.verification.thresholds import TailPoint
from faceops.verification.verifier import Verifier

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
    means = [gallery.embeddings[gallery.person_rows == one].mean(axis=0) for one in people]
    templates = np.array([mean / np.linalg.norm(mean) for mean in means], np.float32)
    odds = cohort.verifier.logit_matrix(cohort.describe(faces), cohort.describe(templates))
    distances = np.linalg.norm(faces[:, None] - templates[None], axis=2)
    return [
        sorted((-float(line[one]), float(distances[row, one]), one) for one in people)[:2]
        for row, line in enumerate(odds)
    ]


@pytest.mark.parametrize("cells", [1, 300, 1 << 22])
@pytest.mark.parametrize("people", [1, 2, 9])
def test_the_best_people_are_those_of_the_naive_loops(
    people: int, cells: int, normalisation: Normalisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album_search, "_CELLS", cells)
    draw = np.random.default_rng(people)
    persons = draw.permutation(np.append(np.arange(people), draw.integers(0, people, 30)))
    rows = faces_of(draw, persons)
    gallery = gallery_of(rows, persons)
    faces = np.concatenate([rows[::4], faces_of(draw, np.arange(6))])
    search = AlbumSearch.of_no_album(normalisation, gallery)
    ranked = search.rank(faces)
    expected = naive(search, faces, gallery)
    assert ranked.people.shape == (len(faces), min(people, 2))
    assert ranked.people.tolist() == [[person for _, _, person in row] for row in expected]
    np.testing.assert_allclose(
        ranked.log_odds, [[-odds for odds, _, _ in row] for row in expected], atol=2e-3
    )
    np.testing.assert_allclose(
        ranked.distances, [[apart for _, apart, _ in row] for row in expected], atol=1e-5
    )
    share = search.album.strangers_named(ranked.log_odds[:, 0], search.enrolled)
    np.testing.assert_array_equal(ranked.stranger_share, share)
    assert search.rank(faces[:0]).people.shape == (0, min(people, 2))


def test_people_with_the_same_photo_are_sorted_by_name(normalisation: Normalisation) -> None:
    draw = np.random.default_rng(3)
    rows = faces_of(draw, np.arange(8))
    persons = np.array([5, 3, 4, 0, 1, 2, 6, 5])
    rows[[1, 2]] = rows[0]  # 5, 3 and 4 share a photo; 5 has another one too
    ranked = AlbumSearch.of_no_album(normalisation, gallery_of(rows, persons)).rank(rows[:1])
    assert ranked.people.tolist() == [[3, 4]]


@pytest.mark.parametrize("people", [10, 40])
def test_single_photos_keep_the_budget(people: int, normalisation: Normalisation) -> None:
    draw = np.random.default_rng(people)
    centres = draw.normal(size=(people + 3000, SIZE))
    rows = unit(centres + 0.5 * draw.normal(size=centres.shape))
    search = AlbumSearch.of_no_album(normalisation, gallery_of(rows[:people], np.arange(people)))
    cut = search.album.threshold(0.05, search.enrolled)
    assert cut.low is None
    strangers = search.rank(rows[people:]).log_odds[:, 0]
    known = search.rank(unit(centres[:people] + 0.5 * draw.normal(size=(people, SIZE))))
    assert (strangers >= cut.log_odds).mean() <= 0.06
    assert (known.log_odds[:, 0] >= cut.log_odds).mean() >= 0.9


def photo(photo_id: str | None, *faces: FoundFace) -> FoundPhoto:
    return FoundPhoto(photo_id, None, faces)


def face(value: float, size: float = 50) -> FoundFace:
    return FoundFace((0, 0, size, size), 0.9, 0.9, np.full(4, value, np.float32), b"")


def test_the_album_is_of_usable_faces_and_each_photo_counts_once() -> None:
    forgotten = replace(face(9), embedding=np.zeros(0, np.float32))
    photos = [
        photo("a", face(1), face(2)), photo("b", face(9, size=5), forgotten), photo(None),
        photo("a", face(1), face(2)), photo("c", face(3)),
    ]  # fmt: skip
    rows, codes = usable_faces(photos, IDENTIFICATION, 4)
    assert rows[:, 0].tolist() == [1, 2, 3] and codes.tolist() == [0, 0, 4]
    rows, codes = usable_faces(photos[1:3], IDENTIFICATION, 4)
    assert rows.shape == (0, 4) and codes.shape == (0,)


def named(odds: float, runner_up: float | None = None, margin: float = 1.0) -> Reason | None:
    """The reason why a face with these log odds is not named at a threshold of 18."""
    people = [("Ann", odds)] + ([] if runner_up is None else [("Ben", runner_up)])
    candidates = [Candidate(name, 1.0, 0.5, value, 0.01) for name, value in people]
    rule = NamingRule(1.0, margin, log_odds=18.0, usual_log_odds=18.0)
    return decide([candidates], [None], rule)[0].reason


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
def test_scores_are_compared_in_log_odds_where_all_probabilities_are_1(
    odds: tuple[float, ...], expected: Reason | None
) -> None:
    assert named(*odds) == expected


def test_of_two_faces_the_one_with_the_higher_log_odds_gets_the_name() -> None:
    candidates = [[Candidate("Ann", 1.0, 0.5, odds, 0.01)] for odds in (19.0, 20.0)]
    first, second = decide(candidates, [None, None], NamingRule(1.0, 1.0, log_odds=18.0))
    assert (first.reason, second.person) == (Reason.AMBIGUOUS, "Ann")
