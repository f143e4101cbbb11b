"""Global mining against plain loops, and the batches that are built from its negatives."""

from itertools import product

import numpy as np
import pytest
import torch

from faceops.embedding.global_mining import (
    MemoryBank,
    global_batches,
    nearest_negatives,
    random_negatives,
)
from faceops.embedding.training.dataset import BalancedSampler, Epochs, FaceDataset
from tests.embedding.faces_for_training import tiny_training

# 12 people with 4 photos, 9 with one; in mixed order.
LABELS = np.random.default_rng(0).permutation(np.r_[np.repeat(np.arange(12), 4), 12:21])
NEGATIVE_ONLY = LABELS >= 12
SAMPLER = BalancedSampler(LABELS, NEGATIVE_ONLY, 4, 3)
SETTINGS = tiny_training(global_skip=1, global_nearest=5, global_random=2)


def unit_vectors(count: int, size: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def mined(epoch: int = 0) -> np.ndarray:
    train = FaceDataset(np.zeros(0), np.arange(len(LABELS)), LABELS, NEGATIVE_ONLY)
    return Epochs(train, SETTINGS).mine(unit_vectors(len(LABELS), 8), epoch)


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
def test_nearest_negatives_are_those_of_the_loop(count: int, skip: int, one_has_half: bool) -> None:
    draw = np.random.default_rng(count)
    bank, labels = unit_vectors(317, 24), draw.integers(0, 105, 317) * 1000
    if one_has_half:  # more photos than requested neighbours
        labels[::2] = -5
    anchors = draw.permutation(317)[:150]
    found = nearest_negatives(bank, labels, anchors, count, skip)
    assert found.dtype == np.int64
    expected = nearest_by_loop(bank.astype(np.float64), labels, anchors, count, skip)
    assert np.array_equal(found, expected)


def test_a_collapsed_bank_gives_different_people() -> None:
    labels = np.arange(700) // 2
    found = nearest_negatives(np.eye(1, 8, dtype=np.float32).repeat(700, 0), labels, labels, 3, 1)
    assert (found >= 0).all()
    assert (labels[found] != labels[labels][:, None]).all()
    assert all(len(set(row)) == 3 for row in found.tolist())


def test_missing_negatives_are_minus_one() -> None:
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


def test_random_negatives_are_uniform_over_other_people() -> None:
    rounds = 4000
    anchors = np.array([3, 30, 50])
    drawn = random_negatives(LABELS, anchors, rounds, np.random.default_rng(1))
    assert drawn.shape == (3, rounds)
    for anchor, negatives in zip(anchors, drawn, strict=True):
        others = np.flatnonzero(LABELS[anchor] != LABELS)
        counts = np.bincount(negatives, minlength=len(LABELS))
        assert counts.sum() == counts[others].sum() == rounds
        expected = rounds / len(others)
        chi_square = ((counts[others] - expected) ** 2 / expected).sum()
        freedom = len(others) - 1
        assert abs(chi_square - freedom) < 5 * (2 * freedom) ** 0.5


def test_each_face_gets_nearest_and_random_negatives() -> None:
    found = mined()
    anchors = np.flatnonzero(~NEGATIVE_ONLY)
    near = nearest_by_loop(unit_vectors(len(LABELS), 8), LABELS, anchors, 5, 1)
    assert np.array_equal(found[anchors, :5], near)
    assert (LABELS[found[anchors, 5:]] != LABELS[anchors, None]).all()
    assert (found[NEGATIVE_ONLY] == -1).all()
    assert np.array_equal(found, mined())
    assert not np.array_equal(found, mined(epoch=1))


@pytest.mark.parametrize("added", [0, 6, 1000])
def test_triplets_are_all_that_the_loop_finds_in_the_batch(added: int) -> None:
    of = mined()
    batches = list(SAMPLER.epoch(np.random.default_rng(3)))
    batches[1] = np.r_[batches[1], np.flatnonzero(NEGATIVE_ONLY)[:3]]
    batches.append(np.flatnonzero(NEGATIVE_ONLY))
    built, again, other = (
        global_batches(batches, LABELS, of, added, np.random.default_rng(seed))
        for seed in (4, 4, 5)
    )
    rows = [np.concatenate([positions for positions, _ in one]).tolist() for one in (built, again)]
    assert rows[0] == rows[1]
    assert added != 6 or rows[0] != np.concatenate([one for one, _ in other]).tolist()
    for batch, (positions, triplets) in zip(batches, built, strict=True):
        assert np.array_equal(positions[: len(batch)], batch)
        assert len(set(positions.tolist())) == len(positions)
        wanted = {n for a in batch for n in of[a] if n >= 0} - set(batch.tolist())
        assert set(positions[len(batch) :].tolist()) <= wanted
        assert len(positions) - len(batch) == min(added, len(wanted))
        expected = {
            (a, p, n)
            for a, p, n in product(range(len(batch)), range(len(batch)), range(len(positions)))
            if LABELS[batch[a]] == LABELS[batch[p]] and a != p and positions[n] in of[batch[a]]
        }
        found = list(zip(*(part.tolist() for part in triplets), strict=True))
        assert len(found) == len(set(found)) and set(found) == expected
        assert added == 0 or len(expected) > 0 or NEGATIVE_ONLY[batch].all()


def test_added_negatives_are_spread_over_the_anchors() -> None:
    # Each face has its own negatives; no two faces share one.
    of = np.full((80, 3), -1)
    of[:20] = 20 + np.arange(60).reshape(20, 3)
    labels = np.r_[np.repeat(np.arange(10), 2), 10:70]
    for count in (7, 20, 45):
        draw = np.random.default_rng(0)
        ((positions, _),) = global_batches([np.arange(20)], labels, of, count, draw)
        served = np.bincount((positions[20:] - 20) // 3, minlength=20)
        assert served.sum() == count and np.ptp(served) <= 1


def test_memory_bank_keeps_the_latest_embedding_of_each_face() -> None:
    draw = torch.Generator().manual_seed(0)
    first, later = torch.randn(6, 4, generator=draw), torch.randn(2, 4, generator=draw)
    bank = MemoryBank(6, 4, "cpu")
    assert bank.stale().tolist() == [0, 1, 2, 3, 4, 5]
    bank.update(np.arange(6), first)
    bank.fresh.fill_(False)
    bank.update(np.array([4, 1]), later.bfloat16().requires_grad_())
    expected = first.clone()
    expected[4], expected[1] = later.bfloat16().float()
    assert torch.equal(bank.embeddings, expected)
    assert not bank.embeddings.requires_grad
    other = MemoryBank(6, 4, "cpu")
    other.load_state_dict({name: value.clone() for name, value in bank.state_dict().items()})
    assert torch.equal(other.embeddings, expected)
    assert bank.stale().tolist() == other.stale().tolist() == [0, 2, 3, 5]
