"""Energy of Gabor wavelets (for faces: Wiskott et al. 1997; Liu and Wechsler 2002)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.backbones.input_stage import CROP_SIZE
from faceops.embedding.descriptors.cells import GRID, CellSums, even_contrast, fold

ORIENTATIONS = 8
WAVELENGTHS = (4.0, 5.7, 8.0, 11.3)  # pixels, half an octave apart
_WIDTH = 0.56  # standard deviation of the envelope in wavelengths: a bandwidth of one octave
_STRIDE = 2
_FLAT = 1e-5  # what rounding leaves of flat colour; a ripple of half a grey level has 70 times that


class GaborEnergy(nn.Module):
    """float32 (B, 1, 112, 112) brightness in [0, 1] -> float32 (B, 3136).

    How strongly the square root of brightness ripples, whatever the phase, at four wavelengths in
    eight orientations.
    """

    features = len(WAVELENGTHS) * ORIENTATIONS * GRID * GRID // 2

    def __init__(self) -> None:
        super().__init__()
        for number, wavelength in enumerate(WAVELENGTHS):
            # Not in the state dict: they follow from the constants.
            self.register_buffer(f"wavelets_{number}", _wavelets(wavelength), persistent=False)
        self.sums = CellSums(CROP_SIZE // _STRIDE)
        # Mirrored, a ripple across angle a lies across pi - a, and it has no sign.
        self.mirrored = [-number % ORIENTATIONS for number in range(ORIENTATIONS)]

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Return the features of `brightness`, wavelength by wavelength."""
        image = brightness.sqrt()
        parts = []
        for number in range(len(WAVELENGTHS)):
            wavelets = self.get_buffer(f"wavelets_{number}")
            reach = wavelets.shape[2] // 2
            # Windows of an even side: a step less than half of it, and they lie symmetrically.
            edges = (reach - _STRIDE // 2,) * 4
            waves = F.conv2d(F.pad(image, edges, mode="reflect"), wavelets, stride=_STRIDE)
            cosine, sine = waves.square().chunk(2, dim=1)
            energy = ((cosine + sine).sqrt() - _FLAT).clamp_min(0)
            parts.append(fold(even_contrast(self.sums(energy)), self.mirrored))
        return torch.cat(parts, dim=1)


def _wavelets(wavelength: float) -> torch.Tensor:
    """float32 (16, 1, K, K): even, then odd wavelets, pairs of norm 1, the even ones of sum 0."""
    reach = math.ceil(1.5 * wavelength)
    # An even number of pixels: with a stride of 2 the centres lie between pixels, symmetrically.
    along = torch.arange(-reach, reach) + 0.5
    envelope = torch.exp(-along.square() / (2 * (_WIDTH * wavelength) ** 2))
    envelope = envelope[:, None] * envelope
    even, odd = [], []
    for number in range(ORIENTATIONS):
        angle = math.pi * number / ORIENTATIONS
        phase = (along * math.cos(angle) + along[:, None] * math.sin(angle)) * (
            2 * math.pi / wavelength
        )
        cosine, sine = envelope * phase.cos(), envelope * phase.sin()
        cosine = cosine - envelope * (cosine.sum() / envelope.sum())
        norm = (cosine.square() + sine.square()).sum().sqrt()
        even.append(cosine / norm)
        odd.append(sine / norm)
    return torch.stack(even + odd)[:, None]
