"""All descriptors of a face side by side."""

from math import prod

import torch
from torch import nn

from faceops.embedding.backbones.input_stage import brightness_of
from faceops.embedding.descriptors.binary_patterns import BinaryPatterns
from faceops.embedding.descriptors.edge_patterns import EdgePatterns
from faceops.embedding.descriptors.fisher_vectors import FisherVectors
from faceops.embedding.descriptors.oriented_gradients import OrientedGradients

# Each has a `layout`: its features are (channels, from the top of the face to its chin, rest).
GROUPS = (OrientedGradients, BinaryPatterns, EdgePatterns, FisherVectors)
LAYOUTS = [group.layout for group in GROUPS]
FEATURES = [prod(layout) for layout in LAYOUTS]


class Described(nn.Module):
    """float32 (B, 1, 112, 112) in [-1, 1), as InputStage gives it -> (B, F), group after group."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = nn.ModuleList(group() for group in GROUPS)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Describe what is `seen` by each group."""
        # bfloat16 would round the differences between neighbours away.
        with torch.autocast(seen.device.type, enabled=False):
            brightness = brightness_of(seen)
            return torch.cat([group(brightness) for group in self.groups], dim=1)
