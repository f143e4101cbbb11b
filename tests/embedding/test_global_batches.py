"""The negatives of an epoch's faces, and the batches that hold them, against plain loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faceops.embedding.global_mining import (
    MemoryBank,
    global_batches,
    negatives_of_faces,
    random_negatives,
)
from faceops.embedding.training.samplers import PeoplePhotosSampler

# 12 people with 4 photos, 9 with one; in mixed order.
LABELS = np.random.default_rng(0).permutation(np.r_[np.repeat(np.arange(12), 4), 12:21])
NEGATIVE_ONLY = LABELS >= 12
SAMPLER = PeoplePhotosSampler(LABELS, NEGATIVE_ONLY, 4, 3)


def mined(skip: int = 1, nearest: int = 5, random: int = 2, seed: int = 0) -> np.ndarray:
    draw = torch.Generator().manual_seed(seed)
    bank = F.normalize(torch.randn(len(LABELS), 8, generator=draw), dim=1)
    return negatives_of_faces(
        bank, LABELS, NEGATIVE_ONLY, skip, nearest, random, np.random.default_rng(seed)
    )


def test_each_face_gets_the_nearest_strangers_and_random_ones() -> None:
    draw = torch.Generator().manual_seed(0)
    bank = F.normalize(torch.randn(len(LABELS), 8, generator=draw), dim=1).numpy()
    found = mined()
    assert found.shape == (len(LABELS), 7)
    assert found.dtype == np.int64
    assert np.array_equal(found, mined())
    for face, negatives in enumerate(found):
        if NEGATIVE_ONLY[face]:
            assert (negatives == -1).all()
            continue
        order = np.argsort(((bank - bank[face]) ** 2).sum(axis=1))
        strangers = [row for row in order if LABELS[row] != LABELS[face]]
        assert negatives[:5].tolist() == strangers[1:6]
        assert (LABELS[negatives[5:]] != LABELS[face]).all()


def test_random_negatives_are_uniform_over_strangers() -> None:
    rounds = 4000
    anchors = np.array([3, 30, 50])
    drawn = random_negatives(LABELS, anchors, rounds, np.random.default_rng(1))
    assert drawn.shape == (3, rounds)
    for anchor, negatives in zip(anchors, drawn, strict=True):
        strangers = np.flatnonzero(LABELS[anchor] != LABELS)
        counts = np.bincount(negatives, minlength=len(LABELS))
        assert counts.sum() == counts[strangers].sum() == rounds
        expected = rounds / len(strangers)
        chi_square = ((counts[strangers] - expected) ** 2 / expected).sum()
        freedom = len(strangers) - 1
        assert abs(chi_square - freedom) < 5 * (2 * freedom) ** 0.5


def test_without_strangers_there_are_no_random_negatives() -> None:
    drawn = random_negatives(np.zeros(4, int), np.array([0, 3]), 2, np.random.default_rng(0))
    assert drawn.tolist() == [[-1, -1], [-1, -1]]


@pytest.mark.parametrize("negatives", [0, 6, 1000])
def test_triplets_are_all_that_the_loop_finds_in_the_batch(negatives: int) -> None:
    of = mined()
    batches = list(SAMPLER.epoch(np.random.default_rng(3)))
    batches[1] = np.r_[batches[1], np.flatnonzero(NEGATIVE_ONLY)[:3]]
    built = global_batches(batches, LABELS, NEGATIVE_ONLY, of, negatives, np.random.default_rng(4))
    assert len(built) == len(batches)
    for batch, (positions, triplets) in zip(batches, built, strict=True):
        assert np.array_equal(positions[: len(batch)], batch)
        assert len(set(positions.tolist())) == len(positions)
        added = positions[len(batch) :]
        wanted = {n for a in batch for n in of[a] if n >= 0} - set(batch.tolist())
        assert set(added.tolist()) <= wanted
        assert len(added) == min(negatives, len(wanted))
        expected = set()
        for a in range(len(batch)):
            for p in range(len(batch)):
                for n in range(len(positions)):
                    same = LABELS[batch[a]] == LABELS[batch[p]] and a != p
                    if same and positions[n] in of[batch[a]]:
                        expected.add((a, p, n))
        found = list(zip(*(part.tolist() for part in triplets), strict=True))
        assert len(found) == len(set(found))
        assert set(found) == expected
        assert negatives == 0 or expected


def test_added_negatives_are_spread_over_the_anchors() -> None:
    # Each face has strangers of its own, so none serves two.
    of = np.full((80, 3), -1)
    of[:20] = 20 + np.arange(60).reshape(20, 3)
    labels = np.r_[np.repeat(np.arange(10), 2), 10:70]
    for count in (7, 20, 45):
        ((positions, _),) = global_batches(
            [np.arange(20)], labels, labels >= 10, of, count, np.random.default_rng(0)
        )
        served = np.bincount((positions[20:] - 20) // 3, minlength=20)
        assert served.sum() == count
        assert served.max() - served.min() <= 1


def test_the_same_draw_gives_the_same_batches_and_another_gives_others() -> None:
    batches = list(SAMPLER.epoch(np.random.default_rng(3)))
    built = [
        global_batches(batches, LABELS, NEGATIVE_ONLY, mined(), 5, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    positions = [np.concatenate([rows for rows, _ in epoch]).tolist() for epoch in built]
    assert positions[0] == positions[1] != positions[2]
    assert all(
        torch.equal(one, other)
        for (_, ours), (_, theirs) in zip(built[0], built[1], strict=True)
        for one, other in zip(ours, theirs, strict=True)
    )


def test_a_batch_of_negative_only_faces_has_no_triplets() -> None:
    singles = np.flatnonzero(NEGATIVE_ONLY)
    ((positions, triplets),) = global_batches(
        [singles], LABELS, NEGATIVE_ONLY, mined(), 5, np.random.default_rng(0)
    )
    assert np.array_equal(positions, singles)
    assert [len(part) for part in triplets] == [0, 0, 0]


def test_memory_bank_keeps_the_latest_embedding_of_each_face() -> None:
    draw = torch.Generator().manual_seed(0)
    first, later = torch.randn(6, 4, generator=draw), torch.randn(2, 4, generator=draw)
    bank = MemoryBank(6, 4, "cpu")
    assert bank.stale().tolist() == [0, 1, 2, 3, 4, 5]
    bank.update(torch.arange(6), first)
    bank.begin_epoch()
    bank.update(torch.tensor([4, 1]), later.bfloat16().requires_grad_())
    expected = first.clone()
    expected[4], expected[1] = later.bfloat16().float()
    assert torch.equal(bank.embeddings, expected)
    assert not bank.embeddings.requires_grad
    other = MemoryBank(6, 4, "cpu")
    other.restore({name: value.clone() for name, value in bank.tensors().items()})
    assert torch.equal(other.embeddings, expected)
    assert bank.stale().tolist() == other.stale().tolist() == [0, 2, 3, 5]
