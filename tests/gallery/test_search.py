"""The nearest gallery faces are those that two plain loops find."""

import numpy as np
import pytest

from faceops.gallery import search


def unit_rows(random: np.random.Generator, rows: int, size: int = 16) -> np.ndarray:
    vectors = random.standard_normal((rows, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def naive(query: np.ndarray, gallery: np.ndarray, count: int, allowed: list[int]) -> list[int]:
    scored = []
    for row in allowed:
        scored.append((-float(query @ gallery[row]), row))
    return [row for _, row in sorted(scored)[:count]]


@pytest.mark.parametrize("block", [3, 7, 1000])
@pytest.mark.parametrize("size", [1, 5, 40])
def test_nearest_equals_the_loop(monkeypatch: pytest.MonkeyPatch, block: int, size: int) -> None:
    monkeypatch.setattr(search, "BLOCK", block)
    random = np.random.default_rng(size)
    queries, gallery = unit_rows(random, 6), unit_rows(random, size)
    rows, cosines = search.nearest(queries, gallery, 4)
    for query, found, values in zip(queries, rows, cosines, strict=True):
        assert found.tolist() == naive(query, gallery, 4, list(range(size)))
        np.testing.assert_allclose(values, gallery[found] @ query, atol=1e-6)


@pytest.mark.parametrize("block", [3, 1000])
def test_an_excluded_group_is_not_found(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(search, "BLOCK", block)
    random = np.random.default_rng(3)
    queries, gallery = unit_rows(random, 5), unit_rows(random, 20)
    groups, excluded = random.integers(0, 3, 20), random.integers(0, 3, 5)
    rows, cosines = search.nearest(queries, gallery, 8, groups=groups, excluded=excluded)
    for index, query in enumerate(queries):
        allowed = np.flatnonzero(groups != excluded[index]).tolist()
        real = rows[index][np.isfinite(cosines[index])]
        assert real.tolist() == naive(query, gallery, 8, allowed)


def test_an_empty_gallery_has_no_nearest() -> None:
    rows, cosines = search.nearest(np.ones((3, 4), np.float32), np.zeros((0, 4), np.float32), 5)
    assert rows.shape == cosines.shape == (3, 0)
