"""CosFace against its formula."""

import math

import pytest
import torch
import torch.nn.functional as F

from faceops.embedding.heads.cosface import CosFace
from faceops.embedding.training.rate_schedule import rate_at


def test_loss_is_a_softmax_over_cosines_less_the_margin() -> None:
    torch.manual_seed(0)
    head = CosFace(8, 5, scale=16, margin=0.3)
    embeddings = F.normalize(torch.randn(4, 8), dim=1)
    labels = torch.tensor([0, 3, 3, 1])
    losses = []
    weights = head.weight.detach()
    for embedding, label in zip(embeddings, labels.tolist(), strict=True):
        logits = [
            16 * (float(embedding @ weight / weight.norm()) - (0.3 if person == label else 0))
            for person, weight in enumerate(weights)
        ]
        losses.append(math.log(sum(math.exp(z) for z in logits)) - logits[label])
    assert head(embeddings, labels).item() == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_rate_rises_then_falls_to_nothing() -> None:
    rates = [rate_at(step, 200, 0.1) for step in range(200)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-4
