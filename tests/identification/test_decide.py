"""The rule that names equals its naive form, and gives no name twice in a photo."""

import math
from dataclasses import replace

import numpy as np
import pytest

from faceops.base.reasons import CODES, IDENTIFIED, KINDS, REASONS, DecisionKind, Reason
from faceops.identification.engine import ranking
from faceops.identification.engine.decide import FaceDecisions, decide
from faceops.identification.engine.ranking import Ranked, rank_people
from faceops.identification.engine.verdicts import NOBODY, Verdicts
from faceops.verification.thresholds import NamingLimits
from tests.identification.columns import ranked, reasons

WEIGHT = np.linspace(0.5, 4, 16).astype(np.float32)


def verify(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(((a - b) ** 2) @ WEIGHT * 3 - 4)), np.float32)


def unit_rows(random: np.random.Generator, rows: int) -> np.ndarray:
    vectors = random.standard_normal((rows, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("nearest_faces", [3, 16])
@pytest.mark.parametrize("seed", range(12))
def test_names_equal_those_of_naive_loops(seed, nearest_faces, monkeypatch):
    monkeypatch.setattr(ranking, "NEAREST", nearest_faces)
    random = np.random.default_rng(seed)
    whose = np.arange(15) % 5
    rows = unit_rows(random, 5)[whose] + 0.2 * unit_rows(random, 15)
    gallery = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    faces = np.concatenate([gallery[random.integers(0, 15, 6)], unit_rows(random, 2)])
    faces = faces + 0.1 * unit_rows(random, 8)
    faces = (faces / np.linalg.norm(faces, axis=1, keepdims=True)).astype(np.float32)
    found = rank_people(faces, gallery, whose, verify)
    naive = Ranked.of_nobody(len(faces))
    for row, face in enumerate(faces):
        best = [float(verify(face[None], gallery[whose == person]).max()) for person in range(5)]
        order = sorted(range(5), key=lambda person: -best[person])[:2]
        naive.people[row], naive.scores[row] = order, [best[person] for person in order]
    limits = NamingLimits(0.4, 1.0)
    named, expected = (decided(one, limits=limits) for one in (found, naive))
    np.testing.assert_array_equal(named.person, expected.person)
    assert reasons(named) == reasons(expected)


def decided(
    found: Ranked, refused: list[Reason | None] | None = None, *, limits: NamingLimits
) -> FaceDecisions:
    """The decisions about the faces of one photo."""
    codes = [CODES[one] for one in refused or [None] * len(found.people)]
    return decide(found, np.zeros(len(codes), int), np.array(codes, np.int8), limits)


def decided_one_by_one(
    found: Ranked, photos: np.ndarray, refused: np.ndarray, limits: NamingLimits
) -> list[tuple[DecisionKind, Reason | None]]:
    """Kind and reason of each face, face by face and photo by photo."""
    rows = iter(range(len(found.people)))
    result: list[tuple[DecisionKind, Reason | None]] = []
    winners: dict[tuple[int, int], tuple[float, int]] = {}
    for face, (photo, code) in enumerate(zip(photos.tolist(), refused.tolist(), strict=True)):
        if code >= 0:
            result.append((DecisionKind.REJECTED, REASONS[code]))
            continue
        row = next(rows)
        (best, _), scores = found.people[row].tolist(), found.scores[row]
        if best == NOBODY:
            result.append((DecisionKind.UNKNOWN, Reason.GALLERY_EMPTY))
        elif not limits.reached(scores[:1])[0]:
            result.append((DecisionKind.UNKNOWN, Reason.BELOW_THRESHOLD))
        elif not limits.leads(scores[:1], scores[1:])[0]:
            result.append((DecisionKind.UNKNOWN, Reason.AMBIGUOUS))
        else:
            result.append((DecisionKind.IDENTIFIED, None))
            score, winner = winners.get((photo, best), (-math.inf, -1))
            if scores[0] > score:
                if winner >= 0:
                    result[winner] = (DecisionKind.UNKNOWN, Reason.AMBIGUOUS)
                winners[photo, best] = (float(scores[0]), face)
            else:
                result[-1] = (DecisionKind.UNKNOWN, Reason.AMBIGUOUS)
    return result


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_columns_are_decided_as_row_by_row(seed, normalised):
    random = np.random.default_rng(seed)
    photos = np.sort(random.integers(0, 40, 200))
    refused = np.where(random.random(200) < 0.2, CODES[Reason.LOW_QUALITY], -1)
    count = int((refused < 0).sum())
    found = Ranked.of_nobody(count)
    found.people[:] = [random.permutation(4)[:2] for _ in range(count)]
    scores = np.sort(random.integers(0, 12, (count, 2)) / 12, axis=1)[:, ::-1]  # with ties
    found.scores[:] = 20 * scores if normalised else scores
    found.probabilities[:], found.distances[:] = scores, 1 - scores
    alone = random.random(count) < 0.1  # one person is enrolled
    found.people[alone, 1], found.scores[alone, 1] = NOBODY, -np.inf
    nobody = random.random(count) < 0.1
    found.people[nobody], found.scores[nobody] = NOBODY, -np.inf
    limits = NamingLimits(0.4, 0.5, *((9.0, 8.0) if normalised else ()))
    decisions = decide(found, photos, refused.astype(np.int8), limits)
    got = [
        (KINDS[kind], reason)
        for kind, reason in zip(decisions.kind, reasons(decisions), strict=True)
    ]
    assert got == decided_one_by_one(found, photos, refused, limits)
    assert {kind for kind, _ in got} == set(DecisionKind)
    compared = np.flatnonzero(refused < 0)
    np.testing.assert_array_equal(decisions.best[compared], found.people[:, 0])
    np.testing.assert_array_equal(decisions.distance[compared], found.distances[:, 0])
    assert (decisions.best[refused >= 0] == NOBODY).all()
    assert np.isnan(decisions.probability[refused >= 0]).all()


def test_two_faces_of_a_photo_never_get_one_name():
    found = ranked([[0.8, 0.1], [0.9, 0.1], [0.9, 0.1]])
    decisions = decided(found, limits=NamingLimits(0.5, 1.0))
    assert decisions.person.tolist() == [NOBODY, 0, NOBODY]
    assert reasons(decisions) == [Reason.AMBIGUOUS, None, Reason.AMBIGUOUS]
    apart = decide(found, np.arange(3), np.full(3, -1, np.int8), NamingLimits(0.5, 1.0))
    assert apart.person.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("probabilities", "limits", "reason"),
    [
        ([], NamingLimits(1.0, 1.0), Reason.GALLERY_EMPTY),
        # Threshold and margin are inclusive; 0.75 and 0.5 are odds of 3 and 1.
        ([0.5], NamingLimits(0.5, 1.0), None),
        ([0.75, 0.5], NamingLimits(0.5, math.log(3)), None),
        ([0.75, 0.5], NamingLimits(0.5, math.log(3) + 1e-9), Reason.AMBIGUOUS),
        # Near 1, a name needs a lead in odds, not in probability.
        ([0.99999, 0.96], NamingLimits(0.9996, 1.0), None),
        ([0.99999, 0.99998], NamingLimits(0.9996, 1.0), Reason.AMBIGUOUS),
        ([1.0, 1.0], NamingLimits(0.9996, 1.0), Reason.AMBIGUOUS),
        ([1.0, 0.0], NamingLimits(1.0, 1.0), None),
    ],
)
def test_threshold_and_margin(probabilities, limits, reason):
    decisions = decided(ranked([probabilities]), limits=limits)
    assert reasons(decisions) == [reason]
    assert decisions.person.tolist() == [NOBODY if reason else 0]
    assert (decisions.kind == IDENTIFIED).tolist() == [reason is None]


def verdicts(
    faces: int,
    confirmed: dict[int, int] | None = None,
    refused: list[tuple[int, int]] | None = None,
) -> Verdicts:
    found = Verdicts.none(faces)
    for face, person in (confirmed or {}).items():
        found.confirmed[face] = person
    return replace(found, refused=np.array(refused or [], np.int64).reshape(-1, 2).T)


LIMITS = NamingLimits(0.5, 1.0)


def test_a_confirmed_face_has_its_person_whatever_its_scores():
    found = ranked([[0.9, 0.1], [0.2, 0.1], [0.9, 0.1]])
    refused = np.array([-1, -1, CODES[Reason.LOW_QUALITY], -1], np.int8)
    told = verdicts(4, {0: 1, 1: 5, 2: 7})
    decisions = decide(found, np.arange(4), refused, LIMITS, told)
    assert decisions.person.tolist() == [1, 5, 7, 0]
    assert decisions.named.all()
    assert reasons(decisions) == [*[Reason.CONFIRMED] * 3, None]
    assert decisions.runner_up.tolist() == [0, 0, NOBODY, 1]
    np.testing.assert_allclose(decisions.probability, [0.1, np.nan, np.nan, 0.9], atol=1e-6)
    np.testing.assert_allclose(decisions.runner_up_probability, [0.9, 0.2, np.nan, 0.1], atol=1e-6)


def test_who_is_confirmed_in_a_photo_is_given_to_no_other_face_there():
    found = ranked([[0.9, 0.1], [0.99, 0.1], [0.9, 0.1]])
    photos, nothing = np.array([0, 0, 1]), np.full(3, -1, np.int8)
    decisions = decide(found, photos, nothing, LIMITS, verdicts(3, {0: 0}))
    assert decisions.person.tolist() == [0, NOBODY, 0]
    assert reasons(decisions) == [Reason.CONFIRMED, Reason.AMBIGUOUS, None]
    both = decide(found, photos, nothing, LIMITS, verdicts(3, {0: 0, 1: 0}))
    assert both.person.tolist() == [0, 0, 0]


def test_a_face_that_lost_its_person_says_that_somebody_refused():
    found = ranked([[0.2, 0.1], [0.9, 0.1], [0.9, 0.8]])
    told = verdicts(3, refused=[(0, 2), (1, 2), (2, 2)])
    decisions = decide(found, np.arange(3), np.full(3, -1, np.int8), LIMITS, told)
    assert reasons(decisions) == [Reason.REFUSED_BY_PERSON, None, Reason.AMBIGUOUS]


@pytest.mark.parametrize("nearest_faces", [3, 16])
def test_refused_people_are_ranked_as_if_they_were_not_enrolled(nearest_faces, monkeypatch):
    random = np.random.default_rng(nearest_faces)
    gallery, faces = unit_rows(random, 30), unit_rows(random, 8)
    whose = np.arange(30) % 5
    excluded = np.array([[0, 0, 2, 5, 5, 5, 5, 5], [1, 3, 0, 0, 1, 2, 3, 4]])
    monkeypatch.setattr(ranking, "NEAREST", nearest_faces)
    found = rank_people(faces, gallery, whose, verify, excluded)
    for row, face in enumerate(faces):
        people = set(range(5)) - set(excluded[1][excluded[0] == row].tolist())
        kept = np.isin(whose, sorted(people))
        monkeypatch.setattr(ranking, "NEAREST", nearest_faces if len(people) == 5 else 30)
        alone = rank_people(face[None], gallery[kept], whose[kept], verify)
        assert found.people[row].tolist() == alone.people[0].tolist()
        np.testing.assert_allclose(found.scores[row], alone.scores[0], rtol=1e-6)
    assert found.people[5].tolist() == [NOBODY, NOBODY]
