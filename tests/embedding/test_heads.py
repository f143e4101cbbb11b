"""The classification heads against those of another library, and at their edges."""

import math

import pytest
import torch
import torch.nn.functional as F

from faceops.embedding.heads import HEADS, build_head

MARGINS = {"softmax": 0.0, "cosface": 0.35, "arcface": 0.5}


def test_heads_agree_with_pytorch_metric_learning() -> None:
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
def test_gradients_are_finite_at_the_edges(name: str, cosine: float) -> None:
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


def test_arcface_falls_with_the_angle_up_to_pi() -> None:
    head = build_head("arcface", 8, 4, 1.0, 0.5)
    angles = torch.linspace(0, math.pi, 2001)
    logits = head.apply_margin(torch.cos(angles))
    assert (logits.diff() <= 1e-6).all()
    assert logits[0].item() == pytest.approx(math.cos(0.5), abs=1e-4)
    assert logits[-1].item() == pytest.approx(-1 - 0.5 * math.sin(0.5), abs=1e-6)
