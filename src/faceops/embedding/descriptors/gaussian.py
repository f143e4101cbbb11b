"""Gaussian weights."""

import torch


def gaussian(away: torch.Tensor, deviation: float) -> torch.Tensor:
    """Return weights of sum 1 for points `away` (N,) from the centre, in units of `deviation`."""
    weights = torch.exp(-away.square() / (2 * deviation**2))
    return weights / weights.sum()
