"""Batches hold P people with K photos, each person is seen, and a seed decides it all."""

import numpy as np
import pytest

from faceops.embedding.training.samplers import PeoplePhotosSampler

# Ten people: 0 has 2 photos, 9 has 11; after them 6 singles.
LABELS = np.concatenate([np.repeat(np.arange(10), np.arange(2, 12)), np.arange(10, 16)])
SINGLES = np.arange(len(LABELS)) >= len(LABELS) - 6


def batches(seed: int = 0, negatives: int = 0) -> list[np.ndarray]:
    sampler = PeoplePhotosSampler(LABELS, SINGLES, people=4, photos=3, negatives=negatives)
    drawn = list(sampler.epoch(np.random.default_rng(seed)))
    assert len(drawn) == sampler.batches()
    return drawn


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_holds_four_people_and_no_photo_twice(seed: int) -> None:
    for batch in batches(seed):
        assert len(set(batch.tolist())) == len(batch)
        people, counts = np.unique(LABELS[batch], return_counts=True)
        assert len(people) == 4
        assert [int(n) for n in counts] == [min(3, int((p == LABELS).sum())) for p in people]


@pytest.mark.parametrize("seed", range(5))
def test_an_epoch_sees_everybody(seed: int) -> None:
    seen = {int(label) for batch in batches(seed) for label in LABELS[batch]}
    assert seen == set(range(10))


def test_singles_join_only_when_asked() -> None:
    assert not any(SINGLES[batch].any() for batch in batches())
    assert all(SINGLES[batch].sum() == 2 for batch in batches(negatives=2))
    assert all(SINGLES[batch].sum() == 6 for batch in batches(negatives=99))


def test_a_seed_gives_the_same_batches_again() -> None:
    same = zip(batches(3, 2), batches(3, 2), strict=True)
    assert all(np.array_equal(one, other) for one, other in same)
    assert not all(np.array_equal(a, b) for a, b in zip(batches(3), batches(4), strict=False))


def test_fewer_people_than_asked_for_is_fine() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    sampler = PeoplePhotosSampler(labels, np.zeros(5, bool), people=24, photos=4)
    for batch in sampler.epoch(np.random.default_rng(0)):
        assert sorted(batch.tolist()) == [0, 1, 2, 3, 4]
