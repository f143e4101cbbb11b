"""Nearest neighbours against sorting all similarities."""

import faiss
import numpy as np
import pytest

from faceops.base.nearest import nearest


@pytest.mark.parametrize("threads", [1, None])
@pytest.mark.parametrize("k", [1, 7, 120, 150])
def test_the_nearest_are_those_of_a_full_sort(k: int, threads: int | None) -> None:
    draw = np.random.default_rng(k)
    queries, gallery = draw.normal(size=(30, 16)), draw.normal(size=(120, 16))
    indices, similarities = nearest(queries, gallery, k, threads)
    assert (indices.dtype, similarities.dtype) == (np.int64, np.float32)
    products = queries @ gallery.T
    order = np.argsort(-products, axis=1)[:, :k]
    found = order.shape[1]
    assert np.array_equal(indices[:, :found], order)
    expected = np.take_along_axis(products, order, axis=1)
    assert similarities[:, :found] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert (indices[:, found:] == -1).all()
    assert np.isneginf(similarities[:, found:]).all()


@pytest.mark.parametrize(("queries", "gallery", "k"), [(0, 5, 2), (3, 0, 2), (3, 5, 0)])
def test_empty_inputs_give_empty_results(queries: int, gallery: int, k: int) -> None:
    indices, similarities = nearest(np.zeros((queries, 4)), np.zeros((gallery, 4)), k)
    assert indices.shape == similarities.shape == (queries, k)
    assert gallery > 0 or (indices == -1).all()


def test_the_number_of_openmp_threads_stays_as_it_was() -> None:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(before + 1)
    try:
        nearest(np.eye(3), np.eye(3), 1, threads=1)
        assert faiss.omp_get_max_threads() == before + 1
    finally:
        faiss.omp_set_num_threads(before)
