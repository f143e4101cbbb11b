"""Descriptors of patches, against loops over their pixels."""

import math

import pytest
import torch

from faceops.embedding.descriptors.dense_sift import CELL_SIDES, DIRECTIONS, SIZE, DenseSift
from faceops.embedding.descriptors.edge_maps import EdgeMaps
from tests.embedding.descriptors.cloudy_photos import cloudy_photos


def slices_of_sizes(describe: DenseSift) -> list[slice]:
    """Return where the patches of each size stand."""
    counts = [sum(1 for y, x in grid.places() if y == x) ** 2 for grid in describe.grids]
    ends = torch.tensor(counts).cumsum(0).tolist()
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


@pytest.mark.parametrize("number", range(len(CELL_SIDES)))
@pytest.mark.parametrize("at", [0, 100, -1])
def test_a_patch_equals_a_loop_over_its_cells(number: int, at: int) -> None:
    describe, side = DenseSift(), CELL_SIDES[number]
    where = slices_of_sizes(describe)[number]
    found = describe(cloudy_photos(30))[0, where][at]
    y, x = (describe.places[where][at] * 112 + 55.5).tolist()
    edges = EdgeMaps(DIRECTIONS, signed=True)(cloudy_photos(30))[0]
    expected = []
    for down in range(4):
        for across in range(4):
            middle = (y + (down - 1.5) * side, x + (across - 1.5) * side)
            total = torch.zeros(DIRECTIONS)
            for row in range(112):
                for column in range(112):
                    tent = [max(0.0, 1 - abs(row - middle[0]) / side) / side,
                            max(0.0, 1 - abs(column - middle[1]) / side) / side]  # fmt: skip
                    if tent[0] * tent[1] > 0:
                        total += tent[0] * tent[1] * edges[:, row, column]
            expected.append(total)
    cells = torch.cat(expected)
    assert torch.allclose(found, (cells / (cells.sum() + 0.016)).sqrt(), atol=1e-4)


def test_in_a_mirrored_photo_patches_have_their_numbers_in_mirrored_order() -> None:
    describe = DenseSift()
    seen, mirrored = describe(cloudy_photos(30)), describe(cloudy_photos(30).flip(3))
    places = {(round(y, 4), round(x, 4)): [] for y, x in describe.places.tolist()}
    for number, (y, x) in enumerate(describe.places.tolist()):
        places[(round(y, 4), round(x, 4))].append(number)
    for (y, x), numbers in places.items():
        across = places[(y, round(-x, 4) + 0.0)]
        turned = seen[:, across][:, :, describe.mirrored]
        assert torch.allclose(mirrored[:, numbers], turned, atol=1e-4)


def test_patches_lie_inside_and_close_together() -> None:
    describe = DenseSift()
    assert describe(cloudy_photos(30)).shape == (2, len(describe.places), SIZE)
    for where, side in zip(slices_of_sizes(describe), CELL_SIDES, strict=True):
        lines = describe.places[where][:, 0].unique()
        assert torch.allclose(lines.diff(), torch.tensor(4 / 112))
        reach = 1.5 * side / 112  # to the middles of the outer cells
        assert lines[0] - reach >= -0.5 and lines[0] - reach < -0.5 + 4 / 112
        assert torch.allclose(lines, -lines.flip(0))


def test_a_dimmed_lamp_changes_little_and_a_flat_patch_is_near_nothing() -> None:
    describe, photo = DenseSift(), 0.2 + 0.7 * cloudy_photos(30)
    assert (describe(photo) - describe(photo / 2)).abs().max() < 0.06
    flat = describe(torch.full((1, 1, 112, 112), 0.5))
    assert flat.abs().max() < 0.02
    lengths = describe(photo).norm(dim=2)
    assert lengths.max() <= 1 + 1e-5 and lengths.median() > math.sqrt(0.8)
