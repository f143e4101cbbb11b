"""The pairs of two people among all photos, block by block and always in the same order."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LIMIT = 30_000_000
_BLOCK = 1 << 21  # pairs at a time: 8 MB of float32


@dataclass(frozen=True)
class Block:
    """Rows int (B,) of a table, each against the rows from `start` on."""

    rows: np.ndarray
    start: int
    two: np.ndarray  # bool (B, N - start): a pair of two people, met here for the first time


def impostor_blocks(person: np.ndarray, *, limit: int = LIMIT, seed: int = 0) -> Iterator[Block]:
    """Yield blocks that together hold every pair of rows with different `person` (N,) codes once.

    Beyond `limit` pairs, a seeded sample of the rows meets all others instead.
    """
    size = len(person)
    sampled = is_sampled(size, limit)
    rows = sampled_rows(size, limit, seed) if sampled else np.arange(size)
    step = max(1, _BLOCK // max(size, 1))
    for at in range(0, len(rows), step):
        block = rows[at : at + step]
        start = 0 if sampled else at
        column = np.arange(start, size)
        two = (column > block[:, None]) & (person[block][:, None] != person[start:])
        if sampled:  # a pair of two sampled rows would come twice
            outside = ~np.isin(column, rows)
            two |= outside & (person[block][:, None] != person[start:])
        yield Block(block, start, two)


def is_sampled(size: int, limit: int = LIMIT) -> bool:
    """Whether the pairs of `size` rows are more than `limit`."""
    return size * (size - 1) // 2 > limit


def sampled_rows(size: int, limit: int, seed: int) -> np.ndarray:
    """Return the sorted rows int (R,) that stand for all, R x `size` at most `limit`."""
    drawn = np.random.default_rng(seed).permutation(size)[: max(1, limit // size)]
    return np.sort(drawn)


def impostors_at(
    positions: np.ndarray, person: np.ndarray, *, limit: int = LIMIT, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (first, second), int (P,), of the pairs at `positions` of the scan.

    `positions` int (P,) rise: the scan's first pair of two people is 0.
    """
    parts = [(np.zeros(0, int), np.zeros(0, int))]
    seen = 0
    for block in impostor_blocks(person, limit=limit, seed=seed):
        count = int(block.two.sum())
        here = positions[(positions >= seen) & (positions < seen + count)] - seen
        if len(here):
            flat = np.flatnonzero(block.two)[here]
            row, column = np.divmod(flat, block.two.shape[1])
            parts.append((block.rows[row], block.start + column))
        seen += count
    first, second = (np.concatenate(part) for part in zip(*parts, strict=True))
    return first, second
