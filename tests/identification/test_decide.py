"""The rule that names equals its naive form, and gives no name twice in a photo."""

import math

import numpy as np
import pytest

from faceops.base.reasons import DecisionKind, Reason
from faceops.identification.engine import decide as engine
from faceops.identification.engine.decide import Candidate, NamingRule, decide, rank_people

WEIGHT = np.linspace(0.5, 4, 16).astype(np.float32)


def verify(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(((a - b) ** 2) @ WEIGHT * 3 - 4)), np.float32)


def unit_rows(random: np.random.Generator, rows: int) -> np.ndarray:
    vectors = random.standard_normal((rows, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def odds(probability: float) -> float:
    return probability / (1 - probability)


def naive_names(
    faces: np.ndarray, gallery: np.ndarray, persons: list[str], threshold: float, margin: float
) -> list[tuple[str | None, str | None]]:
    """Name and reason of each face, by loops over every gallery face."""
    wished: list[tuple[str | None, str | None, float]] = []
    for face in faces:
        best: dict[str, float] = {}
        for enrolled, person in zip(gallery, persons, strict=True):
            probability = float(verify(face[None], enrolled[None])[0])
            best[person] = max(best.get(person, 0.0), probability)
        ranked = sorted(best, key=lambda person: (-best[person], person))
        top = best[ranked[0]]
        if top < threshold:
            wished.append((None, "below_threshold", top))
        elif len(ranked) > 1 and odds(top) / odds(best[ranked[1]]) < np.exp(margin):
            wished.append((None, "ambiguous", top))
        else:
            wished.append((ranked[0], None, top))
    result: list[tuple[str | None, str | None]] = []
    for index, (person, reason, top) in enumerate(wished):
        better = [
            other
            for other, (rival, _, value) in enumerate(wished)
            if rival == person and (value > top or (value == top and other < index))
        ]
        result.append((None, "ambiguous") if person and better else (person, reason))
    return result


@pytest.mark.parametrize("seed", range(12))
def test_names_equal_the_naive_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    persons = [f"P{number % 5}" for number in range(15)]
    centres = unit_rows(random, 5)
    rows = [centres[number % 5] + 0.2 * unit_rows(random, 1)[0] for number in range(15)]
    gallery = np.stack([row / np.linalg.norm(row) for row in rows])
    faces = np.concatenate([gallery[random.integers(0, 15, 6)], unit_rows(random, 2)])
    faces = faces + 0.1 * unit_rows(random, 8)
    faces = (faces / np.linalg.norm(faces, axis=1, keepdims=True)).astype(np.float32)
    people = sorted(set(persons))
    whose = np.array([people.index(person) for person in persons])
    ranked = rank_people(faces, gallery.astype(np.float32), people, whose, verify)
    decisions = decide(ranked, [None] * 8, NamingRule(0.4, 1.0))
    got = [(one.person, str(one.reason) if one.reason else None) for one in decisions]
    assert got == naive_names(faces, gallery.astype(np.float32), persons, 0.4, 1.0)


def test_a_runner_up_is_found_behind_many_photos_of_the_best() -> None:
    random = np.random.default_rng(1)
    ann = unit_rows(random, 1)[0]
    many = np.stack([ann + 0.001 * row for row in unit_rows(random, 40)]).astype(np.float32)
    gallery = np.concatenate([many, unit_rows(random, 1)])
    whose = np.array([0] * 40 + [1])
    (found,) = rank_people(ann[None], gallery, ["Ann", "Ben"], whose, verify, nearest_faces=4)
    assert [candidate.person for candidate in found] == ["Ann", "Ben"]


def ann(probability: float) -> list[Candidate]:
    return [Candidate("Ann", probability, 0.5), Candidate("Ben", 0.1, 1.2)]


def test_two_faces_of_a_photo_never_get_one_name() -> None:
    first, second, third = decide([ann(0.8), ann(0.9), ann(0.9)], [None] * 3, NamingRule(0.5, 1.0))
    assert [one.person for one in (first, second, third)] == [None, "Ann", None]
    assert first.reason == third.reason == Reason.AMBIGUOUS
    assert first.kind == DecisionKind.UNKNOWN


def test_a_refused_face_is_rejected_and_takes_no_name_from_others() -> None:
    refused, named = decide([[], ann(0.8)], [Reason.LOW_QUALITY, None], NamingRule(0.5, 1.0))
    assert (refused.kind, refused.reason) == (DecisionKind.REJECTED, Reason.LOW_QUALITY)
    assert named.person == "Ann"


@pytest.mark.parametrize("block", [3, 7, 1000])
@pytest.mark.parametrize("size", [0, 1, 5, 40])
@pytest.mark.parametrize("excludes", [False, True])
def test_the_nearest_faces_equal_the_loop(
    monkeypatch: pytest.MonkeyPatch, block: int, size: int, excludes: bool
) -> None:
    monkeypatch.setattr(engine, "BLOCK", block)
    random = np.random.default_rng(size)
    queries, gallery = unit_rows(random, 6), unit_rows(random, size)
    groups, hidden = random.integers(0, 3, size), random.integers(0, 3, 6)
    rows, cosines = engine.nearest(queries, gallery, 4, (groups, hidden) if excludes else None)
    assert rows.shape == cosines.shape == (6, min(4, size))
    for query, group, found, values in zip(queries, hidden, rows, cosines, strict=True):
        allowed = [row for row in range(size) if not excludes or groups[row] != group]
        expected = sorted((-float(query @ gallery[row]), row) for row in allowed)[:4]
        assert found[np.isfinite(values)].tolist() == [row for _, row in expected]
        finite = values[np.isfinite(values)]
        np.testing.assert_allclose(finite, [-score for score, _ in expected], atol=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "rule", "reason"),
    [
        ([], NamingRule(1.0, 1.0), Reason.GALLERY_EMPTY),
        # Threshold and margin are inclusive; 0.75 and 0.5 are odds of 3 and 1.
        ([0.5], NamingRule(0.5, 1.0), None),
        ([0.75, 0.5], NamingRule(0.5, math.log(3)), None),
        ([0.75, 0.5], NamingRule(0.5, math.log(3) + 1e-9), Reason.AMBIGUOUS),
        # Near 1, a name needs a lead in odds, not in probability.
        ([0.99999, 0.96], NamingRule(0.9996, 1.0), None),
        ([0.99999, 0.99998], NamingRule(0.9996, 1.0), Reason.AMBIGUOUS),
        ([1.0, 1.0], NamingRule(0.9996, 1.0), Reason.AMBIGUOUS),
        ([1.0, 0.0], NamingRule(1.0, 1.0), None),
    ],
)
def test_threshold_and_margin(
    probabilities: list[float], rule: NamingRule, reason: Reason | None
) -> None:
    candidates = [Candidate(*one, 0.5) for one in zip(("Ann", "Ben"), probabilities, strict=False)]
    (decision,) = decide([candidates], [None], rule)
    assert decision.reason == reason and decision.person == (None if reason else "Ann")
