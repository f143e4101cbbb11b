"""The batches that samplers draw; global mining against plain loops; phases and patience."""

from itertools import product

import numpy as np
import pytest
from pydantic import ValidationError

from faceops.embedding.training.batches import (
    BalancedSampler,
    Epochs,
    UniformSampler,
    nearest_negatives,
    random_negatives,
    with_mined,
)
from faceops.embedding.training.inputs import FaceDataset
from tests.embedding.faces_for_training import tiny_training

# Ten people: 0 has 2 photos, 9 has 11; after them 6 singles.
LABELS = np.concatenate([np.repeat(np.arange(10), np.arange(2, 12)), np.arange(10, 16)])
SINGLES = np.arange(len(LABELS)) >= len(LABELS) - 6


def batches(seed: int = 0, negatives: int = 0) -> list[np.ndarray]:
    sampler = BalancedSampler(LABELS, SINGLES, people=4, photos=3, negatives=negatives)
    drawn = list(sampler.epoch(np.random.default_rng(seed)))
    assert len(drawn) == len(sampler)
    return drawn


@pytest.mark.parametrize("seed", range(5))
def test_a_balanced_batch_holds_four_people_and_an_epoch_all_people(seed):
    for batch in batches(seed):
        assert len(set(batch.tolist())) == len(batch)
        people, counts = np.unique(LABELS[batch], return_counts=True)
        assert len(people) == 4
        assert counts.tolist() == np.minimum(3, np.bincount(LABELS)[people]).tolist()
    assert {int(label) for batch in batches(seed) for label in LABELS[batch]} == set(range(10))
    for negatives, added in ((0, 0), (2, 2), (99, 6)):  # singles
        assert all(SINGLES[batch].sum() == added for batch in batches(seed, negatives))


def test_people_are_drawn_by_the_square_root_of_their_photos():
    labels = np.repeat(np.arange(20), [16] * 10 + [4] * 10)
    sampler = BalancedSampler(labels, np.zeros(len(labels), bool), 2, 3, square_root=True)
    drawn = [
        np.unique(labels[batch])
        for seed in range(40)
        for batch in sampler.epoch(np.random.default_rng(seed))
    ]
    assert len(drawn) == 40 * len(sampler) and all(len(people) == 2 for people in drawn)
    share = float(np.mean(np.concatenate(drawn) < 10))
    assert share == pytest.approx(4 / (4 + 2), abs=0.03)


def test_square_root_all_adds_people_with_one_photo_who_have_a_class():
    settings = tiny_training(
        warmup_sampler="square_root_all", people_per_batch=4, photos_per_person=3,
        negatives_per_batch=2,
    )  # fmt: skip
    faces = FaceDataset(np.zeros((len(LABELS), 1, 1, 3)), np.arange(len(LABELS)), LABELS, SINGLES)
    assert faces.num_classes(settings) == LABELS.max() + 1
    for batch in Epochs(faces, settings).batches(1):
        assert SINGLES[batch.positions].sum() == 2
        assert len(np.unique(batch.labels[~SINGLES[batch.positions]])) == 4
    with pytest.raises(ValidationError, match="square_root_all needs negatives_per_batch above 0"):
        tiny_training(warmup_sampler="square_root_all", negatives_per_batch=0)


def test_people_who_were_taken_for_each_other_are_drawn_into_one_batch():
    pairs = ((0, 7), (3, 8), (1, 9))

    def together(confused: tuple[tuple[int, int], ...]) -> float:
        sampler = BalancedSampler(LABELS, SINGLES, 4, 3, confused=confused)
        found = []
        for seed in range(40):
            for batch in sampler.epoch(np.random.default_rng(seed)):
                people = LABELS[batch]
                assert len(set(people.tolist())) == 4
                found += [set(pair) <= set(people.tolist()) for pair in pairs if pair[0] in people]
        return float(np.mean(found))

    assert together(()) < 0.45
    assert together(pairs) > 0.65


def test_a_seed_decides_the_batches():
    for epoch in (lambda seed: batches(seed, 2), uniform_batches):
        first, again, other = (np.concatenate(epoch(seed)) for seed in (3, 3, 4))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_fewer_people_than_a_batch_holds_are_enough():
    sampler = BalancedSampler(np.array([0, 0, 1, 1, 1]), np.zeros(5, bool), people=24, photos=4)
    for batch in sampler.epoch(np.random.default_rng(0)):
        assert sorted(batch.tolist()) == [0, 1, 2, 3, 4]


def uniform_batches(seed: int, size: int = 4) -> list[np.ndarray]:
    return list(UniformSampler(np.flatnonzero(~SINGLES), size).epoch(np.random.default_rng(seed)))


