"""NN2 is the network of FaceNet's table 2 (Schroff et al. 2015); L2 pooling equals its loop."""

import pytest
import torch
from torch import nn

from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.backbones.inception import L2Pool

# Layer; side and channels of its output at 224 pixels; parameters as printed, with the error
# that the paper's rounding leaves (half of the last digit; 545.5 K is printed as 545 K).
TABLE_2 = [
    *(("conv1", 112, 64, 9_000), ("pool1", 56, 64, 0), ("inception2", 56, 192, 115_000)),
    *(("pool2", 28, 192, 0), ("inception3a", 28, 256, 164_000), ("inception3b", 28, 320, 228_000)),
    *(("inception3c", 14, 640, 398_000), ("inception4a", 14, 640, 545_000)),
    *(("inception4b", 14, 640, 595_000), ("inception4c", 14, 640, 654_000)),
    *(("inception4d", 14, 640, 722_000), ("inception4e", 7, 1024, 717_000)),
    *(("inception5a", 7, 1024, 1_600_000), ("inception5b", 7, 1024, 1_600_000)),
]


def as_the_paper_counts(layer: nn.Module) -> int:
    """Return the weights, and one bias per output, which is in the normalisation here."""
    total = 0
    for part in layer.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            total += part.weight.numel() + part.weight.shape[0]
    return total


def test_layers_and_parameters_are_those_of_table_2() -> None:
    with torch.device("meta"):  # shapes alone: nothing is computed
        model = build_backbone("facenet_nn2", 128, 224)
        features = torch.empty(2, 3, 224, 224)
        layers = dict(model.trunk.named_children())
        assert list(layers) == ["input", *(name for name, *_ in TABLE_2)]
        for name, side, channels, printed in TABLE_2:
            features = layers[name](features)
            assert features.shape == (2, channels, side, side), name
            rounding = 50_000 if printed >= 1_000_000 else 600
            found = as_the_paper_counts(layers[name])
            assert found == pytest.approx(printed, abs=rounding), name
        assert model.head[0](features).shape == (2, 1024, 1, 1)
        assert model.head(features).shape == (2, 128)
    assert as_the_paper_counts(model.head) == pytest.approx(131_000, abs=600)
    assert as_the_paper_counts(model) == pytest.approx(7_500_000, abs=50_000)
    pools = {name for name, layer in layers.items() if L2Pool in map(type, layer.modules())}
    assert pools == {f"inception{row}" for row in ("3b", "4a", "4b", "4c", "4d", "5a")}


def test_l2_pooling_is_the_norm_of_each_window() -> None:
    features = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    found = L2Pool()(features)
    assert found.shape == features.shape
    for image, channel, row, column in torch.cartesian_prod(*map(torch.arange, features.shape)):
        window = features[
            image, channel, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2
        ]
        expected = float(window.pow(2).sum().sqrt())
        assert float(found[image, channel, row, column]) == pytest.approx(expected, abs=2e-5)


def test_gradients_of_l2_pooling_at_zero_are_zero() -> None:
    features = torch.zeros(1, 1, 4, 4, requires_grad=True)
    L2Pool()(features).sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros(1, 1, 4, 4))
