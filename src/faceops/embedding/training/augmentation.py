"""Augmentation: changes of a crop that keep the person, on the device, in batches.

Each photo has its own draws, all from the seed that the caller gives, by NumPy on the CPU: a step
can be repeated bit for bit, and a GPU makes the same changes as a CPU.

A change takes `pixels`, float32 (B, 3, H, W) RGB, 0..255, and `draws` in [0, 1) of each photo; one
that all photos get also takes a `strength` in 0..1, the largest change.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceops.config.sections import Train
from faceops.embedding.training import degradation


def change_brightness_contrast(pixels: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Change brightness (all values) and contrast (their differences from the photo's mean).

    `draws` (B, 2): brightness, contrast; .5 changes nothing. At `strength` 1 both factors lie
    between 1/2 and 3/2.
    """
    brightness, contrast = (1 + strength * (draws - 0.5)).T[:, :, None, None, None]
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    grey = mean * (1 - contrast) * brightness
    return torch.addcmul(grey, pixels, contrast * brightness).clamp_(0, 255)


MAX_SHIFT = 16 / 112  # of the side, at strength 1
MAX_SCALE = 1.25


def jitter_crop(pixels: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Shift each photo along both axes and scale it about its middle; its border is mirrored.

    `draws` (B, 3): shift to the right, shift down, scale; .5 changes nothing. At `strength` 1
    shifts reach 1/7 of the side (16 of 112 pixels) and scales lie between 1 / 1.25 and 1.25, evenly
    on a log scale.
    """
    signed = (2 * draws - 1) * strength
    shrink = MAX_SCALE ** -signed[:, 2:]  # (B, 1)
    height, width = pixels.shape[2:]
    # Where in the photo each row and column of the result lies; -1 and 1 are the edges.
    y = (_middles(height, pixels.device) - 2 * MAX_SHIFT * signed[:, 1:2]) * shrink  # (B, H)
    x = (_middles(width, pixels.device) - 2 * MAX_SHIFT * signed[:, :1]) * shrink  # (B, W)
    grid = torch.stack(torch.broadcast_tensors(x[:, None], y[:, :, None]), dim=3)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _middles(side: int, device: torch.device) -> Tensor:
    return (2 * torch.arange(side, device=device) + 1) / side - 1


MAX_SIGMA = 3 / 112  # of the side, at strength 1


def blur(pixels: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Blur each photo by a Gaussian with its own sigma: `draws` (B, 1) over the largest.

    At `strength` 1 the largest sigma is 3/112 of the side (3 of 112 pixels).
    """
    count, channels, height, width = pixels.shape
    largest = MAX_SIGMA * strength * width
    reach = min(math.ceil(3 * largest), height - 1, width - 1)
    offsets = torch.arange(-reach, reach + 1, device=pixels.device)
    sigma = (draws * largest).clamp_min(1e-2)  # at 1e-2 the kernel is one pixel
    kernel = torch.softmax(-(offsets**2) / (2 * sigma**2), dim=1)  # (B, taps)
    kernel = kernel.repeat_interleave(channels, dim=0)[:, None, None]  # (3 B, 1, 1, taps)
    padded = F.pad(pixels, [reach] * 4, mode="reflect")
    # A group a channel of a photo: each convolves with its own kernel, along x and along y.
    lines = padded.reshape(1, count * channels, height + 2 * reach, width + 2 * reach)
    lines = F.conv2d(lines, kernel, groups=count * channels)
    lines = F.conv2d(lines, kernel.transpose(2, 3), groups=count * channels)
    return lines.view(pixels.shape)


WORST_QUALITY = 20  # at strength 1
# T.81 annex K: quantisation of brightness and of colour at quality 50.
_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)