@pytest.mark.parametrize("size", [1, 4, 5, 64, 65, 99])
def test_uniform_sampling_draws_each_photo_once_in_batches_of_about_one_size(size):
    drawn = uniform_batches(0, size)
    assert len(drawn) == len(UniformSampler(np.flatnonzero(~SINGLES), size))
    assert sorted(np.concatenate(drawn).tolist()) == np.flatnonzero(~SINGLES).tolist()
    sizes = {len(batch) for batch in drawn}
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_people_are_numbered_by_name_with_singles_last():
    crops = np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3)
    rows, single = np.array([4, 0, 2, 3]), np.array([False, True, False, False])
    faces = FaceDataset.of(crops, rows, ["Bo", "Al", "Cy", "Bo"], single)
    assert faces.labels.tolist() == [0, 2, 1, 0]
    assert (len(faces), faces.people) == (4, 2)
    assert np.array_equal(faces[np.array([1, 0])], crops[[0, 4]])


def epochs(**changes: object) -> Epochs:
    settings = tiny_training(**{"warmup_epochs": 2, "triplet_epochs": 10, "patience": 3} | changes)
    return Epochs(FaceDataset(LABELS, LABELS, LABELS, SINGLES), settings)


@pytest.mark.parametrize(
    ("triplet_epochs", "miners", "expected"),
    [
        (10, {"semi_hard": 0.4, "batch_hard": 1.0}, ["semi_hard"] * 4 + ["batch_hard"] * 6),
        (5, {"batch_hard": 1.0, "semi_hard": 0.4}, ["semi_hard"] * 2 + ["batch_hard"] * 3),
        (2, {"batch_hard": 0.3, "semi_hard": 0.6, "batch_all": 1.0}, ["batch_hard", "semi_hard"]),
    ],
)
def test_each_miner_has_its_share_of_the_triplet_epochs_in_order(triplet_epochs, miners, expected):
    plan = epochs(triplet_epochs=triplet_epochs, miners=miners)
    assert [plan.miner(epoch + 1) for epoch in range(plan.total)] == ["", "", *expected]
    assert [plan.phase(epoch) for epoch in (2, 3)] == ["warmup", "triplet"]


def test_patience_moves_on_to_triplets_then_ends():
    warmup, triplet = {"epoch": 1, "phase": "warmup"}, {"epoch": 5, "phase": "triplet"}
    assert [epochs().after(warmup, stale) for stale in (2, 3)] == [2, 3]
    assert [epochs().after(triplet, stale) for stale in (2, 3)] == [6, None]
    assert epochs(triplet_epochs=0).after(warmup, 3) is None


@pytest.mark.parametrize(
    "miners",
    [{}, {"semi_hard": 0.4}, {"semi_hard": 1.0, "batch_hard": 1.0}, {"x": 0, "global": 1.0}],
)
def test_shares_that_do_not_rise_to_one_are_refused(miners):
    with pytest.raises(ValidationError, match=r"must rise strictly from above 0 to 1.0"):
        epochs(miners=miners)


# 12 people with 4 photos, 9 with one; in mixed order.
MIXED = np.random.default_rng(0).permutation(np.r_[np.repeat(np.arange(12), 4), 12:21])
ALONE = MIXED >= 12
SAMPLER = BalancedSampler(MIXED, ALONE, 4, 3)
SETTINGS = tiny_training(global_skip=1, global_nearest=5, global_random=2)


def unit_vectors(count: int, size: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def mined(epoch: int = 0) -> np.ndarray:
    train = FaceDataset(np.zeros(0), np.arange(len(MIXED)), MIXED, ALONE)
    return Epochs(train, SETTINGS).mine(unit_vectors(len(MIXED), 8), epoch)


def nearest_by_loop(
    bank: np.ndarray, labels: np.ndarray, anchors: np.ndarray, count: int, skip: int
) -> np.ndarray:
    found = np.full((len(anchors), count), -1)
    for number, anchor in enumerate(anchors):
        order = np.argsort(((bank - bank[anchor]) ** 2).sum(axis=1))
        negatives = order[labels[order] != labels[anchor]][skip : skip + count]
        found[number, : len(negatives)] = negatives
    return found


@pytest.mark.parametrize("one_has_half", [False, True])
@pytest.mark.parametrize(("count", "skip"), [(1, 0), (6, 3), (40, 2)])
def test_nearest_negatives_are_those_of_the_loop(count, skip, one_has_half):
    draw = np.random.default_rng(count)
    bank, labels = unit_vectors(317, 24), draw.integers(0, 105, 317) * 1000
    if one_has_half:  # more photos than requested neighbours
        labels[::2] = -5
    anchors = draw.permutation(317)[:150]
    found = nearest_negatives(bank, labels, anchors, count, skip)
    assert found.dtype == np.int64
    expected = nearest_by_loop(bank.astype(np.float64), labels, anchors, count, skip)
    assert np.array_equal(found, expected)


def test_a_collapsed_bank_gives_different_people():
    labels = np.arange(700) // 2
    found = nearest_negatives(np.eye(1, 8, dtype=np.float32).repeat(700, 0), labels, labels, 3, 1)
    assert (found >= 0).all()
    assert (labels[found] != labels[labels][:, None]).all()
    assert all(len(set(row)) == 3 for row in found.tolist())


def test_missing_negatives_are_minus_one():
    bank = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]], np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    labels, anchors = np.array([4, 4, 9, 9]), np.array([3, 0, 0])
    found = nearest_negatives(bank, labels, anchors, 3)
    assert found.tolist() == [[1, 0, -1], [2, 3, -1], [2, 3, -1]]
    found = nearest_negatives(bank, labels, anchors, 2, skip=1)
    assert found.tolist() == [[0, -1], [3, -1], [3, -1]]
    assert nearest_negatives(bank, np.zeros(4), anchors, 2).tolist() == [[-1, -1]] * 3
    assert nearest_negatives(bank, labels, anchors, 0).shape == (3, 0)
    assert nearest_negatives(bank, labels, anchors[:0], 2).shape == (0, 2)
    drawn = random_negatives(np.zeros(4, int), anchors[:2], 2, np.random.default_rng(0))
    assert drawn.tolist() == [[-1, -1], [-1, -1]]


