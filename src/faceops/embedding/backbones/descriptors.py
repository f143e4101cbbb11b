"""Descriptors that know of no people, and what is learnt to tell people apart by them.

For few people. A convolutional network of a thousand people has them by heart before it has learnt
what edges and textures are; here that is given, and the photos teach which of it makes a person.
Of the descriptors only the words of Fisher vectors come from photos too, whoever is on them.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.backbones.input_stage import CROP_SIZE, InputStage
from faceops.embedding.descriptors.described import FEATURES, GROUPS, Described
from faceops.embedding.embedder import Embedder

KEPT = 300  # numbers a group: more follow the training people's noise
_DROPOUT = 0.5


class Components(nn.Module):
    """float32 (B, F) -> (B, groups x 300): each group's principal components."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = nn.ModuleList(nn.Linear(count, KEPT) for count in FEATURES)

    def forward(self, described: torch.Tensor) -> torch.Tensor:
        """Return the components of all groups side by side."""
        parts = zip(self.groups, described.split(FEATURES, dim=1), strict=True)
        return torch.cat([group(part) for group, part in parts], dim=1)


class Discriminants(nn.Module):
    """float32 (B, groups x 300) -> (B, D): each group projected by itself, to length 1.

    Groups that are joined only afterwards err in different places.
    """

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.groups = nn.ModuleList(
            nn.Linear(KEPT, embedding_size // len(GROUPS), bias=False) for _ in GROUPS
        )

    def forward(self, components: torch.Tensor) -> torch.Tensor:
        """Return the projections side by side."""
        parts = zip(self.groups, components.split(KEPT, dim=1), strict=True)
        return torch.cat([F.normalize(group(part).float(), dim=1) for group, part in parts], dim=1)


def description_by(model: Embedder) -> nn.Sequential:
    """Return the part of a network of `build_descriptors` that no gradient changes.

    float32 (B, 3, 112, 112) RGB 0..255 -> (B, F).
    """
    return nn.Sequential(model.get_submodule("trunk.stage"), model.get_submodule("trunk.described"))


def build_descriptors(embedding_size: int) -> Embedder:
    """Return the network, its words and projections drawn from torch's global generator.

    `kept_words` and `start_by_discriminants` put what training faces say in their place.

    Args:
        embedding_size: a multiple of the four groups.
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
    )
