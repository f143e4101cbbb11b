"""From maps of what is seen at each pixel to numbers that hold for a face and its mirror image."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

GRID = 14  # cells a side
_AROUND = 5  # cells a side over which contrast is evened out
_NOISE = 1e-4  # energy below which a flat cell is not blown up


class CellSums(nn.Module):
    """float32 (B, C, S, S) -> (B, C, 14, 14): means under a Gaussian window at each cell.

    S is 14 x an even step; a window reaches a cell past its own on either side.
    """

    window: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.step, rest = divmod(size, GRID)
        assert not rest and self.step % 2 == 0, size  # else windows have no middle
        reach = 3 * self.step // 2
        # Not in the state dict: it follows from the argument.
        self.register_buffer(
            "window",
            gaussian(torch.arange(-reach, reach) + 0.5, self.step / 2),
            persistent=False,
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the cells of `maps`, one axis after the other."""
        channels = maps.shape[1]
        padded = F.pad(maps, (self.step,) * 4, mode="reflect")
        down = self.window.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
        across = self.window.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1)
        rows = F.conv2d(padded, down, stride=(self.step, 1), groups=channels)
        return F.conv2d(rows, across, stride=(1, self.step), groups=channels)


def even_contrast(cells: torch.Tensor) -> torch.Tensor:
    """Divide `cells` (B, C, 14, 14) by the root of the mean energy of the 5 x 5 cells around."""
    energy = mean_around(cells.square().sum(1, keepdim=True), _AROUND)
    return cells / (energy + _NOISE).sqrt()


def mean_around(maps: torch.Tensor, side: int) -> torch.Tensor:
    """Return means of `maps` (B, C, S, S) over `side` x `side` pixels around each, `side` odd."""
    return F.avg_pool2d(maps, side, stride=1, padding=side // 2, count_include_pad=False)


def fold(cells: torch.Tensor, mirrored: Sequence[int]) -> torch.Tensor:
    """Return (B, C x 98): the left half of the mean of `cells` (B, C, 14, 14) and their mirror.

    Square roots are taken first, after which differences weigh as Hellinger's (Arandjelovic and
    Zisserman 2012).

    Args:
        mirrored: for each channel, the one that sees in a mirrored photo what it sees.
    """
    roots = cells.clamp_min(0).sqrt()
    both = (roots + roots[:, list(mirrored)].flip(3)) / 2
    return both[:, :, :, : GRID // 2].flatten(1)


def gaussian(away: torch.Tensor, deviation: float) -> torch.Tensor:
    """Return weights of sum 1 for points `away` (N,) from the centre, in units of `deviation`."""
    weights = torch.exp(-away.square() / (2 * deviation**2))
    return weights / weights.sum()
