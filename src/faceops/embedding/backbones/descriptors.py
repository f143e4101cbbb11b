"""Descriptors that know of no people, and what is learnt to tell people apart by them.

For few people. A convolutional network of a thousand people has them by heart before it has learnt
what edges and textures are; here that is given, and the photos teach which of it makes a person.
Of the descriptors only the words of Fisher vectors come from photos too, whoever is on them.

An embedding has two parts, the whole face and its bands, each taught by a loss of its own. Taught
together they lean on each other, apart they err in different places: so Sun et al. (2014) join
networks of face regions, and Wang and Tang (2004) discriminants of random subspaces.
"""

from collections import OrderedDict
from math import lcm

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.backbones.input_stage import CROP_SIZE, InputStage
from faceops.embedding.descriptors.described import Described
from faceops.embedding.descriptors.regions import PARTS, REGIONS
from faceops.embedding.embedder import Embedder

KEPT = 300  # numbers a region: more follow the training people's noise
# Of an embedding's size: each region has two numbers or more, since one is but a sign.
SIZE_MULTIPLE = 2 * len(PARTS) * lcm(*(len(part) for part in PARTS))
_DROPOUT = 0.5


class Components(nn.Module):
    """float32 (B, F) -> (B, regions x 300): each region's principal components."""

    def __init__(self) -> None:
        super().__init__()
        self.regions = nn.ModuleList(nn.Linear(region.features, KEPT) for region in REGIONS)

    def forward(self, described: torch.Tensor) -> torch.Tensor:
        """Return the components of all regions side by side."""
        pairs = zip(self.regions, REGIONS, strict=True)
        return torch.cat([linear(region.of(described)) for linear, region in pairs], dim=1)


class Discriminants(nn.Module):
    """float32 (B, regions x 300) -> (B, D): each region projected by itself.

    Regions that are joined only afterwards err in different places.
    """

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        of_part = embedding_size // len(PARTS)
        sizes = [of_part // len(part) for part in PARTS for _ in part]
        self.regions = nn.ModuleList(nn.Linear(KEPT, size, bias=False) for size in sizes)

    def forward(self, components: torch.Tensor) -> torch.Tensor:
        """Return the projections side by side."""
        pairs = zip(self.regions, components.split(KEPT, dim=1), strict=True)
        return side_by_side([linear(seen) for linear, seen in pairs])


def side_by_side(projected: list[torch.Tensor]) -> torch.Tensor:
    """Return (B, D), what each region was `projected` to.

    All regions of a part weigh alike, and so do all parts.
    """
    weights = [len(part) ** -0.5 for part in PARTS for _ in part]
    pairs = zip(projected, weights, strict=True)
    return torch.cat([weight * F.normalize(one.float(), dim=1) for one, weight in pairs], dim=1)


def description_by(model: Embedder) -> nn.Sequential:
    """Return the part of a network of `build_descriptors` that no gradient changes.

    float32 (B, 3, 112, 112) RGB 0..255 -> (B, F).
    """
    return nn.Sequential(model.get_submodule("trunk.stage"), model.get_submodule("trunk.described"))


def build_descriptors(embedding_size: int) -> Embedder:
    """Return the network, its words and projections drawn from torch's global generator.

    `kept_words` and `start_by_discriminants` put what training faces say in their place.

    Args:
        embedding_size: a multiple of SIZE_MULTIPLE; half are the whole face's, half its bands'.
    """
    trunk = [
        ("stage", InputStage(CROP_SIZE, "grey")),
        ("described", Described()),
        ("components", Components()),
    ]
    head = [("dropout", nn.Dropout(_DROPOUT)), ("discriminants", Discriminants(embedding_size))]
    return Embedder(
        "descriptors",
        embedding_size,
        nn.Sequential(OrderedDict(trunk)),
        nn.Sequential(OrderedDict(head)),
        CROP_SIZE,
        "grey",
        parts=len(PARTS),
    )
