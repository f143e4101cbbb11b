"""How strongly brightness changes at each pixel, told apart by the direction in which it does."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.descriptors.cells import gaussian

_EDGE = 0.8  # pixels, standard deviation of the Gaussian whose slope is taken
_FLAT = 1e-5  # a slope of rounding errors, a hundredth of what one grey level makes
_SHARPNESS = 5  # power of the cosine: at 45 degrees a sixth is left, at 30 a half


class EdgeMaps(nn.Module):
    """float32 (B, 1, S, S) brightness in [0, 1] -> float32 (B, N, S, S), from 0.

    Slopes of the square root of brightness, shared out over N directions.

    Args:
        directions: N; even if signed.
        signed: N directions of a full turn, from dark to bright; else N of half a turn, and a
            line on skin and its negative are alike.
    """

    slopes: torch.Tensor
    units: torch.Tensor

    def __init__(self, directions: int, signed: bool) -> None:
        super().__init__()
        assert not signed or directions % 2 == 0, directions  # else none is its opposite
        self.signed = signed
        angles = (2 if signed else 1) * math.pi * torch.arange(directions) / directions
        units = torch.stack([angles.cos(), angles.sin()], dim=1)[:, :, None, None]
        # Not in the state dict: they follow from the constants.
        self.register_buffer("slopes", _slopes(), persistent=False)
        self.register_buffer("units", units, persistent=False)
        # Mirrored, a slope of angle a has the angle pi - a; without a sign that is -a.
        turn = directions // 2 if signed else 0
        self.mirrored = [(turn - number) % directions for number in range(directions)]

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Return the maps of `brightness`."""
        reach = self.slopes.shape[2] // 2
        image = F.pad(brightness.sqrt(), (reach,) * 4, mode="replicate")
        slope = F.conv2d(image, self.slopes)
        size = slope.square().sum(1, keepdim=True).sqrt()
        along = F.conv2d(slope, self.units)
        along = along.clamp_min(0) if self.signed else along.abs()
        return size * (along / size.clamp_min(_FLAT)) ** _SHARPNESS


def _slopes() -> torch.Tensor:
    """float32 (2, 1, 9, 9): the slope to the right and the slope downwards of a smoothed image."""
    smooth = gaussian(torch.arange(-3.0, 4.0), _EDGE)
    wide = F.pad(smooth, (1, 1))
    # conv2d does not turn its kernel: this weighs right less left neighbour.
    slope = F.pad(smooth, (2, 0)) - F.pad(smooth, (0, 2))
    return torch.stack([wide[:, None] * slope, slope[:, None] * wide])[:, None]
