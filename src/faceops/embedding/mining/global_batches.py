"""Batches that hold the negatives which global mining found for their faces."""

from collections.abc import Iterable

import numpy as np
import torch

from faceops.embedding.mining.triplet_loss import Triplets


def global_batches(
    batches: Iterable[np.ndarray],
    labels: np.ndarray,
    negative_only: np.ndarray,
    mined: np.ndarray,
    negatives: int,
    draw: np.random.Generator,
) -> list[tuple[np.ndarray, Triplets]]:
    """Return an epoch's batches, each with its triplets.

    Every batch gets some of the mined negatives of its faces. Its triplets are all (a, p, n) of
    two photos of a person that were in the batch before, and a mined negative of a that is in it
    now, whichever face it was added for.

    Args:
        batches: int64 (B,) each, P people x K photos, positions of training faces.
        labels: int64 (N,), the person of each training face.
        negative_only: bool (N,), faces that are never anchors or positives.
        mined: int64 (N, m), the negatives of each face, -1 for none (see `negatives_of_faces`).
        negatives: how many are added to a batch, at most.
        draw: chooses which.

    Returns:
        Positions, int64 (B + up to negatives,), which begin with the batch's own; and the
        triplets, three int64 (T,) of places in these positions.
    """
    return [
        _with_negatives(batch, labels, negative_only, mined, negatives, draw) for batch in batches
    ]


def _with_negatives(
    batch: np.ndarray,
    labels: np.ndarray,
    negative_only: np.ndarray,
    mined: np.ndarray,
    negatives: int,
    draw: np.random.Generator,
) -> tuple[np.ndarray, Triplets]:
    anchors = np.flatnonzero(~negative_only[batch])  # places in the batch
    candidates = mined[batch[anchors]]  # (A, m)
    positions = np.concatenate([batch, _evenly(candidates, batch, negatives, draw)])

    order = np.argsort(positions)
    place = np.searchsorted(positions, candidates, sorter=order).clip(max=len(positions) - 1)
    place = order[place]  # where each candidate is, if it is there at all
    there = positions[place] == candidates
    negative = np.zeros((len(anchors), len(positions)), dtype=bool)
    negative[np.nonzero(there)[0], place[there]] = True

    who = labels[batch[anchors]]
    first, second = np.nonzero((who[:, None] == who) & ~np.eye(len(who), dtype=bool))
    pairs, found = np.nonzero(negative[first])
    triplets = (anchors[first[pairs]], anchors[second[pairs]], found)
    a, p, n = (torch.from_numpy(part) for part in triplets)
    return positions, (a, p, n)


def _evenly(
    candidates: np.ndarray, batch: np.ndarray, count: int, draw: np.random.Generator
) -> np.ndarray:
    """Return up to `count` of the `candidates` (A, m), none twice and none that is in `batch`.

    One of each anchor comes first, then a second one of each, and so on.
    """
    shuffled = draw.permuted(candidates, axis=1)[draw.permutation(len(candidates))]
    turns = shuffled.T.ravel()
    turns = turns[(turns >= 0) & ~np.isin(turns, batch)]
    _, first = np.unique(turns, return_index=True)
    return turns[np.sort(first)[:count]]
