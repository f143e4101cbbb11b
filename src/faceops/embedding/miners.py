"""The miners that choose triplets within a batch, by their names in params.yaml."""

from collections.abc import Callable

import torch

Triplets = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # anchors, positives, negatives


def triplet_loss(distances: torch.Tensor, triplets: Triplets, margin: float) -> torch.Tensor:
    """Return the mean of max(0, d(a, p) - d(a, n) + margin) over `triplets`.

    Args:
        distances: float32 (B, B), squared L2 distances within the batch.
        triplets: three int64 (T,) of rows of the batch; with none the loss is 0, and its
            gradient too.
        margin: in squared distance, 0..4.
    """
    anchors, positives, negatives = triplets
    if len(anchors) == 0:
        return distances.sum() * 0
    return torch.relu(distances[anchors, positives] - distances[anchors, negatives] + margin).mean()


def active_triplets(distances: torch.Tensor, triplets: Triplets, margin: float) -> Triplets:
    """Return those of `triplets` whose loss d(a, p) - d(a, n) + margin is above 0.

    The mean of `triplet_loss` over them is the mean over the terms that are not zero: late in
    training nearly all triplets are satisfied, and the mean over all would fade with them.

    Args:
        distances: float32 (B, B), squared L2.
        triplets: three int64 (T,) of rows of the batch.
        margin: in squared distance.
    """
    anchors, positives, negatives = triplets
    loss = distances[anchors, positives] - distances[anchors, negatives] + margin
    chosen = loss > 0
    return anchors[chosen], positives[chosen], negatives[chosen]


def positive_pairs(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the `labels`, int64 (B,), say about pairs.

    Returns:
        same: bool (B, B), whether two rows are of one person; the diagonal is.
        positive: bool (B, B), the same without the diagonal: a photo isn't its own positive.
    """
    same = labels[:, None] == labels[None, :]
    return same, same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)


def mine_batch_all(
    distances: torch.Tensor,
    labels: torch.Tensor,
    margin: float,
    generator: torch.Generator | None = None,
) -> Triplets:
    """Return every triplet (a, p, n) with d(a, p) - d(a, n) + margin > 0.

    The mean of `triplet_loss` over them is the paper's "batch all" over the terms that are not
    zero. 24 people x 8 photos have 247,296 triplets: 6 MB.

    Args:
        distances: float32 (B, B), squared L2.
        labels: int64 (B,), a person each; a label that occurs once serves as negative only.
        margin: in squared distance.
        generator: not used; nothing is drawn.
    """
    same, positive = positive_pairs(labels)
    anchors, positives = torch.nonzero(positive, as_tuple=True)  # (pairs,)
    pairs, negatives = torch.nonzero(~same[anchors], as_tuple=True)  # (T,)
    return active_triplets(distances, (anchors[pairs], positives[pairs], negatives), margin)


def mine_batch_hard(
    distances: torch.Tensor,
    labels: torch.Tensor,
    margin: float,
    generator: torch.Generator | None = None,
) -> Triplets:
    """Return one triplet for every anchor that has a positive and a negative.

    Args:
        distances: float32 (B, B), squared L2; of equal ones the first in the batch is taken.
        labels: int64 (B,), a person each; a label that occurs once serves as negative only.
        margin: not used; the hardest triplet of an anchor is taken even if it costs nothing.
        generator: not used; nothing is drawn.
    """
    same, positive = positive_pairs(labels)
    anchors = torch.nonzero(positive.any(dim=1) & (~same).any(dim=1)).flatten()
    farthest = distances.masked_fill(~positive, -torch.inf)
    nearest = distances.masked_fill(same, torch.inf)
    return anchors, _first_largest(farthest[anchors]), _first_largest(-nearest[anchors])


def _first_largest(values: torch.Tensor) -> torch.Tensor:
    """Return the column of the first largest value of each row; torch's argmax may take any."""
    if len(values) == 0:
        return torch.zeros(0, dtype=torch.int64, device=values.device)
    largest = values == values.max(dim=1, keepdim=True).values
    columns = torch.arange(values.shape[1], device=values.device)
    return torch.where(largest, columns, values.shape[1]).min(dim=1).values


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


def mine_semi_hard(
    distances: torch.Tensor,
    labels: torch.Tensor,
    margin: float,
    generator: torch.Generator | None = None,
) -> Triplets:
    """Return every triplet (a, p, n) with d(a, p) < d(a, n) < d(a, p) + margin.

    Args:
        distances: float32 (B, B), squared L2.
        labels: int64 (B,), a person each; a label that occurs once serves as negative only.
        margin: in squared distance.
        generator: not used; nothing is drawn.
    """
    same, positive = positive_pairs(labels)
    anchors, positives = torch.nonzero(positive, as_tuple=True)  # (pairs,)
    near = distances[anchors, positives][:, None]  # (pairs, 1)
    others = distances[anchors]  # (pairs, B)
    chosen = ~same[anchors] & (others > near) & (others < near + margin)
    pairs, negatives = torch.nonzero(chosen, as_tuple=True)
    return anchors[pairs], positives[pairs], negatives


# (distances (B, B), labels (B,), margin, generator) -> triplets of rows of the batch
Miner = Callable[[torch.Tensor, torch.Tensor, float, torch.Generator | None], Triplets]

MINERS: dict[str, Miner] = {
    "random": mine_random,
    "semi_hard": mine_semi_hard,
    "batch_hard": mine_batch_hard,
    "batch_all": mine_batch_all,
}


def squared_distances(embeddings: torch.Tensor) -> torch.Tensor:
    """Return float32 (B, B), in [0, 4], for L2-normalised `embeddings` (B, D).

    Squared, not rooted: the root's gradient at distance zero is infinite.
    """
    return (2 - 2 * embeddings @ embeddings.T).clamp_min(0)
