"""Degradations: what light, camera and files take from a photo, and what covers a face.

A change takes the arguments that `augmentation` states.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from faceops.embedding.embedder import resize_matrix

MAX_STOPS = 2.5  # of exposure, at strength 1
MAX_GAMMA = 2.0


def change_exposure(pixels: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Multiply all values, which clips what becomes too bright, after a power law (gamma).

    `draws` (B, 2): exposure, gamma; .5 changes nothing, and a change grows with the square of its
    draw's distance from there. At `strength` 1 the factors lie between 1/5.7 and 5.7 (2.5 stops),
    gamma between 1/2 and 2.
    """
    signed = 2 * draws - 1
    power = (signed * signed.abs() * strength)[:, :, None, None, None]  # (B, 2, 1, 1, 1)
    tones = (pixels / 255).pow(MAX_GAMMA ** power[:, 1])
    return (tones * (255 * 2 ** (MAX_STOPS * power[:, 0]))).clamp_(0, 255)


def remove_colour(pixels: Tensor, draws: Tensor) -> Tensor:
    """Replace the colours by one grey each, as different films do; infrared sees mostly red.

    `draws` (B, 3): red, green, blue, relative to each other.
    """
    weights = (draws + 1e-3) / (draws + 1e-3).sum(dim=1, keepdim=True)
    return (pixels * weights[:, :, None, None]).sum(dim=1, keepdim=True).expand_as(pixels)


MAX_NOISE = 30.0  # standard deviation at strength 1
_PLACES = 2**16


