"""Histograms of oriented gradients (Dalal and Triggs 2005)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.backbones.input_stage import CROP_SIZE
from faceops.embedding.descriptors.cells import GRID, CellSums, even_contrast, fold, gaussian

DIRECTIONS = 8
_EDGE = 0.8  # pixels, standard deviation of the Gaussian whose slope is taken
_FLAT = 1e-5  # a slope of rounding errors, a hundredth of what one grey level makes
_SHARPNESS = 5  # power of the cosine: along one direction, its neighbours get a sixth


class OrientedGradients(nn.Module):
    """float32 (B, 1, 112, 112) brightness in [0, 1] -> float32 (B, 784).

    Gradients of the square root of brightness, told apart by direction with their sign.
    """

    features = DIRECTIONS * GRID * GRID // 2
    slopes: torch.Tensor
    directions: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = 2 * math.pi * torch.arange(DIRECTIONS) / DIRECTIONS
        directions = torch.stack([angles.cos(), angles.sin()], dim=1)[:, :, None, None]
        # Not in the state dict: they follow from the constants.
        self.register_buffer("slopes", _slopes(), persistent=False)
        self.register_buffer("directions", directions, persistent=False)
        self.sums = CellSums(CROP_SIZE)
        # Mirrored, a gradient of angle a has the angle pi - a.
        self.mirrored = [(DIRECTIONS // 2 - number) % DIRECTIONS for number in range(DIRECTIONS)]

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Return the features of `brightness`."""
        reach = self.slopes.shape[2] // 2
        image = F.pad(brightness.sqrt(), (reach,) * 4, mode="replicate")
        gradient = F.conv2d(image, self.slopes)
        size = gradient.square().sum(1, keepdim=True).sqrt()
        along = F.conv2d(gradient, self.directions).clamp_min(0)
        maps = size * (along / size.clamp_min(_FLAT)) ** _SHARPNESS
        return fold(even_contrast(self.sums(maps)), self.mirrored)


def _slopes() -> torch.Tensor:
    """float32 (2, 1, 9, 9): the slope to the right and the slope downwards of a smoothed image."""
    smooth = gaussian(torch.arange(-3.0, 4.0), _EDGE)
    wide = F.pad(smooth, (1, 1))
    # conv2d does not turn its kernel: this weighs right less left neighbour.
    slope = F.pad(smooth, (2, 0)) - F.pad(smooth, (0, 2))
    return torch.stack([wide[:, None] * slope, slope[:, None] * wide])[:, None]
