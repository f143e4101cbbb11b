"""Histograms of patterns of oriented edges (POEM: Vu and Caplier 2012)."""

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.backbones.input_stage import CROP_SIZE
from faceops.embedding.descriptors.cells import GRID, fold, mean_around
from faceops.embedding.descriptors.edge_maps import EdgeMaps
from faceops.embedding.descriptors.pattern_histograms import (
    MIRRORED,
    PATTERNS,
    PatternHistograms,
)

ORIENTATIONS = 6
_SHRUNK = 2
_RADIUS = 2  # of the ring, in pixels of the shrunk maps, like the next two
_SMOOTHED = 3  # pixels a side
_SURROUND = 9  # pixels a side, to whose mean strength edges are related
_NOISE = 3e-3  # strength of edges below which a flat patch is not blown up
_SOFTNESS = 0.1  # of that mean: below it a difference is noise


class EdgePatterns(nn.Module):
    """float32 (B, 1, 112, 112) brightness in [0, 1] -> float32 (B, 34692).

    Which of eight neighbours have stronger edges than the centre, orientation by orientation:
    where binary patterns see shading, this sees how lines run.
    """

    layout = (ORIENTATIONS * PATTERNS, GRID, GRID // 2)

    def __init__(self) -> None:
        super().__init__()
        self.edges = EdgeMaps(ORIENTATIONS, signed=False)
        self.histograms = PatternHistograms(CROP_SIZE // _SHRUNK, _RADIUS, _SOFTNESS)
        self.mirrored = [
            orientation * PATTERNS + pattern
            for orientation in self.edges.mirrored
            for pattern in MIRRORED
        ]

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Return the features of `brightness`, orientation by orientation."""
        maps = mean_around(F.avg_pool2d(self.edges(brightness), _SHRUNK), _SMOOTHED)
        relative = maps / (mean_around(maps.mean(1, keepdim=True), _SURROUND) + _NOISE)
        # One after the other: all at once would take six times the memory, and no less time.
        cells = [self.histograms(one) for one in relative.split(1, dim=1)]
        return fold(torch.cat(cells, dim=1), self.mirrored)
