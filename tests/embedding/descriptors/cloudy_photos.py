"""Photos of clouds: no two places alike, and none its own mirror image."""

import torch
import torch.nn.functional as F


def cloudy_photos(grain: int) -> torch.Tensor:
    """Return float32 (2, 1, 112, 112) in [0, 1], with `grain` clouds a side."""
    coarse = torch.rand(2, 1, grain, grain, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=112, mode="bicubic").clamp(0, 1)
