"""Wrong labels planted among synthetic people: each is found with its kind, and nothing else is."""

import numpy as np
import pytest

from faceops.base.errors import UsageError
from faceops.evaluation.label_doctor.diagnose import Kind, diagnose
from faceops.verification.verifier import Verifier
from tests.evaluation.label_doctor.planted import SIZE, calibrated, draw, unit

COUNTS = [8, 6, 5, 3, 3, 2, 2, 1, 1, 1] * 6
SECOND = 26  # the second of the two photos of p005


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return calibrated()


def suspicions_of(embeddings: np.ndarray, names: np.ndarray, verifier: Verifier) -> list[tuple]:
    """Return kind, person, suggestion and photos of each suspicion, in their order."""
    found = diagnose(embeddings, names, verifier)
    scores = [suspicion.score for suspicion in found]
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)
    return [(s.kind, s.person, s.suggestion, s.photos) for s in found]


def test_right_labels_raise_no_suspicion(verifier):
    for seed in range(3):
        embeddings, names = draw(COUNTS, seed)
        assert suspicions_of(embeddings, names, verifier) == []


def test_two_swapped_photos_are_mislabelled_and_no_person_has_two_names(verifier):
    embeddings, names = draw(COUNTS, 0)
    names[[0, 8]] = names[[8, 0]]  # of people with 8 and 6 photos
    assert set(suspicions_of(embeddings, names, verifier)) == {
        (Kind.MISLABELLED, "p001", "p000", (0,)),
        (Kind.MISLABELLED, "p000", "p001", (8,)),
    }


def test_a_stranger_among_a_persons_photos_is_found_without_a_suggestion(verifier):
    embeddings, names = draw(COUNTS, 0)
    embeddings[3] = draw([1], seed=77)[0][0]
    found = suspicions_of(embeddings, names, verifier)
    assert found == [(Kind.MISLABELLED, "p000", "", (3,))]


@pytest.mark.parametrize(
    ("rows", "name", "expected"),
    [
        ((5, 6, 7), "zz", (Kind.TWO_NAMES, "zz", "p000", (5, 6, 7))),  # a person under two names
        ((2,), "zz", (Kind.SINGLE, "zz", "p000", (2,))),  # an only photo like another person
        ((SECOND,), "zz", (Kind.SINGLE, "p005", "zz", (SECOND - 1, SECOND))),  # two similar ones
        (range(22, 25), "p000", (Kind.TWO_PEOPLE, "p000", "", (22, 23, 24))),  # of p004
    ],
)
def test_another_name_is_found_as_what_it_is(rows, name, expected, verifier):
    embeddings, names = draw(COUNTS, 0)
    names[list(rows)] = name
    assert suspicions_of(embeddings, names, verifier) == [expected]


def test_of_two_photos_that_differ_the_one_that_is_someone_elses_is_wrong(verifier):
    embeddings, names = draw(COUNTS, 0)
    first, second = np.flatnonzero(names == "p005")
    embeddings[second] = draw([1], seed=77)[0][0]
    found = suspicions_of(embeddings, names, verifier)
    assert found == [(Kind.UNCLEAR, "p005", "", (first, second))]
    embeddings[second] = draw(COUNTS, 0)[0][0]  # p000's, byte for byte: a duplicate
    assert suspicions_of(embeddings, names, verifier) == [
        (Kind.MISLABELLED, "p005", "p000", (second,))
    ]


def test_a_photo_like_two_people_is_assigned_to_the_more_similar_one(verifier):
    embeddings, names = draw(COUNTS, 0)
    own, other = (unit(embeddings[names == name].mean(0)) for name in ("p000", "p001"))
    embeddings[0] = unit(0.6 * own + other)
    assert suspicions_of(embeddings, names, verifier) == [(Kind.MISLABELLED, "p000", "p001", (0,))]
    (found,) = diagnose(embeddings, names, verifier)
    assert found.evidence.startswith("less like the 7 photos of this name")  # not apart from them


def test_with_more_people_two_must_be_more_similar_to_be_merged(verifier):
    """A similarity that is rare among three people is bound to occur among thousands."""
    embeddings, names = draw([1] * 3000, 5)
    scores = np.linspace(-1, 1, 4001)
    cosine = scores[np.searchsorted(2 * scores, 2 - (verifier.bias - 9) / -verifier.weight[0])]
    across = unit(np.random.default_rng(0).normal(size=SIZE))
    across = unit(across - embeddings[0] * (across @ embeddings[0]))
    embeddings[1] = cosine * embeddings[0] + np.sqrt(1 - cosine**2) * across
    assert verifier.logit(embeddings[0], embeddings[1]) == pytest.approx(9, abs=0.5)
    few = suspicions_of(embeddings[:3], names[:3], verifier)
    assert few == [(Kind.SINGLE, "p000", "p001", (0, 1))]
    assert suspicions_of(embeddings, names, verifier) == []


def test_the_order_of_the_photos_does_not_matter(verifier):
    embeddings, names = draw(COUNTS, 0)
    names[[0, 8, 20]] = names[[8, 20, 0]]
    names[15] = "zz"
    expected = suspicions_of(embeddings, names, verifier)
    assert len(expected) == 4
    order = np.random.default_rng(1).permutation(len(names))
    shuffled = suspicions_of(embeddings[order], names[order], verifier)
    back = [(*rest, tuple(sorted(order[list(photos)]))) for *rest, photos in shuffled]
    assert back == [(*rest, tuple(sorted(photos))) for *rest, photos in expected]


def test_no_people_one_person_and_an_invalid_share(verifier):
    nobody = np.zeros((0, SIZE), np.float32), np.zeros(0, str)
    assert diagnose(*nobody, verifier) == []
    assert diagnose(*draw([5], 0), verifier) == []
    for share in (0, -1, 0.5, 2, float("nan")):
        with pytest.raises(UsageError, match="share"):
            diagnose(*draw([5], 0), verifier, share)
