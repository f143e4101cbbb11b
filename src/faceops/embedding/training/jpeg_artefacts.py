"""The artefacts of JPEG (ITU-T T.81), without the file: what a coder rounds away, is gone.

torchvision and Pillow write real files, photo by photo on the CPU; here the batch stays on its
device. Chroma is halved (4:2:0) as nearly all cameras and messengers do.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F

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


def add_jpeg_artefacts(pixels: torch.Tensor, draws: torch.Tensor, strength: float) -> torch.Tensor:
    """Return `pixels` (B, 3, H, W), 0..255, each as JPEG of its own quality leaves it.

    Args:
        draws: (B, 1) in [0, 1).
        strength: 0..1; qualities lie between 100 (draw 0) and 100 - 80 x strength.
    """
    return jpeg(pixels, 100 - (100 - WORST_QUALITY) * strength * draws[:, 0])


def jpeg(pixels: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Return `pixels` (B, 3, H, W), 0..255, compressed at `quality` (B,), 1..100, and restored."""
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
    cb, cr = F.interpolate(
        chroma[:, None], scale_factor=2, mode="bilinear", align_corners=False
    ).view(2, *luma.shape)

    green = luma - 0.344136 * cb - 0.714136 * cr
    restored = torch.stack([luma + 1.402 * cr, green, luma + 1.772 * cb], dim=1)
    return restored[:, :, :height, :width].round().clamp_(0, 255)


def _rounded(
    plane: torch.Tensor, waves: torch.Tensor, table: tuple[int, ...], factor: torch.Tensor
) -> torch.Tensor:
    """Return `plane` (N, H, W) from its quantised coefficients, 8 x 8 a block.

    Args:
        waves: (8, 8) or (8, 16), what turns a row of a block into its coefficients.
        factor: (N,), of the `table`.
    """
    count, height, width = plane.shape
    side = waves.shape[1]
    rows, columns = height // side, width // side
    steps = (
        (_steps(table, plane.device) * factor[:, None, None] + 0.5)
        .floor()
        .clamp(1, 255)[:, None, :, None]
    )
    vertical = waves @ plane.reshape(count, rows, side, width)  # (N, rows, 8, W)
    both = vertical.view(count, rows, 8, columns, side) @ waves.T  # (N, rows, 8, columns, 8)
    both.div_(steps).round_().mul_(steps)
    back = _cosines(plane.device)
    restored: torch.Tensor = back.T @ (both @ back).view(count, rows, 8, columns * 8)
    return restored.view(count, rows * 8, columns * 8)


# Kept on the device: sending them each time would make a GPU's queue run empty.
@lru_cache
def _steps(table: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(table, dtype=torch.float32).view(8, 8).to(device)


@lru_cache
def _cosines(device: torch.device) -> torch.Tensor:
    """Return the orthonormal DCT-II of 8 values, (8, 8): a row a frequency."""
    place = torch.arange(8, dtype=torch.float64)
    waves = torch.cos(math.pi / 8 * (place + 0.5) * place[:, None]) / 2
    waves[0] /= math.sqrt(2)
    return waves.float().to(device)