def add_noise(pixels: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Add white noise, as of a sensor at high sensitivity.

    `draws` (B, 2): standard deviation over the largest (its square root), place in the noise. At
    `strength` 1 the largest is 30.
    """
    deviation = (MAX_NOISE * strength * draws[:, 0] ** 2)[:, None, None, None]
    noise = noise_like(pixels, draws[:, 1]).sub(127.5).mul(12**0.5 / 255)
    return torch.addcmul(pixels, noise, deviation).clamp_(0, 255)


def noise_like(pixels: Tensor, draws: Tensor) -> Tensor:
    """Return noise 0..255 in the shape of `pixels`; each photo's begins at its draw's place (B,).

    All photos read one array, which avoids a copy a photo.
    """
    count = pixels[0].numel()
    noise = _noise(count, pixels.device).unfold(0, count, 1)
    return noise[(draws * _PLACES).long()].view(pixels.shape)


@lru_cache(maxsize=2)
def _noise(count: int, device: torch.device) -> Tensor:
    """Return values 0..255, float32, `count` of them from each of 65,536 places."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count + _PLACES - 1,), generator=generator).float().to(device)


SMALLEST = 20 / 112  # of the side, at strength 1


def lower_resolution(pixels: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Make each photo smaller and stretch it to its size again.

    `draws` (B, 1): 0 changes nothing; the side falls with the square of the draw. At `strength` 1
    the smallest side is 20 of 112 pixels.
    """
    side = pixels.shape[-1]
    sides = side * (1 - (1 - SMALLEST) * strength * draws[:, 0] ** 2)
    lines = _through_smaller(side, pixels.device)[sides.round().long()][:, None]  # (B, 1, S, S)
    return lines @ pixels @ lines.transpose(2, 3)


@lru_cache(maxsize=2)
def _through_smaller(side: int, device: torch.device) -> Tensor:
    """Return (S + 1, S, S): number s takes a line of S pixels through s pixels and back."""
    lines = [torch.zeros(side, side)]
    lines += [resize_matrix(s, side) @ resize_matrix(side, s) for s in range(1, side + 1)]
    return torch.stack(lines).to(device)


# In the aligned template, of the side.
_EYES, _EYE = 0.46, 0.157  # the height of the eyes, and how far from the middle each one is


def cover(pixels: Tensor, draws: Tensor) -> Tensor:
    """Cover a part of each face by something of one colour, dark more often.

    Half of the covers hide the eyes: a band, or two lenses. The others lie anywhere: ovals and
    rectangles, turned.

    `draws`: (B, 12).
    """
    height, width = pixels.shape[2:]
    kind, right, down, wide, high, round_, turn, clear, red, green, blue, light = draws.T[
        :, :, None, None, None
    ]
    eyes, lenses = kind < 0.5, kind < 0.2
    y = (torch.arange(height, device=pixels.device)[:, None] + 0.5) / height
    x = (torch.arange(width, device=pixels.device) + 0.5) / width
    x = x - torch.where(eyes, 0.5 + 0.1 * (right - 0.5), right)
    y = y - torch.where(eyes, _EYES + 0.12 * (down - 0.5), down)
    angle = math.pi * (turn - 0.5) * torch.where(eyes, 0.15, 1)
    x, y = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    x = torch.where(lenses, x.abs() - _EYE, x)
    half_x = torch.where(
        eyes, torch.where(lenses, 0.08 + 0.1 * wide, 0.25 + 0.25 * wide), 0.06 + 0.24 * wide
    )
    half_y = torch.where(eyes, 0.04 + 0.11 * high, 0.06 + 0.24 * high)
    sharp = torch.where(round_ < 0.5, 2.0, 8.0)  # exponent: ellipse, or nearly a rectangle
    inside = 1 - ((x / half_x).abs() ** sharp + (y / half_y).abs() ** sharp) ** (1 / sharp)
    covered = (inside * torch.minimum(half_x, half_y) * height).clamp(0, 1) * (1 - 0.4 * clear**3)
    tint = torch.cat([red, green, blue], dim=1) - 0.5  # (B, 3, 1, 1)
    colour = 255 * (light**2 + 0.5 * tint).clamp(0, 1)
    return torch.lerp(pixels, colour.expand_as(pixels), covered)


# Of the side, in the aligned template: eyes at .46, tip of the nose at .64, mouth at .82.
EYES_END = 60 / 112
_HIGHEST, _LOWEST = 62 / 112, 84 / 112  # limits of its upper edge
_HANDS = 0.35  # share of the covers


def occlude(pixels: Tensor, draws: Tensor) -> Tensor:
    """Cover each face from below the eyes downwards, by a mask or a hand.

    A mask spans the face: any colour, more often pale, with faint pleats. A hand is narrower, has
    the colour of the photo's own cheeks, and stripes like fingers. The upper edge lies anywhere
    between below the eyes and the mouth, a little tilted and curved.

    `draws`: (B, 12). Rows above `EYES_END` never change.
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
    cheeks = pixels[..., height // 2 : round(0.66 * height), int(0.3 * width) : round(0.7 * width)]
    skin = cheeks.mean((2, 3), keepdim=True)
    colour = torch.where(hand, skin * (0.75 + 0.45 * light), cloth)
    angle = torch.where(hand, 2 * turn - 1, math.pi / 2 + 0.3 * (turn - 0.5))
    stripes = torch.where(hand, 7, 4 + 4 * red) * (x * angle.cos() + y * angle.sin())
    depth = torch.where(hand, 0.2, 0.12 * green)
    shade = 1 - depth * (math.pi * (stripes + phase)).sin().square() - 0.25 * across**2
    return torch.lerp(pixels, (colour * shade).clamp_(0, 255), covered)


AREA = (0.02, 0.4)  # of the photo
ASPECT = (0.3, 1 / 0.3)  # height over width


def erase(pixels: Tensor, draws: Tensor) -> Tensor:
    """Replace a rectangle of each photo by noise (random erasing, Zhong et al. 2020).

    Its area is 2 to 40 % of the photo's, its height 0.3 to 3.3 times its width; sides longer than
    the photo's are cut to these.

    `draws`: (B, 5): area, aspect, place from the top and from the left, noise.
    """
    height, width = pixels.shape[2:]
    area, aspect, top, left = draws.T[:4, :, None]  # (B, 1) each
    area = (AREA[0] + (AREA[1] - AREA[0]) * area) * height * width
    aspect = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** aspect  # evenly on a log scale
    rows = _stretch(height, top, (area * aspect).sqrt())
    columns = _stretch(width, left, (area / aspect).sqrt())
    noise = noise_like(pixels, draws[:, 4])
    return torch.where(rows[:, None, :, None] & columns[:, None, None], noise, pixels)


def _stretch(side: int, start: Tensor, length: Tensor) -> Tensor:
    """Return bool (B, side): `length` places, at `start` (0 to 1) of the possible positions."""
    length = length.round().clamp(1, side)
    first = (start * (side - length + 1)).floor()
    places = torch.arange(side, device=start.device)
    return (places >= first) & (places < first + length)
