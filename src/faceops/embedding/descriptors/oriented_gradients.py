"""Histograms of oriented gradients (Dalal and Triggs 2005)."""

import torch
from torch import nn

from faceops.embedding.backbones.input_stage import CROP_SIZE
from faceops.embedding.descriptors.cells import GRID, CellSums, even_contrast, fold
from faceops.embedding.descriptors.edge_maps import EdgeMaps

DIRECTIONS = 8


class OrientedGradients(nn.Module):
    """float32 (B, 1, 112, 112) brightness in [0, 1] -> float32 (B, 784)."""

    layout = (DIRECTIONS, GRID, GRID // 2)

    def __init__(self) -> None:
        super().__init__()
        self.edges = EdgeMaps(DIRECTIONS, signed=True)
        self.sums = CellSums(CROP_SIZE)

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Return the features of `brightness`."""
        return fold(even_contrast(self.sums(self.edges(brightness))), self.edges.mirrored)
