"""Layers beside each other, which Inception networks (Szegedy et al. 2015) are made of."""

import torch
import torch.nn.functional as F
from torch import nn


class Branches(nn.Module):
    """(B, C, H, W) -> (B, sum of the branches' channels, H', W'): the outputs follow each other."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Let every branch map `features`."""
        return torch.cat([branch(features) for branch in self.branches], dim=1)


def conv_unit(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
    prelu: bool = False,
) -> nn.Sequential:
    """Return a convolution, batch normalisation, and ReLU or one learnt slope a channel (PReLU).

    The convolution has no bias: normalisation takes it away and adds its own.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.PReLU(outputs) if prelu else nn.ReLU(inplace=True),
    )


# Under the root: the gradient at a window of zeros, which ReLU makes often, is 0 and not NaN.
_EPSILON = 1e-6


class L2Pool(nn.Module):
    """float (B, C, H, W) -> (B, C, H, W): the root of the sum of squares of 3 x 3 pixels."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pool `features`; beyond the border are zeros."""
        means = F.avg_pool2d(features * features, kernel_size=3, stride=1, padding=1)
        return torch.sqrt(9 * means + _EPSILON)
