"""Nearest neighbours: the one module that uses FAISS.

`nearest` compares all queries with all vectors. An `Index` does the same up to a size; above, it
finds candidates by short codes (product quantisation, Jegou et al. 2011) and compares them exactly.
It may miss a neighbour; a similarity is always the inner product in float32 of the query and the
caller's own vector. An index is made in seconds and never written: who is forgotten is in none.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np

from faceops.base.work import track, usable_cpus

GALLERY_BLOCK = 4096  # rows of one matrix product; FAISS's own 1,024 take twice as long
EXACT_ROWS = 50_000  # up to here an index is exact
PROBES = 64  # lists that are searched for a query
_LISTS = 2.0  # times the root of the number of vectors
_TRAINING = 40  # vectors for each list
_CODED, _FEWEST = 20_000, 1_000  # vectors that the codes are trained on, at most and at least
_BLOCK = 1 << 14  # vectors at a time: 8 MB of 128 numbers
_QUERIES = 1 << 10  # that are searched at a time
_MANY = 1_000  # vectors of one label, above which the other vectors are copied and searched
_NUMBERS = 1 << 22  # of candidates that are compared exactly at a time: 16 MB
_CODES = 256  # binary codes that are compared with all others at a time
_PROGRESS_AFTER_S = 2.0


@contextmanager
def _threads(count: int | None = None) -> Iterator[None]:
    """Let FAISS use `count` threads, None: the CPUs that this process may use."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or usable_cpus())
    faiss.cvar.distance_compute_blas_database_bs = GALLERY_BLOCK
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)  # torch shares the setting


def _float32(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows, np.float32)


