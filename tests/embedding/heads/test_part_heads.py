"""Each part of an embedding has a classification head of its own."""

import pytest
import torch
import torch.nn.functional as F

from faceops.embedding.heads.build import HEADS, build_head
from faceops.embedding.heads.part_heads import PartHeads

LABELS = torch.tensor([0, 1, 2, 1])


def heads(name: str) -> PartHeads:
    torch.manual_seed(0)
    built = build_head(name, 12, 3, 8.0, 0.2, parts=2)
    assert isinstance(built, PartHeads)
    return built


def embeddings() -> torch.Tensor:
    torch.manual_seed(1)
    return F.normalize(torch.randn(4, 12), dim=1)


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_is_the_mean_of_those_of_the_parts(name: str) -> None:
    both, seen = heads(name), embeddings()
    alone = [
        head(F.normalize(seen[:, begin : begin + 6], dim=1), LABELS)
        for begin, head in zip((0, 6), both.heads, strict=True)
    ]
    assert both.people == 3
    assert torch.allclose(both(seen, LABELS), sum(alone) / 2)


@pytest.mark.parametrize("name", HEADS)
def test_a_part_is_taught_the_same_whatever_another_knows(name: str) -> None:
    both, seen = heads(name), embeddings()
    other = seen.clone()
    other[:, 6:] = other[:, 6:].flip(0)
    gradients = []
    for given in (seen, other):
        given = given.clone().requires_grad_()
        both(given, LABELS).backward()
        assert given.grad is not None
        gradients.append(given.grad)
    assert torch.allclose(gradients[0][:, :6], gradients[1][:, :6], atol=1e-7)
    assert not torch.allclose(gradients[0][:, 6:], gradients[1][:, 6:], atol=1e-3)


def test_classes_start_at_the_parts_of_the_centres() -> None:
    both, centres = heads("cosface"), embeddings()[:3]
    both.start_at(centres)
    for begin, head in zip((0, 6), both.heads, strict=True):
        expected = F.normalize(centres[:, begin : begin + 6], dim=1)
        assert torch.allclose(head.get_parameter("weight"), expected)


@pytest.mark.parametrize("name", HEADS)
def test_as_one_layer_it_gives_the_mean_of_the_parts_logits(name: str) -> None:
    both = heads(name)
    for head in both.heads:
        if name == "softmax":
            torch.nn.init.normal_(head.get_parameter("bias"))
    # As networks give them, all parts of one length.
    seen = torch.cat([F.normalize(part, dim=1) for part in embeddings().chunk(2, dim=1)], dim=1)
    alone = []
    for head, part in zip(both.heads, seen.chunk(2, dim=1), strict=True):
        weight = head.get_parameter("weight")
        if name == "softmax":
            alone.append(8 * part @ weight.T + head.get_parameter("bias"))
        else:
            alone.append(8 * part @ F.normalize(weight, dim=1).T)
    weight, bias = both.as_linear()
    assert torch.allclose(seen / 2**0.5 @ weight.T + bias, (alone[0] + alone[1]) / 2, atol=1e-5)
