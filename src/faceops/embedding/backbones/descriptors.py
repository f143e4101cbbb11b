"""Three descriptors that nobody has to learn, and what is learnt to tell people apart by them.

For few people. A convolutional network of a thousand people has them by heart before it has learnt
what edges and textures are; here that is given, and the photos teach which of it makes a person.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.backbones.input_stage import CROP_SIZE, InputStage
from faceops.embedding.descriptors.binary_patterns import BinaryPatterns
from faceops.embedding.descriptors.gabor_energy import GaborEnergy
from faceops.embedding.descriptors.oriented_gradients import OrientedGradients
from faceops.embedding.embedder import Embedder

GROUPS = (OrientedGradients, GaborEnergy, BinaryPatterns)
FEATURES = [group.features for group in GROUPS]
KEPT = 300  # numbers a group: more follow the training people's noise
_DROPOUT = 0.5


class Described(nn.Module):
    """float32 (B, 1, 112, 112) in [-1, 1), as InputStage gives it -> (B, F), group after group."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = nn.ModuleList(group() for group in GROUPS)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Describe what is `seen` by each group."""
        # bfloat16 would round the differences between neighbours away.
        with torch.autocast(seen.device.type, enabled=False):
            brightness = ((seen * 128 + 127.5) / 255).clamp(0, 1)
            return torch.cat([group(brightness) for group in self.groups], dim=1)


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


def build_descriptors(embedding_size: int) -> Embedder:
    """Return the network, its projections drawn from torch's global generator.

    `start_by_discriminants` puts what training faces say in their place.

    Args:
        embedding_size: a multiple of the three groups.
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
