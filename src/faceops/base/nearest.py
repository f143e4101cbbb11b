"""Nearest neighbours: the one module that uses FAISS.

`nearest` compares all queries with all vectors. An `Index` does the same up to `EXACT_ROWS`
vectors; above, it is an inverted file: vectors are in lists by the nearest of some centres, and a
query is compared with the lists of the centres nearest to it. It may miss a neighbour. A similarity
is always the inner product in float32 of the query and the caller's own vector.

An index is a cache: `arrays` are its centres and the list of each vector, from which it is made
again in a fraction of the time.
"""

import hashlib
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import faiss
import numpy as np

from faceops.base.parallel import usable_cpus
from faceops.base.progress import track

GALLERY_BLOCK = 4096  # rows of one matrix product; FAISS's own 1,024 take twice as long
EXACT_ROWS = 50_000  # up to here an index is exact
PROBES = 32  # lists that are searched for a query
_LISTS = 2.0  # times the root of the number of vectors
_TRAINING = 40  # vectors for each list
_BLOCK = 1 << 14  # vectors at a time: 8 MB of 128 numbers
_COMPARED = 1 << 8  # queries whose candidates are compared exactly at a time
_TOLD_AFTER_S = 2.0


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

    Args:
        queries, gallery: (Q, D) and (N, D), computed in float32; L2-normalised rows make the
            inner product the cosine similarity.
        k: at least 0.
        threads: at most so many; None: the CPUs that this process may use.

    Returns:
        indices: int64 (Q, k), rows of `gallery`, the most similar first; -1 beyond N.
        similarities: float32 (Q, k); -inf beyond N.
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


