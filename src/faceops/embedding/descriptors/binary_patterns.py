"""Histograms of local binary patterns (for faces: Ahonen et al. 2006), with soft decisions."""

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.backbones.input_stage import CROP_SIZE
from faceops.embedding.descriptors.cells import GRID, CellSums, fold

# Around the centre: (down, right).
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
UNIFORM = tuple(
    code
    for code in range(256)
    if sum((code >> bit & 1) != (code >> (bit + 1) % 8 & 1) for bit in range(8)) <= 2
)
PATTERNS = len(UNIFORM) + 1  # 58, and one for all others (Ojala et al. 2002)
_SOFTNESS = 2 / 255  # of brightness: below it a difference is noise
_RINGS = ((2, 1), (1, 2))  # radius of the ring in pixels, by how much the photo is shrunk first


class BinaryPatterns(nn.Module):
    """float32 (B, 1, 112, 112) brightness in [0, 1] -> float32 (B, 11564).

    Which of eight neighbours are brighter than the centre. A neighbour that is as bright as the
    centre counts half (Ahonen and Pietikainen 2007): with hard decisions, rounding would decide in
    flat skin. The chance of a pattern is a product over neighbours, taken as a sum of logarithms.
    """

    features = len(_RINGS) * PATTERNS * GRID * GRID // 2
    patterns: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        bits = torch.tensor([[code >> bit & 1 for bit in range(8)] for code in UNIFORM]).float()
        # Not in the state dict: they follow from the constants.
        self.register_buffer("patterns", torch.cat([bits, 1 - bits], dim=1), persistent=False)
        self.sums = nn.ModuleList(CellSums(CROP_SIZE // shrunk) for _, shrunk in _RINGS)
        self.mirrored = [UNIFORM.index(_mirror(code)) for code in UNIFORM] + [len(UNIFORM)]

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Return the features of `brightness`, ring by ring."""
        parts = []
        for (radius, shrunk), sums in zip(_RINGS, self.sums, strict=True):
            image = F.avg_pool2d(brightness, shrunk) if shrunk > 1 else brightness
            size = image.shape[2]
            padded = F.pad(image, (radius,) * 4, mode="replicate")
            ring = torch.cat(
                [
                    padded[:, :, start : start + size, left : left + size]
                    for start, left in (
                        (radius + down * radius, radius + right * radius) for down, right in _AROUND
                    )
                ],
                dim=1,
            )
            brighter = ((ring - image) / _SOFTNESS).clamp(-20, 20)  # past that it is certain
            # Not logsigmoid: ONNX Runtime's sigmoid has values below 0.
            logs = -F.softplus(-brighter)
            chances = torch.cat([logs, logs - brighter], dim=1)  # that it is, that it is not
            # Below e^-30 nothing is left of a chance but numbers too small to be computed fast.
            uniform = (self.patterns @ chances.flatten(2)).clamp_min(-30).exp()
            others = (1 - uniform.sum(1, keepdim=True)).clamp_min(0)
            maps = torch.cat([uniform, others], dim=1).unflatten(2, (size, size))
            parts.append(fold(sums(maps), self.mirrored))
        return torch.cat(parts, dim=1)


def _mirror(code: int) -> int:
    """Return the pattern that a mirror shows of `code`."""
    places = [_AROUND.index((down, -right)) for down, right in _AROUND]
    return sum((code >> bit & 1) << places[bit] for bit in range(8))
