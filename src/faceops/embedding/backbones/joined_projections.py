"""Descriptors for a release: what training keeps in two steps is one."""

from collections import OrderedDict

import torch
from torch import nn

from faceops.embedding.backbones.descriptors import side_by_side
from faceops.embedding.descriptors.regions import REGIONS
from faceops.embedding.embedder import Embedder


class Projections(nn.Module):
    """float32 (B, F) -> (B, D): components and discriminants of each region by one matrix."""

    def __init__(self, regions: list[nn.Linear]) -> None:
        super().__init__()
        self.regions = nn.ModuleList(regions)

    def forward(self, described: torch.Tensor) -> torch.Tensor:
        """Return the projections side by side."""
        pairs = zip(self.regions, REGIONS, strict=True)
        return side_by_side([linear(region.of(described)) for linear, region in pairs])


def with_joined_projections(model: nn.Module) -> nn.Module:
    """Return a network of the same embeddings, to rounding, as `model` has in evaluation.

    One of `build_descriptors` gets a fifth of the weights at 768 dimensions, fewer at fewer; any
    other is returned as it is.
    """
    if not isinstance(model, Embedder) or model.backbone != "descriptors":
        return model
    components = model.get_submodule("trunk.components.regions").children()
    discriminants = model.get_submodule("head.discriminants.regions").children()
    pairs = zip(components, discriminants, strict=True)
    trunk = [(name, model.get_submodule(f"trunk.{name}")) for name in ("stage", "described")]
    return Embedder(
        model.backbone,
        model.embedding_size,
        nn.Sequential(OrderedDict(trunk)),
        Projections([_joined(first, second) for first, second in pairs]),
        model.input_size,
        model.colour,
        model.parts,
    )


@torch.no_grad()
def _joined(first: nn.Module, second: nn.Module) -> nn.Linear:
    """Return `second` after `first` as one layer, rounded once."""
    assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
    joined = nn.Linear(first.in_features, second.out_features)
    weight = second.weight.double()
    joined.weight.copy_(weight @ first.weight.double())
    joined.bias.copy_(weight @ first.bias.double())
    return joined
