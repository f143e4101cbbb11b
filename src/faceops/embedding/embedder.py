"""What every backbone is: a trunk and a head, whose output is L2-normalised."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track


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


def pixels_of(crops: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 (B, 112, 112, 3) RGB -> float32 (B, 3, 112, 112), 0..255, channels last in memory."""
    # A copy: torch warns of read-only arrays, and memory-mapped crops are read-only.
    pixels = torch.from_numpy(np.array(crops)).to(device)
    return pixels.permute(0, 3, 1, 2).float()


def embed_crops(
    model: torch.nn.Module,
    crops: np.ndarray,
    batch: int = 64,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Return the embeddings of `crops`, uint8 (N, 112, 112, 3) RGB, as float32 (N, D).

    The model is put on `device` and into evaluation mode.
    """
    if len(crops) == 0:
        raise ValueError("there are no crops to embed")
    model = model.to(device).eval()
    rows = []
    with torch.inference_mode():
        for start in track(range(0, len(crops), batch), "embedding"):
            rows.append(model(pixels_of(crops[start : start + batch], device)).cpu().numpy())
    return np.concatenate(rows)


def choose_device(name: str) -> torch.device:
    """Return the device `name`; "auto" is a CUDA GPU when there is one, else the CPU.

    Raises:
        FaceOpsError: "cuda" without a GPU; falling back in silence would cost days.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise FaceOpsError(
            "train.device = cuda, but torch finds no CUDA GPU; set it to auto or cpu."
        )
    return torch.device(name)
