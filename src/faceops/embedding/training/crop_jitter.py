"""Crop jitter: faces shifted and scaled, as imprecise landmarks would have aligned them."""

import torch
import torch.nn.functional as F

MAX_SHIFT = 16 / 112  # of the side, at strength 1
MAX_SCALE = 1.25


def jitter_crop(pixels: torch.Tensor, draws: torch.Tensor, strength: float) -> torch.Tensor:
    """Return `pixels` (B, 3, H, W), each photo shifted along both axes and scaled about its middle.

    Bilinear; what comes in from outside is the crop's own edge, mirrored.

    Args:
        draws: (B, 3) in [0, 1): shift to the right, shift down, scale; .5 changes nothing.
        strength: 0..1; at 1 shifts reach 1/7 of the side (16 of 112 pixels) and scales lie
            between 1 / 1.25 and 1.25, evenly on a log scale.
    """
    signed = (2 * draws - 1) * strength
    shrink = MAX_SCALE ** -signed[:, 2:]  # (B, 1)
    height, width = pixels.shape[2:]
    # Where in the photo each row and column of the result lies; -1 and 1 are the edges.
    y = (_middles(height, pixels.device) - 2 * MAX_SHIFT * signed[:, 1:2]) * shrink  # (B, H)
    x = (_middles(width, pixels.device) - 2 * MAX_SHIFT * signed[:, :1]) * shrink  # (B, W)
    grid = torch.stack(torch.broadcast_tensors(x[:, None], y[:, :, None]), dim=3)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _middles(side: int, device: torch.device) -> torch.Tensor:
    return (2 * torch.arange(side, device=device) + 1) / side - 1
