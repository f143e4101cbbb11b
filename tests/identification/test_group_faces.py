"""Unknown faces are grouped by person: links, averages, and never two of one photo."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from faceops.base import nearest
from faceops.identification.unknown.groups import (
    ALONE,
    MEAN_SHARE,
    NEW,
    Constraints,
    group_faces,
    linked_pairs,
    lowest_cosine,
)
from faceops.verification.verifier import Verifier

DISTANCE = Verifier(np.full(32, -12, np.float32), 9.0, "distance")
draw = np.random.default_rng(3)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(
    count: int, faces: int, noise: float, seed: int = 0, size: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of `count` people, shuffled, and whose each is."""
    own = np.random.default_rng(seed)
    centres = unit(own.normal(size=(count, size)))
    person = own.permutation(np.repeat(np.arange(count), faces))
    return unit(centres[person] + noise * own.normal(size=(len(person), size))), person


def test_the_lowest_cosine_is_that_of_the_threshold():
    # The log odds are 9 - 12 (2 - 2 cos): 0, a probability of one half, at cos = 0.625.
    assert lowest_cosine(DISTANCE.probability, 0.5, 32) == pytest.approx(0.625, abs=1e-6)


def groups_of(found: np.ndarray) -> set[frozenset[int]]:
    numbers = set(found.tolist()) - {ALONE}
    return {frozenset(np.flatnonzero(found == number).tolist()) for number in numbers}


Linked = Callable[[int, int], bool]


def joined_one_by_one(
    rows: np.ndarray, photos: np.ndarray, groups: list[set[int]], linked: Linked
) -> list[set[int]]:
    """Average linkage over the links between `linked` faces, the best pair of groups first."""
    cosines = rows @ rows.T
    while True:
        best, pair = MEAN_SHARE * 0.625, None
        for a, b in combinations(groups, 2):
            if any(cosines[x, y] >= 0.625 and linked(x, y) for x in a for y in b):
                mean = cosines[np.ix_(sorted(a), sorted(b))].mean()
                if mean >= best and not {photos[x] for x in a} & {photos[x] for x in b}:
                    best, pair = mean, (a, b)
        if pair is None:
            return [group for group in groups if len(group) > 1]
        groups = [*(group for group in groups if group not in pair), pair[0] | pair[1]]


@pytest.mark.parametrize("noise", [0.05, 0.12, 0.16, 0.2])
def test_grouping_equals_joining_the_best_pair_again_and_again(noise):
    rows, _ = people(12, 6, noise, seed=5)
    photos = draw.integers(0, 50, len(rows))
    found = group_faces(rows, photos, DISTANCE.probability, 0.5)
    alone = [{face} for face in range(len(rows))]
    expected = joined_one_by_one(rows, photos, alone, lambda x, y: True)
    assert groups_of(found) == set(map(frozenset, expected))
    assert len(expected) > 5


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2])
def test_new_faces_join_the_groups_that_there_are_and_then_others(noise):
    rows, _ = people(12, 8, noise, seed=6)
    own = np.random.default_rng(1)
    photos = own.integers(0, 80, len(rows))
    is_new = own.random(len(rows)) < 0.25
    old = np.flatnonzero(~is_new)
    before = np.full(len(rows), NEW)
    before[old] = group_faces(rows[old], photos[old], DISTANCE.probability, 0.5)
    found = group_faces(rows, photos, DISTANCE.probability, 0.5, before)

    was = groups_of(np.where(is_new, ALONE, before))
    singles = [{face} for face in np.flatnonzero(before < 0).tolist()]
    first = joined_one_by_one(
        rows,
        photos,
        [*map(set, was), *singles],
        lambda x, y: bool((is_new[x] and before[y] >= 0) or (is_new[y] and before[x] >= 0)),
    )
    singles = [one for one in singles if not any(one <= group for group in first)]
    then = joined_one_by_one(
        rows, photos, first + singles, lambda x, y: bool(is_new[x] or is_new[y])
    )
    assert groups_of(found) == set(map(frozenset, then))
    assert any(group < more for group in was for more in map(frozenset, then))
    again = group_faces(rows, photos, DISTANCE.probability, 0.5, found)
    assert np.array_equal(again, found)


