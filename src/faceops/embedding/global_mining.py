"""Global mining: the hard negatives of each training face among all training faces."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from faceops.base.nearest import nearest_of_others
from faceops.embedding.miners import Triplets


def nearest_negatives(
    embeddings: np.ndarray, labels: np.ndarray, anchors: np.ndarray, count: int, skip: int = 0
) -> np.ndarray:
    """Return for each anchor the `count` nearest faces of other people after the first `skip`.

    The nearest face of another person is often a twin, or the same person under another
    name: a negative that teaches the wrong thing. The search is exact (see `base.nearest`).

    Args:
        embeddings: float32 (N, D), L2-normalised.
        labels: int64 (N,), the person of each row.
        anchors: int64 (A,), rows.

    Returns:
        int64 (A, count), rows, the nearest first; -1 where there are no more.
    """
    own = embeddings[anchors], labels[anchors]
    near, _ = nearest_of_others(*own, embeddings, labels, skip + count, "mining negatives")
    return near[:, skip:]


def random_negatives(
    labels: np.ndarray, anchors: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Return int64 (A, count): for each anchor, rows drawn uniformly from those of other people.

    A row may be drawn twice. Without another person the row is -1.

    `labels`: int64 (N,), the person of each row.
    """
    by_person = np.argsort(labels, kind="stable")
    ordered = labels[by_person]
    who = labels[anchors][:, None]
    start = np.searchsorted(ordered, who)
    own = np.searchsorted(ordered, who, side="right") - start
    others = len(labels) - own  # (A, 1)
    place = generator.integers(0, np.maximum(others, 1), size=(len(anchors), count))
    place += np.where(place >= start, own, 0)  # skip the anchor's own person
    return np.where(others > 0, by_person[place % max(len(labels), 1)], -1)


def global_batches(
    batches: Iterable[np.ndarray],
    labels: np.ndarray,
    negatives: np.ndarray,
    added: int,
    generator: np.random.Generator,
) -> list[tuple[np.ndarray, Triplets]]:
    """Return an epoch's batches, each with its triplets.

    Every batch gets some of the mined negatives of its faces. Its triplets are all (a, p, n) of
    two photos of a person from the original batch and a mined negative of a that is now in the
    batch, whichever face it was added for.

    Args:
        batches: int64 (B,) each, positions of training faces, P people x K photos.
        labels: int64 (N,), the person of each training face.
        negatives: int64 (N, m), the mined negatives of each face, -1 for none.
        added: the largest number of negatives that a batch gets.

    Returns:
        Positions, int64 (B + up to `added`,), which begin with the batch's own; and the triplets,
        three int64 (T,) of places in these positions.
    """
    built = []
    for batch in batches:
        candidates = negatives[batch]  # (B, m)
        positions = np.concatenate([batch, _spread(candidates, batch, added, generator)])
        order = np.argsort(positions)
        place = np.searchsorted(positions, candidates, sorter=order).clip(max=len(positions) - 1)
        place = order[place]  # of each candidate, if it is in the batch
        present = positions[place] == candidates
        is_negative = np.zeros((len(batch), len(positions)), dtype=bool)
        is_negative[np.nonzero(present)[0], place[present]] = True

        who = labels[batch]
        first, second = np.nonzero((who[:, None] == who) & ~np.eye(len(who), dtype=bool))
        pairs, found = np.nonzero(is_negative[first])
        places = (first[pairs], second[pairs], found)
        anchors, positives, others = (torch.from_numpy(part) for part in places)
        built.append((positions, (anchors, positives, others)))
    return built


def _spread(
    candidates: np.ndarray, batch: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Return up to `count` of the `candidates` (B, m), none twice and none that is in `batch`.

    First one of each anchor, then a second one of each, and so on.
    """
    shuffled = generator.permuted(candidates, axis=1)[generator.permutation(len(candidates))]
    turns = shuffled.T.ravel()
    turns = turns[(turns >= 0) & ~np.isin(turns, batch)]
    _, first = np.unique(turns, return_index=True)
    return turns[np.sort(first)[:count]]


class MemoryBank(nn.Module):
    """The latest embedding of each training face, float32 (N, D) on one device.

    A step updates the faces that it embedded; the others get stale until the epoch ends.
    """

    embeddings: torch.Tensor
    fresh: torch.Tensor

    def __init__(self, faces: int, embedding_size: int, device: torch.device | str) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(faces, embedding_size, device=device))
        self.register_buffer("fresh", torch.zeros(faces, dtype=torch.bool, device=device))

    def stale(self) -> np.ndarray:
        """Return the positions, int64, that were not updated since `fresh` was last cleared."""
        return torch.nonzero(~self.fresh).flatten().cpu().numpy()

    @torch.no_grad()
    def update(self, positions: np.ndarray, embeddings: torch.Tensor) -> None:
        """Store the `embeddings`, (B, D), L2-normalised, of the faces at `positions`, int64 (B,).

        No position may occur twice: which of its embeddings is kept would depend on the device.
        """
        rows = torch.from_numpy(positions).to(self.embeddings.device)
        self.embeddings[rows] = embeddings.to(self.embeddings)
        self.fresh[rows] = True
