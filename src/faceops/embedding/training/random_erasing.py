"""Random erasing (Zhong et al. 2020): a rectangle of noise."""

from functools import lru_cache

import torch

AREA = (0.02, 0.4)  # of the photo
ASPECT = (0.3, 1 / 0.3)  # height over width
_PLACES = 2**16


def erase(pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Return `pixels` (B, 3, H, W), a rectangle of each replaced by random values.

    Its area lies between 2 and 40 % of the photo's, its height between 0.3 and 3.3 times its
    width; what would be longer than the photo is cut to the photo's side.

    Args:
        draws: (B, 5) in [0, 1): area, aspect, place from the top and from the left, noise.
    """
    height, width = pixels.shape[2:]
    area, aspect, top, left = draws.T[:4, :, None]  # (B, 1) each
    area = (AREA[0] + (AREA[1] - AREA[0]) * area) * height * width
    aspect = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** aspect  # evenly on a log scale
    rows = _stretch(height, top, (area * aspect).sqrt())
    columns = _stretch(width, left, (area / aspect).sqrt())
    # Each photo reads one long noise from a place of its own: no copy but the one that is used.
    noise = _noise(pixels[0].numel(), pixels.device).unfold(0, pixels[0].numel(), 1)
    noise = noise[(draws[:, 4] * _PLACES).long()].view(pixels.shape)
    return torch.where(rows[:, None, :, None] & columns[:, None, None], noise, pixels)


def _stretch(side: int, start: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Return bool (B, side), true for `length` places that lie at `start` of where they can."""
    length = length.round().clamp(1, side)
    first = (start * (side - length + 1)).floor()
    places = torch.arange(side, device=start.device)
    return (places >= first) & (places < first + length)


@lru_cache(maxsize=2)
def _noise(count: int, device: torch.device) -> torch.Tensor:
    """Return values 0..255, float32, `count` of them from each of 65,536 places."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count + _PLACES - 1,), generator=generator).float().to(device)
