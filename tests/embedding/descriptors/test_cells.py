"""Means over cells, evened out, the same for a mirrored map."""

import math

import pytest
import torch

from faceops.embedding.descriptors.cells import GRID, CellSums, even_contrast, fold


@pytest.mark.parametrize("size", [28, 56])
def test_cells_equal_a_loop_over_their_pixels(size: int) -> None:
    torch.manual_seed(0)
    maps, step = torch.rand(1, 1, size, size), size // GRID
    cells = CellSums(size)(maps)[0, 0]
    for row, column in ((0, 0), (3, 9), (13, 13)):
        centre = [(cell + 0.5) * step - 0.5 for cell in (row, column)]
        total = weights = 0.0
        for y in range(-step, size + step):
            for x in range(-step, size + step):
                away = [y - centre[0], x - centre[1]]
                if max(abs(distance) for distance in away) < 1.5 * step:
                    weight = math.exp(-sum(d * d for d in away) / (2 * (step / 2) ** 2))
                    inside = [min(abs(p), 2 * (size - 1) - p) for p in (y, x)]
                    total += weight * float(maps[0, 0, inside[0], inside[1]])
                    weights += weight
        assert float(cells[row, column]) == pytest.approx(total / weights, rel=1e-5)


def test_contrast_of_the_surroundings_does_not_matter() -> None:
    torch.manual_seed(0)
    cells = torch.rand(1, 8, GRID, GRID) + 1
    assert torch.allclose(even_contrast(cells), even_contrast(5 * cells), atol=1e-4)
    alike = even_contrast(torch.ones(1, 8, GRID, GRID))
    assert torch.allclose(alike, alike[:, :, 7:8, 7:8].expand_as(alike))  # at the border too
    assert even_contrast(torch.zeros(1, 8, GRID, GRID)).abs().max() == 0


def test_a_mirrored_map_is_folded_alike() -> None:
    torch.manual_seed(0)
    cells = torch.rand(2, 3, GRID, GRID)
    swapped = cells[:, [1, 0, 2]].flip(3)
    assert torch.equal(fold(cells, [1, 0, 2]), fold(swapped, [1, 0, 2]))
    assert fold(cells, [1, 0, 2]).shape == (2, 3 * GRID * GRID // 2)