def add_jpeg_artefacts(pixels: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Add the artefacts of JPEG at a quality of 100 (draw 0) to 100 - 80 x strength."""
    return jpeg(pixels, 100 - (100 - WORST_QUALITY) * strength * draws[:, 0])


def jpeg(pixels: Tensor, quality: Tensor) -> Tensor:
    """Return `pixels` as JPEG (ITU-T T.81, 4:2:0) of `quality` (B,), 1..100, restores them.

    Only what loses information is computed: the quantised cosines, not the file.
    """
    height, width = pixels.shape[2:]
    # Whole blocks: 16 x 16 pixels give 8 x 8 of chroma.
    red, green, blue = F.pad(pixels, [0, -width % 16, 0, -height % 16], mode="replicate").unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue  # (B, H, W)
    chroma = torch.cat([(blue - luma) / 1.772, (red - luma) / 1.402])  # (2 B, H, W)

    quality = quality.clamp(1, 100).round()
    factor = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    waves = _cosines(pixels.device)
    halving = waves.repeat_interleave(2, dim=1) / 2  # (8, 16): the mean of two pixels, in cosines
    luma = _rounded(luma - 128, waves, _LUMA, factor) + 128
    chroma = _rounded(chroma, halving, _CHROMA, factor.repeat(2))  # (2 B, H / 2, W / 2)
    chroma = F.interpolate(chroma[:, None], scale_factor=2, mode="bilinear", align_corners=False)
    cb, cr = chroma.view(2, *luma.shape)

    green = luma - 0.344136 * cb - 0.714136 * cr
    restored = torch.stack([luma + 1.402 * cr, green, luma + 1.772 * cb], dim=1)
    return restored[:, :, :height, :width].round().clamp_(0, 255)


def _rounded(plane: Tensor, waves: Tensor, table: tuple[int, ...], factor: Tensor) -> Tensor:
    """Return `plane` (N, H, W) from its quantised coefficients, 8 x 8 a block.

    `waves` (8, 8) or (8, 16) turn a row of a block into its coefficients; `factor` (N,) of `table`.
    """
    count, height, width = plane.shape
    side = waves.shape[1]
    rows, columns = height // side, width // side
    steps = (_steps(table, plane.device) * factor[:, None, None] + 0.5).floor().clamp(1, 255)
    steps = steps[:, None, :, None]  # (N, 1, 8, 1, 8)
    vertical = waves @ plane.reshape(count, rows, side, width)  # (N, rows, 8, W)
    both = vertical.view(count, rows, 8, columns, side) @ waves.T  # (N, rows, 8, columns, 8)
    both.div_(steps).round_().mul_(steps)
    back = _cosines(plane.device)
    restored: Tensor = back.T @ (both @ back).view(count, rows, 8, columns * 8)
    return restored.view(count, rows * 8, columns * 8)


# Kept on the device: sending them each time would make a GPU's queue run empty.
@lru_cache
def _steps(table: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(table, dtype=torch.float32).view(8, 8).to(device)


@lru_cache
def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal DCT-II of 8 values, (8, 8): a row a frequency."""
    place = torch.arange(8, dtype=torch.float64)
    waves = torch.cos(math.pi / 8 * (place + 0.5) * place[:, None]) / 2
    waves[0] /= math.sqrt(2)
    return waves.float().to(device)


def mirror(pixels: Tensor, draws: Tensor) -> Tensor:
    """Mirror each photo; `draws` (B, 0) is not used."""
    return pixels.flip(3)


# By their names in params.yaml, section train, which holds a strength or a share of each. In this
# order: occlusion, crop, light, lens, file; random erasing last. Each has its own random draws, so
# that adding one leaves the others unchanged.
_CHANGES: dict[str, tuple[Callable[..., Tensor], int]] = {
    "occlude": (degradation.occlude, 13),
    "cover": (degradation.cover, 13),
    "flip": (mirror, 1),
    "jitter": (jitter_crop, 3),
    "brightness": (change_brightness_contrast, 2),
    "exposure": (degradation.change_exposure, 2),
    "grey": (degradation.remove_colour, 4),
    "blur": (blur, 1),
    "noise": (degradation.add_noise, 2),
    "resolution": (degradation.lower_resolution, 1),
    "jpeg": (add_jpeg_artefacts, 1),
    "erase": (degradation.erase, 6),
}
_SHARES = ("occlude", "cover", "flip", "grey", "erase")  # their first draw chooses the photos
_DRAWS = [*(draws for _, draws in _CHANGES.values()), 1]  # the last one: whether it stays unaltered
_PIECE = 16  # photos


def augment(pixels: Tensor, settings: Train, seed: int, first: int = 0) -> Tensor:
    """Return changed copies of `pixels`, float32 (B, 3, H, W) RGB, 0..255, on their device.

    Photo i depends on its own pixels, the settings, the `seed` (at least 0) and on `first` + i
    alone, its place in a batch that several processes share. Each photo's own change is drawn
    between none and the strength. With all of them 0 the tensor itself is returned.
    """
    if not any(getattr(settings, name) for name in _CHANGES) or len(pixels) == 0:
        return pixels
    source = np.random.PCG64(seed)
    source.advance(first * sum(_DRAWS))
    uniform = np.random.Generator(source).random((len(pixels), sum(_DRAWS)))
    # Cut to what float32 holds: rounding could give 1.
    draws = torch.from_numpy((uniform * 2**24).astype(np.int32)) / 2**24
    # On a CPU in pieces that stay in its cache, which is a third faster.
    size = _PIECE if pixels.device.type == "cpu" else len(pixels)
    # Under autocast, cosines and kernels would be computed in bfloat16.
    with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
        pieces = zip(pixels.split(size), draws.split(size), strict=True)
        return torch.cat([_change(part, settings, drawn) for part, drawn in pieces])


def _change(pixels: Tensor, settings: Train, draws: Tensor) -> Tensor:
    """Apply all changes; `draws` (B, D) is on the CPU, which avoids waiting for a GPU."""
    pixels = pixels.contiguous()  # all of it is slower with channels last
    device = pixels.device
    given = pixels
    for name, drawn in zip(_CHANGES, draws.split(_DRAWS, dim=1), strict=False):
        change, value = _CHANGES[name][0], getattr(settings, name)
        if name in _SHARES:
            chosen = torch.nonzero(drawn[:, 0] < (value / 2 if name == "flip" else value)).flatten()
            if len(chosen):
                at = chosen.to(device, non_blocking=True)
                own = drawn[chosen, 1:].to(device, non_blocking=True)
                pixels = pixels.index_copy(0, at, change(pixels[at], own))
        elif value > 0:
            pixels = change(pixels, drawn.to(device, non_blocking=True), value)
    unaltered = (draws[:, -1] < settings.unaltered).to(device, non_blocking=True)
    pixels = torch.where(unaltered[:, None, None, None], given, pixels)
    return pixels.clamp(0, 255)  # interpolation may round to a little beyond
