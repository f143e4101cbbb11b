"""Lower faces covered as masks and hands cover them."""

import math

import torch

# Of the side, in the aligned template: eyes at .46, tip of the nose at .64, mouth at .82.
EYES_END = 60 / 112
_HIGHEST, _LOWEST = 62 / 112, 84 / 112  # where the cover begins
_CHEEKS = (0.5, 0.66)
_HANDS = 0.35  # share of the covers


def occlude(pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Return `pixels` (B, 3, H, W), 0..255, each with a cover from below the eyes downwards.

    A mask spans the face: any colour, more often pale, with faint pleats. A hand is narrower,
    has the colour of the photo's own cheeks, and stripes as fingers make them. The upper edge
    begins anywhere between below the eyes and the mouth, a little tilted and curved.

    Args:
        draws: (B, 12) in [0, 1). Rows above `EYES_END` never change.
    """
    height, width = pixels.shape[2:]
    (
        kind, line, tilt, sag, middle, wide, red, green, blue, light, turn, phase,
    ) = draws.T[:, :, None, None, None]  # fmt: skip
    hand = kind < _HANDS
    y = (torch.arange(height, device=pixels.device)[:, None] + 0.5) / height  # (H, 1)
    x = (torch.arange(width, device=pixels.device) + 0.5) / width  # (W,)
    half = torch.where(hand, 0.18 + 0.2 * wide, 0.33 + 0.1 * wide)
    across = (x - 0.5 - (middle - 0.5) * torch.where(hand, 0.3, 0.08)) / half  # -1..1 on it

    top = _HIGHEST + (_LOWEST - _HIGHEST) * line
    top = top + (tilt - 0.5) * torch.where(hand, 0.3, 0.06) * across + 0.12 * sag * across**2
    sides = 1 - torch.where(hand, 0, 0.5 * (y - EYES_END).clamp_min(0))  # a chin is narrower
    sharp = height / 1.5  # an edge is a pixel and a half wide
    covered = ((y - top.clamp_min(EYES_END)) * sharp).clamp(0, 1)
    covered = covered * ((sides - across.abs()) * half * sharp).clamp(0, 1)  # (B, 1, H, W)

    tint = torch.cat([red, green, blue], dim=1) - 0.5  # (B, 3, 1, 1)
    cloth = 255 * (0.95 * light.sqrt() + 0.3 * wide * tint)
    rows, columns = slice(*_part(height, *_CHEEKS)), slice(*_part(width, 0.3, 0.7))
    skin = pixels[:, :, rows, columns].mean((2, 3), keepdim=True)
    colour = torch.where(hand, skin * (0.75 + 0.45 * light), cloth)
    angle = torch.where(hand, 2 * turn - 1, math.pi / 2 + 0.3 * (turn - 0.5))
    stripes = torch.where(hand, 7, 4 + 4 * red) * (x * angle.cos() + y * angle.sin())
    depth = torch.where(hand, 0.2, 0.12 * green)
    shade = 1 - depth * (math.pi * (stripes + phase)).sin().square() - 0.25 * across**2
    return torch.lerp(pixels, (colour * shade).clamp_(0, 255), covered)


def _part(side: int, start: float, end: float) -> tuple[int, int]:
    """Return first and last of the places between two shares of `side`, at least one."""
    first = int(start * side)
    return first, max(round(end * side), first + 1)
