"""Triplet miners: which triplets of a batch the loss takes, by their names in params.yaml.

The losses of triplets, and of all pairs of a batch, stand beside them.

A miner is a function in MINERS of

    distances: float32 (B, B), squared L2.
    labels: int64 (B,), a person each; a label that occurs once serves as negative only.
    margin: of the triplet loss, in squared distance.
    generator: of all randomness, on any device; None is torch's global one.

that returns three int64 (T,) of rows of the batch: anchors, positives, negatives.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

Triplets = tuple[Tensor, Tensor, Tensor]  # anchors, positives, negatives


def squared_distances(embeddings: Tensor) -> Tensor:
    """Return float32 (B, B), in [0, 4], for L2-normalised `embeddings` (B, D).

    Squared, not rooted: the root's gradient at distance zero is infinite.
    """
    return (2 - 2 * embeddings @ embeddings.T).clamp_min(0)


def triplet_loss(distances: Tensor, triplets: Triplets, margin: float) -> Tensor:
    """Return the mean of max(0, d(a, p) - d(a, n) + margin) over `triplets`, on any device.

    With no triplets the loss is 0, and its gradient too.
    """
    anchors, positives, negatives = (rows.to(distances.device) for rows in triplets)
    if len(anchors) == 0:
        return distances.sum() * 0
    return torch.relu(distances[anchors, positives] - distances[anchors, negatives] + margin).mean()


def positive_pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pairs of the `labels`, int64 (B,), are of one person, two bool (B, B).

    Returns:
        same: whether two rows are of one person; the diagonal is.
        positive: the same without the diagonal: a photo is not its own positive.
    """
    same = labels[:, None] == labels[None, :]
    return same, same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)


def contrastive_loss(embeddings: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al. 2020, L_out) of a batch.

    For each face that has a positive: the mean over its positives of the negative log of their
    share in the softmax of its cosines to all other faces, divided by `temperature`. Then the mean
    over these faces; with none of them the loss is 0, and its gradient too.

    Args:
        embeddings: float32 (B, D), L2-normalised.
        labels: int64 (B,), on the same device; a label that occurs once serves as negative only.
    """
    _, positive = positive_pairs(labels)
    anchors = torch.nonzero(positive.any(dim=1)).flatten()
    if len(anchors) == 0:
        return embeddings.sum() * 0
    logits = embeddings @ embeddings.T / temperature  # (B, B)
    logits = logits.fill_diagonal_(-torch.inf)  # a face is not compared with itself
    shares = torch.log_softmax(logits[anchors], dim=1).masked_fill(~positive[anchors], 0)
    return -(shares.sum(dim=1) / positive[anchors].sum(dim=1)).mean()


def mine_batch_all(
    distances: Tensor, labels: Tensor, margin: float, generator: Generator | None = None
) -> Triplets:
    """Return every triplet (a, p, n) whose loss d(a, p) - d(a, n) + margin is above 0.

    The mean loss over them is the paper's "batch all" over the terms that are not zero: late in
    training nearly all are, and a mean over all triplets would fade with them. 24 people x 8
    photos have 247,296 triplets: 6 MB.
    """
    same, positive = positive_pairs(labels)
    anchors, positives = torch.nonzero(positive, as_tuple=True)  # (pairs,)
    loss = distances[anchors, positives][:, None] - distances[anchors] + margin  # (pairs, B)
    pairs, negatives = torch.nonzero(~same[anchors] & (loss > 0), as_tuple=True)  # (T,)
    return anchors[pairs], positives[pairs], negatives


def mine_semi_hard(
    distances: Tensor, labels: Tensor, margin: float, generator: Generator | None = None
) -> Triplets:
    """Return every triplet (a, p, n) with d(a, p) < d(a, n) < d(a, p) + margin (FaceNet)."""
    same, positive = positive_pairs(labels)
    anchors, positives = torch.nonzero(positive, as_tuple=True)
    near, others = distances[anchors, positives][:, None], distances[anchors]  # (pairs, 1 and B)
    chosen = ~same[anchors] & (others > near) & (others < near + margin)
    pairs, negatives = torch.nonzero(chosen, as_tuple=True)
    return anchors[pairs], positives[pairs], negatives


def mine_batch_hard(
    distances: Tensor, labels: Tensor, margin: float, generator: Generator | None = None
) -> Triplets:
    """Return the hardest triplet of every anchor that has a positive and a negative.

    Of equally hard ones the first in the batch, even where it costs nothing (Hermans et al. 2017).
    """
    same, positive = positive_pairs(labels)
    anchors = torch.nonzero(positive.any(dim=1) & (~same).any(dim=1)).flatten()
    farthest = distances.masked_fill(~positive, -torch.inf)
    nearest = distances.masked_fill(same, torch.inf)
    return anchors, _first_largest(farthest[anchors]), _first_largest(-nearest[anchors])


def _first_largest(values: Tensor) -> Tensor:
    """Return the column of the first largest value of each row; torch's argmax may take any."""
    if len(values) == 0:
        return torch.zeros(0, dtype=torch.int64, device=values.device)
    largest = values == values.max(dim=1, keepdim=True).values
    columns = torch.arange(values.shape[1], device=values.device)
    return torch.where(largest, columns, values.shape[1]).min(dim=1).values


def mine_random(
    distances: Tensor, labels: Tensor, margin: float, generator: Generator | None = None
) -> Triplets:
    """Return one triplet for every anchor that has a positive and a negative, drawn uniformly.

    A generator on the CPU gives the same triplets for a batch on any device.
    """
    device = torch.device("cpu") if generator is None else generator.device
    same, positive = positive_pairs(labels.to(device))
    anchors = torch.nonzero(positive.any(dim=1) & (~same).any(dim=1)).flatten()
    return anchors, _draw(positive[anchors], generator), _draw(~same[anchors], generator)


def _draw(allowed: Tensor, generator: Generator | None) -> Tensor:
    """Return a column, int64 (A,), of the true ones of each row of `allowed`, bool (A, B)."""
    if len(allowed) == 0:
        return torch.zeros(0, dtype=torch.int64, device=allowed.device)
    return torch.multinomial(allowed.float(), 1, generator=generator).flatten()


Miner = Callable[[Tensor, Tensor, float, Generator | None], Triplets]

MINERS: dict[str, Miner] = {
    "random": mine_random,
    "semi_hard": mine_semi_hard,
    "batch_hard": mine_batch_hard,
    "batch_all": mine_batch_all,
}
