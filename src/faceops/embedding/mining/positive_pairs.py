"""Pairs of two photos of one person within a batch."""

import torch


def positive_pairs(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the `labels`, int64 (B,), say about pairs.

    Returns:
        same: bool (B, B), whether two rows are of one person; the diagonal is.
        positive: bool (B, B), the same without the diagonal: a photo isn't its own positive.
    """
    same = labels[:, None] == labels[None, :]
    return same, same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
