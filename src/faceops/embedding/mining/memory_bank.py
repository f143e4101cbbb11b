"""The latest embedding of every training face (as in Wu et al. 2018), for global mining."""

import torch


class MemoryBank:
    """float32 (N, D) on one device: a row for each training face, in the order of the split.

    It is 0 until `fill`; a step then renews the rows of the faces that it embedded. Rows of faces
    that no step has seen since are as old as the last `fill`.
    """

    def __init__(self, faces: int, embedding_size: int, device: torch.device | str) -> None:
        self.embeddings = torch.zeros(faces, embedding_size, device=device)

    @torch.no_grad()
    def fill(self, embeddings: torch.Tensor) -> None:
        """Take the `embeddings`, (N, D), L2-normalised, of all faces."""
        self.embeddings.copy_(embeddings)

    @torch.no_grad()
    def update(self, positions: torch.Tensor, embeddings: torch.Tensor) -> None:
        """Take the `embeddings`, (B, D), of the faces at `positions`, int64 (B,).

        No position may come twice: which of its embeddings stayed would be left to the device.
        """
        self.embeddings[positions] = embeddings.to(self.embeddings)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the state for a checkpoint."""
        return {"embeddings": self.embeddings}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take the state that `tensors` returned."""
        self.fill(tensors["embeddings"])