def test_random_negatives_are_uniform_over_other_people():
    rounds = 4000
    anchors = np.array([3, 30, 50])
    drawn = random_negatives(MIXED, anchors, rounds, np.random.default_rng(1))
    assert drawn.shape == (3, rounds)
    for anchor, negatives in zip(anchors, drawn, strict=True):
        others = np.flatnonzero(MIXED[anchor] != MIXED)
        counts = np.bincount(negatives, minlength=len(MIXED))
        assert counts.sum() == counts[others].sum() == rounds
        expected = rounds / len(others)
        chi_square = ((counts[others] - expected) ** 2 / expected).sum()
        freedom = len(others) - 1
        assert abs(chi_square - freedom) < 5 * (2 * freedom) ** 0.5


def test_each_face_gets_nearest_and_random_negatives():
    found = mined()
    anchors = np.flatnonzero(~ALONE)
    near = nearest_by_loop(unit_vectors(len(MIXED), 8), MIXED, anchors, 5, 1)
    assert np.array_equal(found[anchors, :5], near)
    assert (MIXED[found[anchors, 5:]] != MIXED[anchors, None]).all()
    assert (found[ALONE] == -1).all()
    assert np.array_equal(found, mined())
    assert not np.array_equal(found, mined(epoch=1))


@pytest.mark.parametrize("added", [0, 6, 1000])
def test_triplets_are_all_that_the_loop_finds_in_the_batch(added):
    of = mined()
    batches = list(SAMPLER.epoch(np.random.default_rng(3)))
    batches[1] = np.r_[batches[1], np.flatnonzero(ALONE)[:3]]
    batches.append(np.flatnonzero(ALONE))
    built, again, other = (
        [with_mined(batch, MIXED, of, added, draw) for batch in batches]
        for draw in map(np.random.default_rng, (4, 4, 5))
    )
    rows = [np.concatenate([one.positions for one in all_]) for all_ in (built, again, other)]
    assert np.array_equal(rows[0], rows[1])
    assert added != 6 or not np.array_equal(rows[0], rows[2])
    for batch, one in zip(batches, built, strict=True):
        positions, triplets = one.positions, one.triplets
        assert np.array_equal(one.labels, MIXED[positions])
        assert np.array_equal(positions[: len(batch)], batch)
        assert len(set(positions.tolist())) == len(positions)
        wanted = {n for a in batch for n in of[a] if n >= 0} - set(batch.tolist())
        assert set(positions[len(batch) :].tolist()) <= wanted
        assert len(positions) - len(batch) == min(added, len(wanted))
        expected = {
            (a, p, n)
            for a, p, n in product(range(len(batch)), range(len(batch)), range(len(positions)))
            if MIXED[batch[a]] == MIXED[batch[p]] and a != p and positions[n] in of[batch[a]]
        }
        found = list(zip(*(part.tolist() for part in triplets), strict=True))
        assert len(found) == len(set(found)) and set(found) == expected
        assert added == 0 or len(expected) > 0 or ALONE[batch].all()


def test_added_negatives_are_spread_over_the_anchors():
    # Each face has its own negatives; no two faces share one.
    of = np.full((80, 3), -1)
    of[:20] = 20 + np.arange(60).reshape(20, 3)
    labels = np.r_[np.repeat(np.arange(10), 2), 10:70]
    for count in (7, 20, 45):
        draw = np.random.default_rng(0)
        positions = with_mined(np.arange(20), labels, of, count, draw).positions
        served = np.bincount((positions[20:] - 20) // 3, minlength=20)
        assert served.sum() == count and np.ptp(served) <= 1
