"""Descriptors of many overlapping patches (SIFT: Lowe 2004; on a grid: Bosch et al. 2007)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.backbones.input_stage import CROP_SIZE
from faceops.embedding.descriptors.edge_maps import EdgeMaps

DIRECTIONS = 8
CELLS = 4  # a side of a patch
CELL_SIDES = (4, 6, 8)  # pixels, one for each size of patch; even, so that grids have a middle
SIZE = DIRECTIONS * CELLS * CELLS  # of a descriptor
_STEP = 4  # pixels from patch to patch
_NOISE = 0.016  # strength of all edges of a patch below which a flat one is not blown up


class DenseSift(nn.Module):
    """float32 (B, 1, 112, 112) brightness in [0, 1] -> float32 (B, N, 128), of length up to 1.

    Patches of three sizes, four pixels apart, each with 4 x 4 cells of gradients in 8 directions.
    Square roots are taken, after which differences weigh as Hellinger's (Arandjelovic and
    Zisserman 2012). The grids are symmetric: in a mirrored photo the patch at (y, -x) has the
    numbers of the one at (y, x), in the order `mirrored`.

    Attributes:
        places: float32 (N, 2), the middle of each patch down and across, -0.5 .. 0.5.
        mirrored: for each number of a descriptor, the one that a mirrored photo has there.
    """

    places: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.edges = EdgeMaps(DIRECTIONS, signed=True)
        grids = [_Grid(side) for side in CELL_SIDES]
        self.grids = nn.ModuleList(grids)
        # Not in the state dict: it follows from the constants.
        places = torch.cat([grid.places() for grid in grids])
        self.register_buffer("places", places, persistent=False)
        self.mirrored = [
            (down * CELLS + CELLS - 1 - across) * DIRECTIONS + direction
            for down in range(CELLS)
            for across in range(CELLS)
            for direction in self.edges.mirrored
        ]

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Describe the patches of `brightness`, size after size."""
        edges = self.edges(brightness)
        cells = torch.cat([grid(edges) for grid in self.grids], dim=2).transpose(1, 2).clamp_min(0)
        return (cells / (cells.sum(2, keepdim=True) + _NOISE)).sqrt()


class _Grid(nn.Module):
    """float32 (B, 8, 112, 112) -> (B, 128, N): the cells of patches of one size."""

    window: torch.Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.stride = math.gcd(side, _STEP)
        # Cells lie between two pixels, the first of a line between `first` and the next.
        room = CROP_SIZE - 2 - (CELLS - 1) * side
        self.count = room // _STEP + 1
        self.first, odd = divmod(room % _STEP, 2)
        assert not odd, side  # else the grid is not its own mirror image
        # Not in the state dict: it follows from the argument.
        away = (torch.arange(-side, side) + 0.5).abs() / side
        self.register_buffer("window", (1 - away) / (1 - away).sum(), persistent=False)

    def places(self) -> torch.Tensor:
        """Return float32 (N, 2), the middles of the patches."""
        line = (torch.arange(self.count) - (self.count - 1) / 2) * _STEP / CROP_SIZE
        return torch.cartesian_prod(line, line)

    def forward(self, edges: torch.Tensor) -> torch.Tensor:
        """Return means of `edges` under a tent over each cell; outside the photo there are none."""
        before = self.side - 1 - self.first
        padded = F.pad(edges, (before, self.side) * 2)
        down = self.window.reshape(1, 1, -1, 1).expand(DIRECTIONS, 1, -1, 1)
        across = self.window.reshape(1, 1, 1, -1).expand(DIRECTIONS, 1, 1, -1)
        rows = F.conv2d(padded, down, stride=(self.stride, 1), groups=DIRECTIONS)
        cells = F.conv2d(rows, across, stride=(1, self.stride), groups=DIRECTIONS)
        parts = [
            cells[:, :, self._line(y), self._line(x)] for y in range(CELLS) for x in range(CELLS)
        ]
        return torch.cat(parts, dim=1).flatten(2)

    def _line(self, number: int) -> slice:
        """Return where in a line the cells stand that are the `number`-th of their patches."""
        begin, step = number * self.side // self.stride, _STEP // self.stride
        return slice(begin, begin + step * (self.count - 1) + 1, step)
