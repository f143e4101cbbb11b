"""Random triplets: the yardstick for every miner that chooses."""

import torch

from faceops.embedding.mining.positive_pairs import positive_pairs
from faceops.embedding.mining.triplet_loss import Triplets


def mine_random(
    distances: torch.Tensor,
    labels: torch.Tensor,
    margin: float,
    generator: torch.Generator | None = None,
) -> Triplets:
    """Return one triplet for every anchor that has a positive and a negative.

    Its positive is drawn uniformly from the person's other rows, and its negative, independently,
    from all rows of other people. Triplets that cost nothing are not left out.

    Args:
        distances: (B, B); only says where the triplets are wanted.
        labels: int64 (B,), a person each; a label that occurs once serves as negative only.
        margin: not used.
        generator: draws on its own device, so one on the CPU gives the same triplets for a batch
            on any; None is torch's global one of the CPU.
    """
    drawn_on = torch.device("cpu") if generator is None else generator.device
    same, positive = positive_pairs(labels.to(drawn_on))
    anchors = torch.nonzero(positive.any(dim=1) & (~same).any(dim=1)).flatten()
    positives = _draw(positive[anchors], generator)
    negatives = _draw(~same[anchors], generator)
    device = distances.device
    return anchors.to(device), positives.to(device), negatives.to(device)


def _draw(allowed: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Return a column, int64 (A,), of the true ones of each row of `allowed`, bool (A, B)."""
    if len(allowed) == 0:
        return torch.zeros(0, dtype=torch.int64, device=allowed.device)
    return torch.multinomial(allowed.float(), 1, generator=generator).flatten()
