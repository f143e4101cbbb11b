"""The miners against three nested loops, as sets, with ties and with batches that have none."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faceops.embedding.mining.batch_hard_miner import mine_batch_hard
from faceops.embedding.mining.semi_hard_miner import mine_semi_hard
from faceops.embedding.mining.squared_distances import squared_distances
from faceops.embedding.mining.triplet_loss import Triplets, triplet_loss

LABELS = {
    "people x photos": [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
    "with singles": [0, 0, 5, 1, 1, 1, 6, 2, 2, 7],
    "one person": [4, 4, 4],
    "all single": [0, 1, 2, 3],
    "one photo": [0],
    "empty": [],
}


def as_list(triplets: Triplets) -> list[tuple[int, int, int]]:
    return list(zip(*(part.tolist() for part in triplets), strict=True))


def semi_hard_by_loop(far: np.ndarray, labels: list[int], margin: np.float32) -> set:
    found = set()
    for a in range(len(labels)):
        for p in range(len(labels)):
            for n in range(len(labels)):
                if a == p or labels[a] != labels[p] or labels[a] == labels[n]:
                    continue
                if far[a, p] < far[a, n] < far[a, p] + margin:
                    found.add((a, p, n))
    return found


def batch_hard_by_loop(far: np.ndarray, labels: list[int]) -> set:
    found = set()
    for a in range(len(labels)):
        hardest, p_best = -math.inf, None
        nearest, n_best = math.inf, None
        for other in range(len(labels)):
            if other != a and labels[other] == labels[a] and far[a, other] > hardest:
                hardest, p_best = far[a, other], other
            if labels[other] != labels[a] and far[a, other] < nearest:
                nearest, n_best = far[a, other], other
        if p_best is not None and n_best is not None:
            found.add((a, p_best, n_best))
    return found


def distances_of(count: int, kind: str, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    if kind == "ties":  # distances of few values: many are equal
        values = torch.randint(0, 4, (count, count), generator=draw).float() / 4
        return torch.minimum(values, values.T)
    return squared_distances(F.normalize(torch.randn(count, 8, generator=draw), dim=1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["random", "ties"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_miners_find_what_plain_loops_find(labels: list[int], kind: str, seed: int) -> None:
    distances = distances_of(len(labels), kind, seed)
    people = torch.tensor(labels, dtype=torch.int64)
    for margin in (0.1, 0.5, 2.0):
        mined = as_list(mine_semi_hard(distances, people, margin))
        assert len(set(mined)) == len(mined)
        assert set(mined) == semi_hard_by_loop(distances.numpy(), labels, np.float32(margin))
    mined = as_list(mine_batch_hard(distances, people))
    assert len(set(mined)) == len(mined)
    assert set(mined) == batch_hard_by_loop(distances.numpy(), labels)


def test_people_with_one_photo_are_only_ever_negatives() -> None:
    labels = torch.tensor(LABELS["with singles"])
    singles = {2, 6, 9}
    distances = distances_of(len(labels), "random", 0)
    for triplets in (mine_semi_hard(distances, labels, 2.0), mine_batch_hard(distances, labels)):
        anchors, positives, negatives = (set(part.tolist()) for part in triplets)
        assert not singles & (anchors | positives)
        assert singles & negatives


def test_loss_is_the_mean_over_triplets() -> None:
    distances = torch.tensor([[0.0, 0.5, 0.6], [0.5, 0.0, 2.0], [0.6, 2.0, 0.0]])
    triplets = (torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([2, 2]))
    # 0.5 - 0.6 + 0.2 = 0.1, and 0.5 - 2.0 + 0.2 < 0
    assert triplet_loss(distances, triplets, 0.2).item() == pytest.approx(0.05)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 2, 3]])
def test_gradients_are_finite_when_all_embeddings_are_the_same(labels: list[int]) -> None:
    raw = torch.ones(4, 8, requires_grad=True)
    embeddings = F.normalize(raw, dim=1)
    distances = squared_distances(embeddings)
    people = torch.tensor(labels)
    triplets = mine_batch_hard(distances.detach(), people)
    triplet_loss(distances, triplets, 0.2).backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()
    assert float(squared_distances(embeddings).detach().max()) < 1e-6
