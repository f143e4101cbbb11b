"""The highest scores of pairs of two people, with the photos that made them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TopPairs:
    """Pairs by falling score; arrays are (K,)."""

    score: np.ndarray  # float32
    first: np.ndarray  # int32: row of one photo
    second: np.ndarray  # int32: row of the other


class TopPairsCollector:
    """Keeps the `size` highest of the scores that it is shown, in memory for twice as many.

    Of equal scores at the end of the list, those shown first stay.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._floor = np.float32(-np.inf)
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._held = 0

    def add(self, scores: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Take scores float32 (R, C) of `rows` (R,) with `columns` (C,); -inf is no pair."""
        flat = np.flatnonzero(scores > self._floor)
        if not len(flat):
            return
        row, column = np.divmod(flat, scores.shape[1])
        part = (scores.ravel()[flat], rows[row].astype(np.int32), columns[column].astype(np.int32))
        self._parts.append(part)
        self._held += len(flat)
        if self._held > 2 * self._size:
            self._shrink()

    def top(self) -> TopPairs:
        """Return what was kept."""
        score, first, second = self._shrink()
        order = np.argsort(-score, kind="stable")
        return TopPairs(score[order], first[order], second[order])

    def _shrink(self) -> tuple[np.ndarray, ...]:
        none = np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int32)
        parts = tuple(np.concatenate(part) for part in zip(none, *self._parts, strict=True))
        score = parts[0]
        if len(score) >= self._size:
            self._floor = np.partition(score, len(score) - self._size)[len(score) - self._size]
            kept = np.flatnonzero(score >= self._floor)
            ties = kept[score[kept] == self._floor]
            surplus = ties[len(ties) - (len(kept) - self._size) :]
            kept = np.setdiff1d(kept, surplus, assume_unique=True)
            parts = tuple(part[kept] for part in parts)
        self._parts, self._held = [parts], len(parts[0])
        return parts
