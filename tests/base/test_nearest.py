"""Nearest neighbours against sorting all similarities, exact and by an inverted file."""

import faiss
import numpy as np
import pytest

from faceops.base.nearest import Index, nearest


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


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Embeddings float32 (3000, 16) of 300 people, L2-normalised."""
    draw = np.random.default_rng(1)
    rows = np.repeat(draw.normal(size=(300, 16)), 10, axis=0) + 0.2 * draw.normal(size=(3000, 16))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("codes", [False, True])
def test_an_index_finds_nearly_all_and_its_similarities_are_exact(
    codes: bool, faces: np.ndarray
) -> None:
    index = Index(faces, exact_rows=100, codes=codes)
    assert not index.is_exact
    expected, _ = nearest(faces[::7], faces, 5)
    found, similarities = index.search(faces[::7], 40)
    shared = [len({*a} & {*b}) / 5 for a, b in zip(expected, found.tolist(), strict=True)]
    assert np.mean(shared) >= 0.97
    products = np.einsum("qd,qkd->qk", faces[::7].astype(float), faces[found].astype(float))
    there = found >= 0
    assert similarities[there] == pytest.approx(products[there], abs=1e-6)
    assert np.isneginf(similarities[~there]).all()
    assert (np.diff(similarities[:, :5], axis=1) <= 0).all()


def test_up_to_a_size_an_index_is_exact(faces: np.ndarray) -> None:
    index = Index(faces, exact_rows=len(faces))
    assert index.is_exact and not index.arrays
    for one, other in zip(index.search(faces[:9], 4), nearest(faces[:9], faces, 4), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_vectors_give_the_same_index_by_any_number_of_threads(faces: np.ndarray) -> None:
    one, other = (Index(faces, exact_rows=0, threads=threads) for threads in (1, 2))
    assert one.arrays.keys() == other.arrays.keys()
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(values, other.arrays[name])
    again = Index(faces, exact_rows=0, known=one.arrays)
    assert again.is_known and not one.is_known
    for a, b in zip(one.search(faces[:99], 9), again.search(faces[:99], 9), strict=True):
        np.testing.assert_array_equal(a, b)


def test_arrays_of_other_vectors_or_damaged_ones_are_not_used(faces: np.ndarray) -> None:
    arrays = Index(faces, exact_rows=0).arrays
    changed = faces.copy()
    changed[5] = changed[6]
    assert not Index(changed, exact_rows=0, known=arrays).is_known
    for damaged in (
        {},
        {**arrays, "lists": arrays["lists"][:-1]},
        {**arrays, "lists": arrays["lists"] + 1000},
        {**arrays, "lists": arrays["lists"].astype(float)},
        {**arrays, "centres": arrays["centres"][:, :-1]},
        {**arrays, "centres": arrays["centres"] * np.nan},
    ):
        index = Index(faces, exact_rows=0, known=damaged)
        assert not index.is_known
        np.testing.assert_array_equal(index.arrays["lists"], arrays["lists"])
