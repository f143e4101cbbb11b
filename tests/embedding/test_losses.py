"""The miners against three nested loops, with ties; the heads against those of another library."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faceops.embedding.losses import (
    HEADS,
    MINERS,
    Triplets,
    build_head,
    contrastive_loss,
    squared_distances,
    triplet_loss,
)

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


def valid_by_loop(labels: list[int]) -> set[tuple[int, int, int]]:
    found = set()
    for a in range(len(labels)):
        for p in range(len(labels)):
            for n in range(len(labels)):
                if a != p and labels[a] == labels[p] and labels[a] != labels[n]:
                    found.add((a, p, n))
    return found


def by_loop(far: np.ndarray, labels: list[int], margin: np.float32) -> dict[str, set]:
    """Return the triplets of each miner."""
    valid = valid_by_loop(labels)
    hardest = {}
    for a in {a for a, _, _ in valid}:
        own = [(a, p, n) for anchor, p, n in valid if anchor == a]
        hardest[a] = max(own, key=lambda t: (far[a, t[1]], -t[1], -far[a, t[2]], -t[2]))
    return {
        "semi_hard": {(a, p, n) for a, p, n in valid if far[a, p] < far[a, n] < far[a, p] + margin},
        "batch_all": {t for t in valid if far[t[0], t[1]] - far[t[0], t[2]] + margin > 0},
        "batch_hard": set(hardest.values()),
    }


def distances_of(count: int, kind: str, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    if kind == "ties":  # distances of few values: many are equal
        values = torch.randint(0, 4, (count, count), generator=draw).float() / 4
        return torch.minimum(values, values.T)
    return squared_distances(F.normalize(torch.randn(count, 8, generator=draw), dim=1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["random", "ties"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_miners_find_what_plain_loops_find(labels, kind, seed):
    distances = distances_of(len(labels), kind, seed)
    people = torch.tensor(labels, dtype=torch.int64)
    for margin in (0.1, 0.5, 2.0):
        expected = by_loop(distances.numpy(), labels, np.float32(margin))
        for name, triplets in expected.items():
            mined = as_list(MINERS[name](distances, people, margin))
            assert len(set(mined)) == len(mined)
            assert set(mined) == triplets, name


def test_loss_is_the_mean_over_triplets():
    distances = torch.tensor([[0.0, 0.5, 0.6], [0.5, 0.0, 2.0], [0.6, 2.0, 0.0]])
    triplets = (torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([2, 2]))
    # 0.5 - 0.6 + 0.2 = 0.1, and 0.5 - 2.0 + 0.2 < 0
    assert triplet_loss(distances, triplets, 0.2).item() == pytest.approx(0.05)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_contrastive_loss_is_what_plain_loops_give(labels):
    draw = torch.Generator().manual_seed(0)
    raw = torch.randn(len(labels), 8, generator=draw, requires_grad=True)
    embeddings = F.normalize(raw, dim=1)
    loss = contrastive_loss(embeddings, torch.tensor(labels), 0.2)
    loss.backward()
    exponentials = torch.exp(embeddings.detach() @ embeddings.detach().T / 0.2).tolist()
    everybody, of_anchors = range(len(labels)), []
    for a in everybody:
        others = sum(exponentials[a][n] for n in everybody if n != a)
        positives = [p for p in everybody if p != a and labels[p] == labels[a]]
        terms = [-math.log(exponentials[a][p] / others) for p in positives]
        of_anchors += [sum(terms) / len(terms)] if terms else []
    expected = sum(of_anchors) / len(of_anchors) if of_anchors else 0.0
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()
    assert bool((raw.grad != 0).any()) == bool(of_anchors)


@pytest.mark.parametrize("mine", MINERS.values(), ids=MINERS.keys())
@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 2, 3]])
def test_gradients_are_finite_when_all_embeddings_are_the_same(labels, mine):
    raw = torch.ones(4, 8, requires_grad=True)
    embeddings = F.normalize(raw, dim=1)
    distances = squared_distances(embeddings)
    triplets = mine(distances.detach(), torch.tensor(labels), 0.2)
    loss = triplet_loss(distances, triplets, 0.2)
    loss.backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()
    assert float(squared_distances(embeddings).detach().max()) < 1e-6
    assert loss.item() == pytest.approx(0.2 if len(triplets[0]) else 0.0, abs=1e-6)


MARGINS = {"softmax": 0.0, "cosface": 0.35, "arcface": 0.5}


def test_heads_agree_with_pytorch_metric_learning():
    # Imported here, once: it takes as long to import as all tests of this file take.
    from pytorch_metric_learning import losses

    draw = torch.Generator().manual_seed(3)
    embeddings = F.normalize(torch.randn(24, 8, generator=draw), dim=1)
    labels = torch.randint(0, 7, (24,), generator=draw)
    theirs = {
        "cosface": losses.CosFaceLoss(7, 8, margin=0.35, scale=16),
        "arcface": losses.ArcFaceLoss(7, 8, margin=math.degrees(0.5), scale=16),
        "softmax": losses.NormalizedSoftmaxLoss(7, 8, temperature=1 / 16),
    }
    for name, other in theirs.items():
        head = build_head(name, 8, 7, 16.0, MARGINS[name])
        with torch.no_grad():  # unit rows: their softmax normalises, ours does not
            head.weight.copy_(F.normalize(torch.randn(7, 8), dim=1))
            head.weight[labels[0]] = -embeddings[0]
            other.W.copy_(head.weight.T)
        values, gradients = [], []
        for loss in (head, other):
            raw = embeddings.clone().requires_grad_()
            values.append(loss(F.normalize(raw, dim=1), labels))
            (gradient,) = torch.autograd.grad(values[-1], raw)
            gradients.append(gradient[1:])  # theirs can be NaN for face 0, at cosine -1
        assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5), name
        assert torch.allclose(*gradients, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("cosine", [1.0, -1.0, 0.0])
def test_gradients_are_finite_at_the_edges(name, cosine):
    head = build_head(name, 8, 4, 64.0, MARGINS[name])
    raw = torch.zeros(6, 8)
    raw[:, 0] = 3.0
    raw.requires_grad_()
    centres = torch.eye(4, 8).roll(1, dims=0)  # of others: at right angles
    centres[0] = cosine * torch.eye(1, 8) + (1 - abs(cosine)) * torch.eye(8)[5]
    head.start_at(centres)
    loss = head(F.normalize(raw, dim=1), torch.zeros(6, dtype=torch.int64))
    loss.backward()
    assert torch.isfinite(loss)
    for gradient in (raw.grad, *(weight.grad for weight in head.parameters())):
        assert gradient is not None
        assert torch.isfinite(gradient).all()


def test_arcface_falls_with_the_angle_up_to_pi():
    head = build_head("arcface", 8, 4, 1.0, 0.5)
    angles = torch.linspace(0, math.pi, 2001)
    logits = head.apply_margin(torch.cos(angles))
    assert (logits.diff() <= 1e-6).all()
    assert logits[0].item() == pytest.approx(math.cos(0.5), abs=1e-4)
    assert logits[-1].item() == pytest.approx(-1 - 0.5 * math.sin(0.5), abs=1e-6)
