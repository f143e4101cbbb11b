"""What every backbone is: a trunk and a head, whose output is L2-normalised."""

import torch
import torch.nn.functional as F
from torch import nn


class Scale(nn.Module):
    """Pixels 0..255 to about -1..1, inside the network: nobody can forget or repeat it."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return `pixels` (float32, 0..255) as float32 in [-1, 1)."""
        return (pixels - 127.5) / 128


class Embedder(nn.Module):
    """float32 (B, 3, 112, 112) RGB 0..255 -> float32 (B, D), each row of length 1.

    `trunk` is what fine-tuning may freeze; `head` is what it always trains. Both together see
    the pixels; the head alone sees the trunk's features, which can be computed once and kept.
    """

    def __init__(self, backbone: str, embedding_size: int, trunk: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.embedding_size = embedding_size
        self.trunk = trunk
        self.head = head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed `pixels` (B, 3, 112, 112)."""
        return self.embed_features(self.trunk(pixels))

    def embed_features(self, features: torch.Tensor) -> torch.Tensor:
        """Embed what the trunk made of the pixels."""
        # Full precision from here, also under autocast: distances and miners need it.
        return F.normalize(self.head(features).float(), dim=1)
