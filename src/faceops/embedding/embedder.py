"""What every backbone is: a trunk and a head, whose output is L2-normalised."""

import torch
import torch.nn.functional as F
from torch import nn


class Embedder(nn.Module):
    """float32 (B, 3, 112, 112) RGB 0..255 -> float32 (B, D), each row of length 1.

    `trunk` is what fine-tuning may freeze; `head` is what it always trains. Both together see
    the pixels; the head alone sees the trunk's features, which can be computed once and kept.
    `backbone`, `embedding_size`, `input_size` and `colour` are what build_backbone needs to build
    the same network again.
    """

    def __init__(
        self,
        backbone: str,
        embedding_size: int,
        trunk: nn.Module,
        head: nn.Module,
        input_size: int = 112,
        colour: str = "rgb",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding_size = embedding_size
        self.input_size = input_size
        self.colour = colour
        self.trunk = trunk
        self.head = head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed `pixels` (B, 3, 112, 112)."""
        return self.embed_features(self.trunk(pixels))

    def embed_features(self, features: torch.Tensor) -> torch.Tensor:
        """Embed what the trunk made of the pixels."""
        # Full precision from here, also under autocast: distances and miners need it.
        return F.normalize(self.head(features).float(), dim=1)
