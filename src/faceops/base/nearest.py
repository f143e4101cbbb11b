"""Exact nearest-neighbour search over embeddings: FAISS without a stored index."""

import faiss
import numpy as np

from faceops.base.parallel import usable_cpus

GALLERY_BLOCK = 4096  # rows of one matrix product; FAISS's own 1,024 take twice as long


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
    indices = np.full((len(queries), k), -1, np.int64)
    similarities = np.full((len(queries), k), -np.inf, np.float32)
    found = min(k, len(gallery))
    if found and len(queries):
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads or usable_cpus())
        faiss.cvar.distance_compute_blas_database_bs = GALLERY_BLOCK
        try:
            similarities[:, :found], indices[:, :found] = faiss.knn(
                np.ascontiguousarray(queries, np.float32),
                np.ascontiguousarray(gallery, np.float32),
                found,
                metric=faiss.METRIC_INNER_PRODUCT,
            )
        finally:
            faiss.omp_set_num_threads(before)  # torch shares the setting
    return indices, similarities
