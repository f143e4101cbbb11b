"""Samplers: batches of four people, every person in an epoch; epochs: phases and patience."""

import numpy as np
import pytest
from pydantic import ValidationError

from faceops.embedding.training.dataset import BalancedSampler, Epochs, FaceDataset, UniformSampler
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
def test_a_balanced_batch_holds_four_people_and_an_epoch_all_people(seed: int) -> None:
    for batch in batches(seed):
        assert len(set(batch.tolist())) == len(batch)
        people, counts = np.unique(LABELS[batch], return_counts=True)
        assert len(people) == 4
        assert counts.tolist() == np.minimum(3, np.bincount(LABELS)[people]).tolist()
    assert {int(label) for batch in batches(seed) for label in LABELS[batch]} == set(range(10))
    for negatives, added in ((0, 0), (2, 2), (99, 6)):  # singles
        assert all(SINGLES[batch].sum() == added for batch in batches(seed, negatives))


def test_people_are_drawn_by_the_square_root_of_their_photos() -> None:
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


def test_square_root_all_adds_people_with_one_photo_who_have_a_class() -> None:
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


def test_people_who_were_taken_for_each_other_are_drawn_into_one_batch() -> None:
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


def test_a_seed_decides_the_batches() -> None:
    for epoch in (lambda seed: batches(seed, 2), uniform_batches):
        first, again, other = (np.concatenate(epoch(seed)) for seed in (3, 3, 4))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_fewer_people_than_a_batch_holds_are_enough() -> None:
    sampler = BalancedSampler(np.array([0, 0, 1, 1, 1]), np.zeros(5, bool), people=24, photos=4)
    for batch in sampler.epoch(np.random.default_rng(0)):
        assert sorted(batch.tolist()) == [0, 1, 2, 3, 4]


def uniform_batches(seed: int, size: int = 4) -> list[np.ndarray]:
    return list(UniformSampler(np.flatnonzero(~SINGLES), size).epoch(np.random.default_rng(seed)))


@pytest.mark.parametrize("size", [1, 4, 5, 64, 65, 99])
def test_uniform_sampling_draws_each_photo_once_in_batches_of_about_one_size(size: int) -> None:
    drawn = uniform_batches(0, size)
    assert len(drawn) == len(UniformSampler(np.flatnonzero(~SINGLES), size))
    assert sorted(np.concatenate(drawn).tolist()) == np.flatnonzero(~SINGLES).tolist()
    sizes = {len(batch) for batch in drawn}
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_people_are_numbered_by_name_with_singles_last() -> None:
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
        (2, {"random": 0.3, "semi_hard": 0.6, "batch_all": 1.0}, ["random", "semi_hard"]),
    ],
)
def test_each_miner_has_its_share_of_the_triplet_epochs_in_order(
    triplet_epochs: int, miners: dict[str, float], expected: list[str]
) -> None:
    plan = epochs(triplet_epochs=triplet_epochs, miners=miners)
    assert [plan.miner(epoch + 1) for epoch in range(plan.total)] == ["", "", *expected]
    assert [plan.phase(epoch) for epoch in (2, 3)] == ["warmup", "triplet"]


def test_patience_moves_on_to_triplets_then_ends() -> None:
    warmup, triplet = {"epoch": 1, "phase": "warmup"}, {"epoch": 5, "phase": "triplet"}
    assert [epochs().after(warmup, stale) for stale in (2, 3)] == [2, 3]
    assert [epochs().after(triplet, stale) for stale in (2, 3)] == [6, None]
    assert epochs(triplet_epochs=0).after(warmup, 3) is None


@pytest.mark.parametrize(
    "miners",
    [{}, {"semi_hard": 0.4}, {"semi_hard": 1.0, "batch_hard": 1.0}, {"random": 0, "global": 1.0}],
)
def test_shares_that_do_not_rise_to_one_are_refused(miners: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=r"must rise strictly from above 0 to 1.0"):
        epochs(miners=miners)