def nearest(
    queries: np.ndarray, gallery: np.ndarray, k: int, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` rows of `gallery` with the largest inner product with each query.

    `queries` (Q, D) and `gallery` (N, D) are computed in float32; L2-normalised rows make the inner
    product the cosine similarity. `threads` at most; None: the CPUs that this process may use.

    Returns indices int64 (Q, k), rows of `gallery`, the most similar first, -1 beyond N; and
    similarities float32 (Q, k), -inf beyond N.
    """
    indices, similarities = _nothing(len(queries), k)
    found = min(k, len(gallery))
    if found and len(queries):
        with _threads(threads):
            similarities[:, :found], indices[:, :found] = faiss.knn(
                _float32(queries), _float32(gallery), found, metric=faiss.METRIC_INNER_PRODUCT
            )
    return indices, similarities


def _nothing(queries: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32)


def nearest_of_others(
    queries: np.ndarray,
    labels: np.ndarray,
    vectors: np.ndarray,
    owners: np.ndarray,
    count: int,
    what: str = "search",
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each query the `count` nearest vectors with another label, as `nearest` does.

    `labels` (Q,) are those of `queries` (Q, D), `owners` (N,) those of `vectors` (N, D). The
    indices and similarities (Q, count) are -1 and -inf where there are no more.
    """
    indices, similarities = _nothing(len(queries), count)
    if not len(vectors):
        return indices, similarities
    _, label = np.unique(np.concatenate([owners, labels]), return_inverse=True)
    owner, label = label[: len(owners)], label[len(owners) :]
    own = np.bincount(owner, minlength=len(queries) + len(owners))[label]  # may be as many nearest
    for one in np.unique(label[own > _MANY]):
        others, rows = np.flatnonzero(owner != one), np.flatnonzero(label == one)
        found, similarities[rows] = nearest(queries[rows], vectors[others], count)
        indices[rows] = np.where(found < 0, -1, np.append(others, -1)[found])
    order = np.argsort(own, kind="stable")[: np.count_nonzero(own <= _MANY)]  # few neighbours first
    step = max(1, min(GALLERY_BLOCK, _NUMBERS // (_MANY + count)))
    for start in track(range(0, len(order), step), what, after_s=_PROGRESS_AFTER_S):
        block = order[start : start + step]
        found, scores = nearest(queries[block], vectors, int(own[block].max()) + count)
        is_other = (found >= 0) & (owner[found] != label[block, None])
        rank = is_other.cumsum(axis=1)  # from 1
        rows, columns = np.nonzero(is_other & (rank <= count))
        place = block[rows], rank[rows, columns] - 1
        indices[place], similarities[place] = found[rows, columns], scores[rows, columns]
    return indices, similarities


class Index:
    """The nearest of `vectors`; the same vectors give the same index.

    Args:
        vectors: float32 (N, D), may be mapped; not changed as long as the index is used.
        what: what the vectors describe, for progress and the message when building takes seconds.
        exact_rows: with at most so many vectors, and with 1,000, the search is exact.
        lists: use an inverted file, which searches only the lists whose centres are nearest to a
            query: faster where there are as many queries as vectors. Else the codes of all vectors
            are compared, with a higher recall. Codes take D / 8 bytes with lists, else D / 4.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        what: str = "vectors",
        exact_rows: int = EXACT_ROWS,
        lists: bool = False,
        threads: int | None = None,
    ) -> None:
        self._vectors, self._threads = vectors, threads
        self.is_exact = len(vectors) <= max(exact_rows, _FEWEST)  # all vectors are compared
        if self.is_exact:
            return
        start = time.monotonic()
        self._index, learnt_from = _inverted(vectors) if lists else _codes_of_all(vectors)
        draw, most = np.random.default_rng(0), min(len(vectors), learnt_from)
        sample = np.sort(draw.choice(len(vectors), most, replace=False))
        with _threads(1):  # in short steps, threads would wait for each other
            self._index.train(_float32(vectors[sample]))
        with _threads(threads):
            blocks = range(0, len(vectors), _BLOCK)
            for first in track(blocks, f"index of {what}", after_s=_PROGRESS_AFTER_S):
                self._index.add(_float32(vectors[first : first + _BLOCK]))
        if (taken := time.monotonic() - start) > _PROGRESS_AFTER_S:
            print(f"made an index of {len(vectors):,} {what} in {taken:.0f} s", file=sys.stderr)

    def search(
        self, queries: np.ndarray, k: int, candidates: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and similarities as `nearest`; -1 and -inf where it finds no more.

        The codes select `candidates` (None: `k`), of which the `k` nearest are returned. More
        candidates raise the recall, as codes give approximate similarities.
        """
        if self.is_exact:
            return nearest(queries, self._vectors, k, self._threads)
        indices, similarities = _nothing(len(queries), k)
        most = max(k, candidates or 0)
        if not k:
            return indices, similarities
        with _threads(self._threads):
            for start in range(0, len(queries), _QUERIES):
                rows = _float32(queries[start : start + _QUERIES])
                found = self._index.search(rows, most)[1]
                block = slice(start, start + len(rows))
                indices[block], similarities[block] = self._best(rows, found, k)
        return indices, similarities

    def _best(
        self, queries: np.ndarray, found: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the `k` nearest of the rows `found`, int64 (Q, C), and their similarities."""
        exact = np.empty(found.shape, np.float32)
        step = max(1, _NUMBERS // (found.shape[1] * queries.shape[1]))
        for start in range(0, len(queries), step):
            block = slice(start, start + step)
            vectors = _float32(self._vectors[np.maximum(found[block], 0)])  # (B, C, D)
            exact[block] = np.matmul(vectors, queries[block, :, None])[:, :, 0]
        exact[found < 0] = -np.inf
        order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(found, order, axis=1), np.take_along_axis(exact, order, axis=1)


def _codes_of_all(vectors: np.ndarray) -> tuple[faiss.Index, int]:
    """Return an empty index that compares all codes, and how many vectors to train it on."""
    size = vectors.shape[1]
    parts = size // 2 if size % 2 == 0 else size
    return faiss.IndexPQFastScan(size, parts, 4, faiss.METRIC_INNER_PRODUCT), _CODED


def _inverted(vectors: np.ndarray) -> tuple[faiss.Index, int]:
    """Return an empty inverted file of codes, and how many vectors to train it on."""
    count, size = vectors.shape
    lists = max(1, round(_LISTS * count**0.5))
    parts = next(part for part in (size // 4, size // 2, size) if part and not size % part)
    index = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatIP(size), size, lists, parts, 4, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed, index.cp.niter, index.cp.spherical, index.pq.cp.niter = 1, 8, True, 8
    index.cp.max_points_per_centroid = _TRAINING
    index.nprobe = PROBES
    return index, _TRAINING * lists


def near_codes(codes: np.ndarray, most_bits: int, what: str) -> Iterator[np.ndarray]:
    """Yield the pairs of rows of `codes` that differ in at most `most_bits` bits, int64 (2, P).

    Each row with all rows, itself included. `codes` uint8 (N, B) are B bytes each; `what` is for
    progress.
    """
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    for start in track(range(0, len(codes), _CODES), what):
        rows = codes[start : start + _CODES]
        ends, _, found = index.range_search(rows, most_bits + 1)  # distances below the radius
        row = start + np.repeat(
            np.arange(len(rows)), ends[1:].astype(np.int64) - ends[:-1].astype(np.int64)
        )
        yield np.stack([row, found])
