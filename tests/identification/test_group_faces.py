"""Unknown faces are grouped by person: links, averages, and never two of one photo."""

import numpy as np
import pytest

from faceops.identification.unknown.groups import MEAN_SHARE, group_faces, lowest_cosine
from faceops.verification.verifier import Verifier

DISTANCE = Verifier(np.full(32, -12, np.float32), 9.0, "distance")
draw = np.random.default_rng(3)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(count: int, faces: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of `count` people, shuffled, and whose each is."""
    own = np.random.default_rng(seed)
    centres = unit(own.normal(size=(count, 32)))
    person = own.permutation(np.repeat(np.arange(count), faces))
    return unit(centres[person] + noise * own.normal(size=(len(person), 32))), person


def test_the_lowest_cosine_is_that_of_the_threshold() -> None:
    # The log odds are 9 - 12 (2 - 2 cos): 0, a probability of one half, at cos = 0.625.
    assert lowest_cosine(DISTANCE.probability, 0.5, 32) == pytest.approx(0.625, abs=1e-6)


def test_people_who_are_far_apart_are_found_whole_and_numbered_by_their_first_face() -> None:
    rows, person = people(40, 5, 0.03)
    group = group_faces(rows, range(len(rows)), DISTANCE.probability, 0.5)
    firsts = list(dict.fromkeys(person.tolist()))
    assert group.tolist() == [firsts.index(one) for one in person]


@pytest.mark.parametrize("noise", [0.05, 0.12, 0.2])
def test_grouping_equals_a_plain_loop_over_pairs(noise: float) -> None:
    rows, _ = people(12, 6, noise, seed=5)
    photos = draw.integers(0, 50, len(rows)).tolist()
    pairs = sorted(
        (
            (float(rows[i] @ rows[j]), i, j)
            for i in range(len(rows))
            for j in range(i + 1, len(rows))
        ),
        key=lambda pair: (-np.float32(pair[0]), pair[1], pair[2]),
    )
    groups = [{i} for i in range(len(rows))]
    for cosine, i, j in pairs:
        a, b = (next(group for group in groups if face in group) for face in (i, j))
        if cosine < 0.625 or a is b or {photos[x] for x in a} & {photos[x] for x in b}:
            continue
        if np.mean([rows[x] @ rows[y] for x in a for y in b]) >= MEAN_SHARE * 0.625:
            a |= b
            groups.remove(b)
    found = group_faces(rows, photos, DISTANCE.probability, 0.5)
    expected = {frozenset(group) for group in groups if len(group) > 1}
    assert {
        frozenset(np.flatnonzero(found == number).tolist()) for number in set(found.tolist()) - {-1}
    } == expected
    assert len(expected) > 5


def test_two_faces_of_one_photo_are_two_people() -> None:
    rows = unit(np.ones((3, 32)) + 0.01 * draw.normal(size=(3, 32)))
    group = group_faces(rows, [7, 7, 8], DISTANCE.probability, 0.5)
    assert sorted(group.tolist()) == [-1, 0, 0]
    assert group[0] != group[1]


@pytest.mark.parametrize(
    ("faces", "threshold"), [(12, float("inf")), (12, float("nan")), (12, 1.5), (0, 0.5), (1, 0.5)]
)
def test_few_faces_and_unreachable_thresholds_give_no_group(faces: int, threshold: float) -> None:
    rows, _ = people(3, 4, 0.01)
    group = group_faces(rows[:faces], range(faces), DISTANCE.probability, threshold)
    assert group.tolist() == [-1] * faces


def test_a_linear_verifier_confirms_each_link() -> None:
    weight = np.where(np.arange(32) < 16, -24, 0).astype(np.float32)
    half_blind = Verifier(weight, 4.0, "linear")
    rows = np.zeros((3, 32), np.float32)
    rows[:, 20] = 1
    rows[1, 0], rows[2, 21] = 0.9, 0.9  # one differs where it looks, one where it does not
    rows = unit(rows)
    assert group_faces(rows, range(3), half_blind.probability, 0.5).tolist() == [0, -1, 0]
