"""The parts of an embedding, where it has several: each is an embedding of its own."""

import torch
import torch.nn.functional as F


def parts_of(embeddings: torch.Tensor, parts: int) -> list[torch.Tensor]:
    """Return `parts` tensors (B, D / parts), of length 1, that `embeddings` (B, D) consist of.

    The one part of an embedding is itself, whatever its length.
    """
    if parts == 1:
        return [embeddings]
    return [F.normalize(part, dim=1) for part in embeddings.chunk(parts, dim=1)]
