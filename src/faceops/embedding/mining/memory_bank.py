"""The latest embedding of every training face (as in Wu et al. 2018), for global mining."""

import numpy as np
import torch


class MemoryBank:
    """float32 (N, D) on one device: a row for each training face, in the order of the split.

    A step renews the rows of the faces that it embedded; the others grow stale with the epoch.
    """

    def __init__(self, faces: int, embedding_size: int, device: torch.device | str) -> None:
        self.embeddings = torch.zeros(faces, embedding_size, device=device)
        self._fresh = torch.zeros(faces, dtype=torch.bool, device=device)

    def stale(self) -> np.ndarray:
        """Return the positions, int64, of the rows that were not renewed since `begin_epoch`."""
        return torch.nonzero(~self._fresh).flatten().cpu().numpy()

    def begin_epoch(self) -> None:
        """Let all rows count as not renewed."""
        self._fresh.fill_(False)

    @torch.no_grad()
    def update(self, positions: torch.Tensor, embeddings: torch.Tensor) -> None:
        """Take the `embeddings`, (B, D), L2-normalised, of the faces at `positions`, int64 (B,).

        No position may come twice: which of its embeddings stayed would be left to the device.
        """
        positions = positions.to(self.embeddings.device)
        self.embeddings[positions] = embeddings.to(self.embeddings)
        self._fresh[positions] = True

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the state for a checkpoint."""
        return {"embeddings": self.embeddings, "fresh": self._fresh}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take the state that `tensors` returned."""
        self.embeddings.copy_(tensors["embeddings"])
        self._fresh.copy_(tensors["fresh"])
