"""The nearest strangers against the plain loop that sorts all distances of each anchor."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faceops.embedding.global_mining import ON_CPU, TileShape, nearest_negatives

# Several tiles and several rounds of tiles; the last of each is not full.
SMALL = TileShape(faces=16, anchors=29, tiles=4)
WIDE = TileShape(faces=256, anchors=64, tiles=2)
SHAPES = {"small": SMALL, "wide": WIDE, "as on a CPU": ON_CPU}


def by_loop(
    bank: np.ndarray, labels: np.ndarray, anchors: np.ndarray, nearest: int, skip: int
) -> np.ndarray:
    found = np.full((len(anchors), nearest), -1)
    for number, anchor in enumerate(anchors):
        distances = ((bank - bank[anchor]) ** 2).sum(axis=1)
        order = np.argsort(distances, kind="stable")
        strangers = order[labels[order] != labels[anchor]][skip : skip + nearest]
        found[number, : len(strangers)] = strangers
    return found


def people(count: int, kind: str, draw: np.random.Generator) -> np.ndarray:
    """Return labels: few photos each, or half of all by one person, in mixed order."""
    if kind == "one has half":
        return np.where(np.arange(count) % 2 == 0, -5, draw.integers(0, count // 4, count))
    return draw.integers(0, count // 3, count) * 1000


def signs(count: int, size: int, draw: np.random.Generator) -> np.ndarray:
    """Return unit vectors whose distances are exact in float32 and mostly tied."""
    return (draw.choice([-1.0, 1.0], (count, size)) / size**0.5).astype(np.float32)


@pytest.mark.parametrize("kind", ["few photos each", "one has half"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize(("nearest", "skip"), [(1, 0), (6, 3), (40, 2)])
def test_nearest_strangers_are_those_of_the_loop(
    shape: TileShape, nearest: int, skip: int, kind: str
) -> None:
    draw = np.random.default_rng(nearest)
    bank = F.normalize(torch.from_numpy(draw.normal(size=(317, 24)).astype(np.float32)), dim=1)
    labels, anchors = people(317, kind, draw), draw.permutation(317)[:150]
    found = nearest_negatives(
        bank, torch.from_numpy(labels), torch.from_numpy(anchors), nearest, skip, shape
    )
    assert found.dtype == torch.int64
    expected = by_loop(bank.double().numpy(), labels, anchors, nearest, skip)
    assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize("kind", ["few photos each", "one has half"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("size", [4, 16, 64])
def test_of_equally_near_strangers_the_lower_row_comes_first(
    shape: TileShape, size: int, kind: str
) -> None:
    draw = np.random.default_rng(size)
    bank, labels = signs(301, size, draw), people(301, kind, draw)
    for nearest, skip in ((1, 0), (5, 4)):
        found = nearest_negatives(
            torch.from_numpy(bank),
            torch.from_numpy(labels),
            torch.arange(301),
            nearest,
            skip,
            shape,
        )
        expected = by_loop(bank, labels, np.arange(301), nearest, skip)
        assert np.array_equal(found.numpy(), expected)


def test_a_collapsed_bank_gives_the_lowest_rows() -> None:
    bank = torch.zeros(700, 8)
    bank[:, 0] = 1
    labels = torch.arange(700) // 2
    found = nearest_negatives(bank, labels, torch.tensor([0, 1, 5, 699]), 3, 1, SMALL)
    assert found.tolist() == [[3, 4, 5], [3, 4, 5], [1, 2, 3], [1, 2, 3]]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_strangers_on_the_other_side_are_found(shape: TileShape) -> None:
    # All cosines to strangers are negative: the zeros that fill the last tile would be nearer.
    draw = np.random.default_rng(2)
    rows = 0.2 * draw.normal(size=(201, 8)).astype(np.float32)
    rows[:, 0] = np.where(np.arange(201) < 3, 1.0, -1.0)
    bank = F.normalize(torch.from_numpy(rows), dim=1)
    labels = np.maximum(np.arange(201) - 2, 0)
    found = nearest_negatives(bank, torch.from_numpy(labels), torch.arange(3), 4, 1, shape)
    expected = by_loop(bank.double().numpy(), labels, np.arange(3), 4, 1)
    assert np.array_equal(found.numpy(), expected)


def test_where_strangers_run_out_stands_minus_one() -> None:
    bank = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]]), dim=1)
    anchors = torch.tensor([3, 0, 0])
    found = nearest_negatives(bank, torch.tensor([4, 4, 9, 9]), anchors, 3)
    assert found.tolist() == [[1, 0, -1], [2, 3, -1], [2, 3, -1]]
    found = nearest_negatives(bank, torch.tensor([4, 4, 9, 9]), anchors, 2, skip=1)
    assert found.tolist() == [[0, -1], [3, -1], [3, -1]]
    assert nearest_negatives(bank, torch.zeros(4), anchors, 2).tolist() == [[-1, -1]] * 3
    assert nearest_negatives(bank, torch.arange(4), anchors, 0).shape == (3, 0)
    assert nearest_negatives(bank, torch.arange(4), anchors[:0], 2).shape == (0, 2)


def test_the_number_of_threads_changes_nothing_and_stays_as_it_was() -> None:
    draw = torch.Generator().manual_seed(1)
    bank = F.normalize(torch.randn(200, 16, generator=draw), dim=1)
    labels = torch.randint(0, 50, (200,), generator=draw)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(nearest_negatives(bank, labels, torch.arange(200), 4, 2, SMALL))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
