"""Nearest neighbours against sorting all similarities, exact and by an inverted file."""

import faiss
import numpy as np
import pytest

import faceops.base.nearest
from faceops.base.nearest import Index, nearest, nearest_of_others


@pytest.mark.parametrize("threads", [1, None])
@pytest.mark.parametrize("k", [1, 7, 120, 150])
def test_the_nearest_are_those_of_a_full_sort(k, threads):
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


@pytest.mark.parametrize("count", [1, 7])
def test_one_large_label_costs_the_others_nothing(count, monkeypatch):
    vectors = np.random.default_rng(count).normal(size=(3000, 16)).astype(np.float32)
    owners = np.repeat(np.arange(1500), 2)
    owners[:1200] = 7777
    queries, labels, searched = vectors[::3], owners[::3], 0

    def counted(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal searched
        searched += len(queries) * k
        return nearest(queries, vectors, k)

    monkeypatch.setattr(faceops.base.nearest, "nearest", counted)
    indices, similarities = nearest_of_others(queries, labels, vectors, owners, count)
    products = np.where(labels[:, None] == owners, -np.inf, queries @ vectors.T)
    assert np.array_equal(indices, np.argsort(-products, axis=1)[:, :count])
    expected = np.take_along_axis(products, indices, axis=1)
    assert similarities == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert searched <= len(queries) * (count + 2)
    alone = nearest_of_others(vectors[:2], owners[:2], vectors[:1200], owners[:1200], count)
    assert (alone[0] == -1).all() and np.isneginf(alone[1]).all()


@pytest.mark.parametrize(("queries", "gallery", "k"), [(0, 5, 2), (3, 0, 2), (3, 5, 0)])
def test_empty_inputs_give_empty_results(queries, gallery, k):
    indices, similarities = nearest(np.zeros((queries, 4)), np.zeros((gallery, 4)), k)
    assert indices.shape == similarities.shape == (queries, k)
    assert gallery > 0 or (indices == -1).all()


def test_the_number_of_openmp_threads_stays_as_it_was():
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


@pytest.mark.parametrize("lists", [False, True])
def test_an_index_finds_nearly_all_and_its_similarities_are_exact(lists, faces):
    index = Index(faces, exact_rows=100, lists=lists)
    expected, _ = nearest(faces[::7], faces, 5)
    found, similarities = index.search(faces[::7], 5, 60)
    shared = [len({*a} & {*b}) / 5 for a, b in zip(expected, found.tolist(), strict=True)]
    assert np.mean(shared) >= 0.97
    products = np.einsum("qd,qkd->qk", faces[::7].astype(float), faces[found].astype(float))
    assert similarities == pytest.approx(products, abs=1e-6)
    assert (np.diff(similarities, axis=1) <= 0).all()
    found, similarities = index.search(faces[:2], 3005)
    beyond = 3000 if not lists else int((found >= 0).sum(axis=1).max())
    assert (found[:, beyond:] == -1).all() and np.isneginf(similarities[:, beyond:]).all()
    assert all(len({*row}) == np.count_nonzero(row >= 0) + 1 for row in found)


@pytest.mark.parametrize(("exact_rows", "lists"), [(3000, False), (0, False), (0, True)])
def test_up_to_a_size_an_index_is_exact_and_always_the_same_by_any_number_of_threads(
    exact_rows, lists, faces
):
    one, two = (Index(faces, "x", exact_rows, lists, threads) for threads in (1, 2))
    found, again = one.search(faces[:99], 9), two.search(faces[:99], 9)
    expected = nearest(faces[:99], faces, 9) if one.is_exact else again
    assert one.is_exact == (exact_rows == 3000)
    for part in range(2):
        np.testing.assert_array_equal(found[part], again[part])
        np.testing.assert_array_equal(found[part], expected[part])


def test_making_a_large_index_is_told(faces, capsys, monkeypatch):
    monkeypatch.setattr(faceops.base.nearest, "_PROGRESS_AFTER_S", 1000)
    Index(faces, "faces", exact_rows=0)
    assert not capsys.readouterr().err
    monkeypatch.setattr(faceops.base.nearest, "_PROGRESS_AFTER_S", 0)
    Index(faces, "faces", exact_rows=0)
    assert "made an index of 3,000 faces in " in capsys.readouterr().err