def test_a_large_person_is_found_whole_and_groups_are_numbered_by_their_first_face():
    own = np.random.default_rng(2)
    centres = unit(own.normal(size=(2, 32)))
    person = own.permutation(np.repeat([0, 1], [200, 40]))
    noise = own.uniform(0.02, 0.12, (len(person), 1)) * own.normal(size=(len(person), 32))
    photos = np.arange(len(person))
    photos[np.flatnonzero(person == 0)[:40]] = photos[person == 1]  # both in one photo
    group = group_faces(unit(centres[person] + noise), photos, DISTANCE.probability, 0.5)
    firsts = list(dict.fromkeys(person.tolist()))
    assert group.tolist() == [firsts.index(one) for one in person]


def test_an_index_finds_the_links_of_an_exact_search(monkeypatch):
    monkeypatch.setattr(nearest, "usable_cpus", lambda: 1)  # threads of a busy machine only wait
    rows, _ = people(300, 4, 0.05, seed=7, size=128)
    queries = np.arange(0, len(rows), 2)
    exact = linked_pairs(rows, queries, 0.625)
    found = linked_pairs(rows, queries, 0.625, exact_pairs=0)
    pairs = set(map(tuple, exact.T.tolist()))
    near = (rows[found[0]] * rows[found[1]]).sum(axis=1) >= 0.625
    assert (found[0] < found[1]).all() and len(np.unique(found, axis=1).T) == found.shape[1]
    assert set(map(tuple, found[:, near].T.tolist())) <= pairs
    assert near.sum() > 0.98 * len(pairs) > 500
    assert np.array_equal(found, linked_pairs(rows, queries, 0.625, exact_pairs=0))


@pytest.mark.parametrize(
    ("faces", "threshold"), [(12, float("inf")), (12, float("nan")), (12, 1.5), (0, 0.5), (1, 0.5)]
)
def test_few_faces_and_unreachable_thresholds_give_no_group(faces, threshold):
    rows, _ = people(3, 4, 0.01)
    group = group_faces(rows[:faces], np.arange(faces), DISTANCE.probability, threshold)
    assert group.tolist() == [-1] * faces


def test_a_linear_verifier_confirms_each_link():
    weight = np.where(np.arange(32) < 16, -24, 0).astype(np.float32)
    half_blind = Verifier(weight, 4.0, "linear")
    rows = np.zeros((3, 32), np.float32)
    rows[:, 20] = 1
    rows[1, 0], rows[2, 21] = 0.9, 0.9  # one differs where it looks, one where it does not
    rows = unit(rows)
    assert group_faces(rows, np.arange(3), half_blind.probability, 0.5).tolist() == [0, -1, 0]


def constraints(count: int, groups: list[list[int]], apart: list[tuple[int, int]]) -> Constraints:
    group = np.full(count, -1)
    for number, faces in enumerate(groups):
        group[faces] = number
    return Constraints(group, np.array(apart, np.int64).reshape(-1, 2).T)


def test_faces_that_people_put_together_are_one_person_and_others_are_not():
    rows, person = people(6, 5, 0.05)
    photos = np.arange(len(rows))
    of = [np.flatnonzero(person == number).tolist() for number in range(6)]
    # Two people are put together, one is split, and one face does not belong to its person.
    told = constraints(len(rows), [of[0] + of[1], of[2][:2], of[2][2:]], [(of[3][0], 3)])
    told.group[of[3][1:]] = 3
    expected = {*map(frozenset, [of[0] + of[1], of[2][:2], of[2][2:], of[3][1:], of[4], of[5]])}
    found = group_faces(rows, photos, DISTANCE.probability, 0.5, constraints=told)
    assert groups_of(found) == expected
    before = group_faces(rows, photos, DISTANCE.probability, 0.5)
    again = group_faces(rows, photos, DISTANCE.probability, 0.5, before, told)
    assert groups_of(again) == expected
    assert groups_of(before) == set(map(frozenset, of))


def test_further_faces_join_the_groups_that_people_made():
    rows, person = people(3, 6, 0.05)
    of = [np.flatnonzero(person == number).tolist() for number in range(3)]
    told = constraints(len(rows), [of[0][:3], of[1][:1]], [])
    found = group_faces(rows, np.arange(len(rows)), DISTANCE.probability, 0.5, constraints=told)
    assert groups_of(found) == set(map(frozenset, of))
