"""Histograms of local binary patterns of brightness (for faces: Ahonen et al. 2006)."""

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.backbones.input_stage import CROP_SIZE
from faceops.embedding.descriptors.cells import GRID, fold
from faceops.embedding.descriptors.pattern_histograms import (
    MIRRORED,
    PATTERNS,
    PatternHistograms,
)

_SOFTNESS = 2 / 255  # of brightness: below it a difference is noise
_RINGS = ((2, 1), (1, 2))  # radius of the ring in pixels, by how much the photo is shrunk first


class BinaryPatterns(nn.Module):
    """float32 (B, 1, 112, 112) brightness in [0, 1] -> float32 (B, 11564)."""

    layout = (len(_RINGS) * PATTERNS, GRID, GRID // 2)

    def __init__(self) -> None:
        super().__init__()
        self.histograms = nn.ModuleList(
            PatternHistograms(CROP_SIZE // shrunk, radius, _SOFTNESS) for radius, shrunk in _RINGS
        )

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Return the features of `brightness`, ring by ring."""
        parts = []
        for (_, shrunk), histograms in zip(_RINGS, self.histograms, strict=True):
            image = F.avg_pool2d(brightness, shrunk) if shrunk > 1 else brightness
            parts.append(fold(histograms(image), MIRRORED))
        return torch.cat(parts, dim=1)
