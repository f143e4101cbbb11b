"""Which of eight neighbours exceed a pixel, counted cell by cell, with soft decisions."""

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.descriptors.cells import CellSums

# Around the centre: (down, right).
_OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
UNIFORM = tuple(
    code
    for code in range(256)
    if sum((code >> bit & 1) != (code >> (bit + 1) % 8 & 1) for bit in range(8)) <= 2
)
PATTERNS = len(UNIFORM) + 1  # 58, and one for all others (Ojala et al. 2002)


class PatternHistograms(nn.Module):
    """float32 (B, 1, S, S) -> float32 (B, 59, 14, 14): shares of local binary patterns.

    A neighbour that equals the centre counts half (Ahonen and Pietikainen 2007): with hard
    decisions, rounding would decide in flat skin. The chance of a pattern is a product over
    neighbours, taken as a sum of logarithms.

    Args:
        size: S, 14 x an even step.
        radius: of the ring of neighbours, a square, in pixels.
        softness: a difference by which it is 73 % certain that the neighbour exceeds.
    """

    patterns: torch.Tensor

    def __init__(self, size: int, radius: int, softness: float) -> None:
        super().__init__()
        self.radius, self.softness = radius, softness
        bits = torch.tensor([[code >> bit & 1 for bit in range(8)] for code in UNIFORM]).float()
        # Not in the state dict: they follow from the constants.
        self.register_buffer("patterns", torch.cat([bits, 1 - bits], dim=1), persistent=False)
        self.sums = CellSums(size)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the shares in `image`, of sum 1 in each cell."""
        size, radius = image.shape[2], self.radius
        padded = F.pad(image, (radius,) * 4, mode="replicate")
        starts = [(radius + down * radius, radius + right * radius) for down, right in _OFFSETS]
        ring = torch.cat(
            [padded[:, :, top : top + size, left : left + size] for top, left in starts], dim=1
        )
        exceeds = ((ring - image) / self.softness).clamp(-20, 20)  # past that it is certain
        # Not logsigmoid: ONNX Runtime's sigmoid has values below 0.
        logs = -F.softplus(-exceeds)
        chances = torch.cat([logs, logs - exceeds], dim=1)  # that it does, that it does not
        # Below e^-30 nothing is left of a chance but numbers too small to be computed fast.
        uniform = (self.patterns @ chances.flatten(2)).clamp_min(-30).exp()
        others = (1 - uniform.sum(1, keepdim=True)).clamp_min(0)
        return self.sums(torch.cat([uniform, others], dim=1).unflatten(2, (size, size)))


def _mirror(code: int) -> int:
    """Return the pattern that a mirror shows of `code`."""
    places = [_OFFSETS.index((down, -right)) for down, right in _OFFSETS]
    return sum((code >> bit & 1) << places[bit] for bit in range(8))


MIRRORED = [UNIFORM.index(_mirror(code)) for code in UNIFORM] + [len(UNIFORM)]
