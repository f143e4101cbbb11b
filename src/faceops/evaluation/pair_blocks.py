"""Scores of all pairs of photos that are sorted by person, in blocks of bounded size."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from faceops.base.progress import track
from faceops.verification.verifier import Verifier

_BLOCK = 1 << 21  # scores at a time: 8 MB


@dataclass(frozen=True)
class ImpostorBlock:
    """Rows `start`, `start` + 1, ... against all rows from `start` on.

    `scores` float32 (B, N - start) are log odds; -inf where a pair is of one person or was met
    before, which is so in `void` bool (B, C): the first C columns.
    """

    start: int
    scores: np.ndarray
    void: np.ndarray

    @property
    def rising(self) -> np.ndarray:
        """The scores of its pairs of two people, sorted."""
        ordered: np.ndarray = np.sort(self.scores, axis=None)[int(self.void.sum()) :]
        return ordered


def impostor_blocks(
    embeddings: np.ndarray, person: np.ndarray, verifier: Verifier, block: int = _BLOCK
) -> Iterator[ImpostorBlock]:
    """Yield every pair of two people once; `person` int (N,) rises."""
    ends = np.searchsorted(person, person, side="right")
    starts = [0]
    while starts[-1] < len(person):
        step = max(1, block // (len(person) - starts[-1]))
        starts.append(min(starts[-1] + step, len(person)))
    for start, stop in track(list(pairwise(starts)), "blocks of pairs"):
        scores = verifier.logit_matrix(embeddings[start:stop], embeddings[start:])
        end = ends[start:stop] - start
        void = np.arange(end[-1]) < end[:, None]
        scores[:, : end[-1]][void] = -np.inf
        yield ImpostorBlock(start, scores, void)


def genuine_scores(
    embeddings: np.ndarray, person: np.ndarray, verifier: Verifier, block: int = _BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """Return (log odds float32 (G,), code int (G,)) of pairs of one person; `person` rises."""
    scores, whose = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    code, first, counts = np.unique(person, return_index=True, return_counts=True)
    for one, at, count in zip(code, first, counts, strict=True):
        own = embeddings[at : at + count]
        step = max(1, block // count)
        for row in range(0, count - 1, step):
            part = verifier.logit_matrix(own[row : row + step], own[row + 1 :])
            scores.append(part[np.triu(np.ones(part.shape, bool))])
            whose.append(np.full(len(scores[-1]), one))
    return np.concatenate(scores), np.concatenate(whose)
