"""Gaussian blur, as of a face out of focus or enlarged from few pixels."""

import math

import torch
import torch.nn.functional as F

MAX_SIGMA = 3 / 112  # of the side, at strength 1


def blur(pixels: torch.Tensor, draws: torch.Tensor, strength: float) -> torch.Tensor:
    """Return `pixels` (B, 3, H, W), each photo blurred by its own sigma.

    Args:
        draws: (B, 1) in [0, 1): sigma over the largest.
        strength: 0..1; at 1 the largest sigma is 3/112 of the side (3 of 112 pixels).
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
