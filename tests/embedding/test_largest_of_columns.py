"""Choosing the largest of a row, and keys that order by value and row, against plain sorting."""

import math

import pytest
import torch

from faceops.embedding.global_mining import (
    exists,
    largest_of_columns,
    rank_keys,
    rows_of_keys,
    same_value,
)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("rows", "k"), [(4096, 3), (20480, 1), (1024, 16), (1000, 4), (5, 5)])
def test_the_largest_of_each_column_are_found(rows: int, k: int, ties: bool) -> None:
    draw = torch.Generator().manual_seed(rows)
    values = torch.randn(rows, 6, generator=draw)
    if ties:
        values = values.round()
    values[2:, 0] = -torch.inf
    found = largest_of_columns(values, k)
    assert all(len(set(column)) == k for column in found.tolist())
    largest = values.sort(dim=0, descending=True).values[:k].T
    assert torch.equal(values.T.gather(1, found).sort(dim=1, descending=True).values, largest)


def test_keys_order_by_value_and_then_by_the_lower_row() -> None:
    values = [0.5, -0.0, 0.0, -1.0, -1e-30, 1e-30, 1.0, 0.5, -1.0, -math.inf, 1.0, -0.25]
    last = 2**32 - 1
    rows = [7, 3, 2, 9, 1, 1, last, 6, 0, 5, 0, 4]
    keys = rank_keys(torch.tensor(values), torch.tensor(rows))
    order = sorted(range(len(values)), key=lambda i: (-values[i], rows[i]))
    assert keys.argsort(descending=True).tolist() == order
    assert rows_of_keys(keys).tolist() == [*rows[:9], -1, *rows[10:]]
    assert exists(keys).tolist() == [value > -math.inf for value in values]
    for i, value in enumerate(values):
        equal = same_value(keys, keys[i])
        assert equal.tolist() == [other == value for other in values]
