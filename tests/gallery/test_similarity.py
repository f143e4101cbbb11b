"""Enrolled people who look alike are found; photos of one person far apart in age stay."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from faceops.config.sections import Verify
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.similarity import Lookalikes, comparison, dissimilar_photos, find_lookalikes
from faceops.gallery.store import Gallery
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import all_pair_scores
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier
from tests.gallery.gallery_files import CONTRACT
from tests.verification.population import unit_rows

SIZE, PHOTOS = 64, 3
SPREAD = np.full(SIZE, 0.3)
VERIFIER = Verifier(np.full(SIZE, -9, np.float32), 5.0, "distance")
SETTINGS = Verify(far_budgets=[0.1], fpir_budgets=[0.1], gallery_sizes=[5], default_budget=0.02)


@cache
def thresholds(normalised: bool = True) -> Thresholds:
    rows = unit_rows(0, 200, PHOTOS, SPREAD)
    scores = all_pair_scores(*rows, VERIFIER)
    found = measure_thresholds(*rows, VERIFIER, scores, SETTINGS, "simulated people")
    assert found.normalisation is not None
    return found if normalised else found.model_copy(update={"normalisation": None})


def between(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    mixed = (1 - share) * one + share * other
    return (mixed / np.linalg.norm(mixed)).astype(np.float32)


def gallery_of(people: int, alike: float, seed: int = 1) -> Gallery:
    """A gallery in which P000 and P001 share the part `alike`, 0 to 1, of their faces."""
    faces, persons = unit_rows(seed, people, PHOTOS, SPREAD)
    first, second = faces[:PHOTOS], faces[PHOTOS : 2 * PHOTOS]
    if people > 1:
        second += alike * (first - second)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    box = (0.0, 0.0, 9.0, 9.0)
    return Gallery(Path("none"), CONTRACT, SIZE).with_faces(
        GalleryFace(str(person), f"{row:064}", f"{row}.jpg", box, 0.9, 0.5, faces[row])
        for row, person in enumerate(persons)
    )


def found_in(gallery: Gallery, normalised: bool = True) -> list[Lookalikes]:
    return find_lookalikes(gallery, thresholds(normalised), VERIFIER.probability)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("people", [8, 80])
def test_two_people_with_much_in_common_are_lookalikes_and_strangers_are_not(people, normalised):
    pairs = found_in(gallery_of(people, alike=0.7), normalised)
    assert [(pair.person, pair.other) for pair in pairs][:1] == [("P000", "P001")]
    assert len(pairs) <= 1 + people / 10
    assert pairs[0].beside("P001") == "P000"
    strangers = found_in(gallery_of(people, alike=0), normalised)
    assert ("P000", "P001") not in [(pair.person, pair.other) for pair in strangers]


def test_in_a_gallery_of_similar_people_only_those_who_stand_out_are_lookalikes():
    """As among children: the score is measured on the gallery itself."""
    gallery = gallery_of(80, alike=0.6)
    common = np.full(SIZE, 0.1, np.float32)
    moved = (
        replace(face, embedding=between(face.embedding, common, 0.5)) for face in gallery.faces
    )
    children = Gallery(Path("none"), CONTRACT, SIZE).with_faces(moved)
    pairs = found_in(children)
    assert (pairs[0].person, pairs[0].other) == ("P000", "P001")
    assert 10 * len(pairs) < len(found_in(children, normalised=False))


@pytest.mark.parametrize("people", [0, 1])
def test_nobody_looks_like_somebody_in_a_gallery_of_one(people):
    assert found_in(gallery_of(people, 0)) == []


def strange_photos(new: np.ndarray, others: np.ndarray, normalised: bool) -> set[int]:
    """The places of faces `new` that are refused for a person with one enrolled face, ANN[0]."""
    compare = comparison(thresholds(normalised), VERIFIER.probability)
    return dissimilar_photos(list(new[:, None]), ANN[:1], compare.describe(others), compare)


ANN, BEN, CAT = unit_rows(5, 3, PHOTOS, SPREAD)[0].reshape(3, PHOTOS, SIZE)


def test_normalised_scores_refuse_a_photo_nearer_to_another_person_and_none_for_its_age():
    aged = between(ANN[1], CAT[0], 0.5)
    new = np.stack([ANN[2], aged, BEN[0]])
    assert strange_photos(new, BEN[1:], normalised=False) == {1, 2}
    assert strange_photos(new, BEN[1:], normalised=True) == {2}
    daughter = between(ANN[1], BEN[0], 0.6)
    assert strange_photos(daughter[None], CAT, normalised=True) == set()
    assert strange_photos(daughter[None], BEN[1:], normalised=True) == {0}


def test_where_no_two_new_photos_match_nothing_is_refused():
    compare = comparison(thresholds(), VERIFIER.probability)
    nobody = np.zeros((0, SIZE), np.float32)
    apart = [faces[:1] for faces in (ANN, BEN, CAT)]
    assert dissimilar_photos(apart, nobody, nobody, compare) == set()
    assert dissimilar_photos([*apart, ANN[1:2]], nobody, nobody, compare) == {1, 2}