class Index:
    """The nearest of `vectors`, exact or by an inverted file; the same vectors give the same index.

    Args:
        vectors: float32 (N, D), may be mapped from a file; the caller's own, which are not changed
            as long as the index is used.
        what: what the vectors are of, for progress and the message when making it takes seconds.
        exact_rows: up to so many vectors are all compared with each query.
        codes: keep short codes instead of a second copy of the vectors: a sixteenth of the memory.
            Codes choose the candidates, which are then compared exactly, so ask for more of them.
        known: `arrays` of an earlier index; damaged ones, or those of other vectors, are not used.
        threads: as of `nearest`.

    Attributes:
        is_exact: all vectors are compared.
        arrays: from which the same index can be made faster; empty if it is exact or has codes.
        is_known: made from `known`.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        what: str = "vectors",
        exact_rows: int = EXACT_ROWS,
        codes: bool = False,
        known: Mapping[str, np.ndarray] | None = None,
        threads: int | None = None,
    ) -> None:
        self._vectors, self._codes, self._threads = vectors, codes, threads
        self.is_exact, self.is_known = len(vectors) <= exact_rows, False
        self.arrays: dict[str, np.ndarray] = {}
        if self.is_exact:
            return
        start = time.monotonic()
        with _threads(threads):
            self._index = self._make(what, known)
        taken = time.monotonic() - start
        if not self.is_known and taken > _TOLD_AFTER_S:
            print(f"made an index of {len(vectors):,} {what} in {taken:.0f} s", file=sys.stderr)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and similarities as `nearest`; -1 and -inf where lists hold no more."""
        if self.is_exact:
            return nearest(queries, self._vectors, k, self._threads)
        found, similarities = _nothing(len(queries), k)
        if not k or not len(queries):
            return found, similarities
        with _threads(self._threads):
            for start in range(0, len(queries), _BLOCK):
                rows = slice(start, start + _BLOCK)
                similarities[rows], found[rows] = self._index.search(_float32(queries[rows]), k)
        if self._codes:
            self._compare(queries, found, similarities)
        similarities[found < 0] = -np.inf
        return found, similarities

    def _compare(self, queries: np.ndarray, found: np.ndarray, similarities: np.ndarray) -> None:
        """Replace the similarities of codes, and sort by the exact ones."""
        for start in range(0, len(queries), _COMPARED):
            rows = slice(start, start + _COMPARED)
            vectors = _float32(self._vectors[np.maximum(found[rows], 0)])
            exact = np.einsum("qd,qkd->qk", _float32(queries[rows]), vectors)
            exact[found[rows] < 0] = -np.inf
            order = np.argsort(-exact, axis=1, kind="stable")
            similarities[rows] = np.take_along_axis(exact, order, axis=1)
            found[rows] = np.take_along_axis(found[rows], order, axis=1)

    def _make(self, what: str, known: Mapping[str, np.ndarray] | None) -> faiss.IndexIVF:
        count, size = self._vectors.shape
        lists = max(1, round(_LISTS * count**0.5))
        quantizer = faiss.IndexFlatIP(size)
        index: faiss.IndexIVF
        if self._codes:
            parts = next(part for part in (size // 4, size // 2, size) if part and not size % part)
            index = faiss.IndexIVFPQFastScan(
                quantizer, size, lists, parts, 4, faiss.METRIC_INNER_PRODUCT
            )
            index.pq.cp.niter = 8
        else:
            index = faiss.IndexIVFFlat(quantizer, size, lists, faiss.METRIC_INNER_PRODUCT)
            digest = _digest(self._vectors)
            self.is_known = known is not None and _is_of(known, digest, (count, lists, size))
        index.cp.seed, index.cp.niter, index.cp.spherical = 1, 8, True
        index.cp.max_points_per_centroid = _TRAINING
        index.nprobe = min(PROBES, lists)
        if self.is_known and known is not None:
            self.arrays = dict(known)
            quantizer.add(self.arrays["centres"])
            index.is_trained = True
        else:
            draw = np.random.default_rng(0)
            sample = draw.choice(count, min(count, _TRAINING * lists), replace=False)
            index.train(_float32(self._vectors[np.sort(sample)]))
        places = []
        starts = range(0, count, _BLOCK)
        for start in track(starts, f"index of {what}", after_s=_TOLD_AFTER_S):
            block = _float32(self._vectors[start : start + _BLOCK])
            if self._codes:
                index.add(block)
                continue
            place = self.arrays["lists"][start : start + _BLOCK] if self.is_known else (
                quantizer.search(block, 1)[1][:, 0].astype(np.int32)
            )  # fmt: skip
            places.append(place)
            own = np.arange(start, start + len(block)), place.astype(np.int64)
            index.add_core(len(block), *map(faiss.swig_ptr, (block, *own)))
        if not self._codes and not self.is_known:
            centres = quantizer.reconstruct_n(0, lists)
            self.arrays = {"digest": digest, "centres": centres, "lists": np.concatenate(places)}
        return index


def _digest(vectors: np.ndarray) -> np.ndarray:
    """Return uint8 (32,), of all numbers."""
    digest = hashlib.blake2b(f"1 {vectors.shape}".encode(), digest_size=32)
    for start in range(0, len(vectors), _BLOCK):
        digest.update(_float32(vectors[start : start + _BLOCK]).data)
    return np.frombuffer(digest.digest(), np.uint8)


def _is_of(
    known: Mapping[str, np.ndarray], digest: np.ndarray, sizes: tuple[int, int, int]
) -> bool:
    """Return whether these are whole `Index.arrays` of N vectors, L lists and D numbers."""
    if not {"digest", "centres", "lists"} <= {*known}:
        return False
    count, lists, size = sizes
    centres, place = known["centres"], known["lists"]
    return bool(
        np.array_equal(known["digest"], digest)
        and (centres.dtype, centres.shape) == (np.float32, (lists, size))
        and (place.dtype, place.shape) == (np.int32, (count,))
        and np.isfinite(centres).all()
        and place.min() >= 0
        and place.max() < lists
    )


def near_codes(codes: np.ndarray, most_bits: int, block: int = 256) -> Iterator[np.ndarray]:
    """Yield the pairs of rows of `codes` that differ in at most `most_bits` bits, int64 (2, P).

    Each row with all rows, itself included. `codes` uint8 (N, B) are B bytes each; `block` rows
    are compared with all others at once.
    """
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    for start in range(0, len(codes), block):
        rows = codes[start : start + block]
        ends, _, found = index.range_search(rows, most_bits + 1)  # distances below the radius
        row = start + np.repeat(
            np.arange(len(rows)), ends[1:].astype(np.int64) - ends[:-1].astype(np.int64)
        )
        yield np.stack([row, found])
