"""L2 pooling equals the loop that defines it, and can be trained through at zero."""

import pytest
import torch

from faceops.embedding.backbones.layers import L2Pool


def test_it_is_the_norm_of_each_window() -> None:
    features = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    found = L2Pool()(features)
    assert found.shape == features.shape
    for image, channel, row, column in torch.cartesian_prod(*map(torch.arange, features.shape)):
        window = features[
            image, channel, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2
        ]
        expected = float(window.pow(2).sum().sqrt())
        assert float(found[image, channel, row, column]) == pytest.approx(expected, abs=2e-5)


def test_gradients_at_zero_are_zero() -> None:
    features = torch.zeros(1, 1, 4, 4, requires_grad=True)
    L2Pool()(features).sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros(1, 1, 4, 4))


def test_gradients_are_those_of_the_formula() -> None:
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(1, 2, 3, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(L2Pool(), features)
