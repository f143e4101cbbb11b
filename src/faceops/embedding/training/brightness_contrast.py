"""Brightness and contrast, as other light and other cameras give them."""

import torch


def change_brightness_contrast(
    pixels: torch.Tensor, draws: torch.Tensor, strength: float
) -> torch.Tensor:
    """Return `pixels` (B, 3, H, W), 0..255, each photo brighter or darker, harsher or flatter.

    Args:
        draws: (B, 2) in [0, 1): brightness, contrast; .5 changes nothing.
        strength: 0..1; at 1 both factors lie between 1/2 and 3/2. Brightness multiplies all
            values, contrast their differences from the photo's mean.
    """
    brightness, contrast = (1 + strength * (draws - 0.5)).T[:, :, None, None, None]
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return torch.addcmul(mean * (1 - contrast) * brightness, pixels, contrast * brightness).clamp_(
        0, 255
    )
