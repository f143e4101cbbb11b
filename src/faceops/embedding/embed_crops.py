"""Embed many crops with a torch model, batch by batch."""

import numpy as np
import torch

from faceops.base.progress import track


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
