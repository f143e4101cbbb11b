"""Layers beside each other, which Inception networks (Szegedy et al. 2015) are made of."""

import torch
from torch import nn


class Branches(nn.Module):
    """(B, C, H, W) -> (B, sum of the branches' channels, H', W'): the outputs follow each other."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Let every branch map `features`."""
        return torch.cat([branch(features) for branch in self.branches], dim=1)
