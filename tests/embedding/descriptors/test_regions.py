"""A region is what a group says of the whole face, or of a band of it."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from faceops.embedding.descriptors.cells import GRID
from faceops.embedding.descriptors.described import FEATURES, GROUPS, LAYOUTS
from faceops.embedding.descriptors.fisher_vectors import WORDS
from faceops.embedding.descriptors.regions import BANDS, PARTS, REGIONS, Region

WHOLE, BANDED = PARTS
DESCRIBED = np.arange(2.0 * sum(FEATURES), dtype=np.float32).reshape(2, -1)


def rows_of(region: Region, channel: int, row: int) -> np.ndarray:
    """Return where among all features a row of a group's layout is, one step after the other."""
    _, rows, rest = region.layout
    return region.begin + (channel * rows + row) * rest + np.arange(rest)


def test_the_whole_face_has_every_feature_once() -> None:
    assert [region.features for region in WHOLE] == FEATURES
    both = [np.concatenate([region.of(DESCRIBED) for region in WHOLE], axis=1), DESCRIBED]
    assert np.array_equal(*both)


@pytest.mark.parametrize("region", BANDED)
def test_a_band_has_its_rows_of_all_channels(region: Region) -> None:
    taken = [
        rows_of(region, channel, row)
        for channel in range(region.layout[0])
        for row in range(region.top, region.bottom)
    ]
    expected = DESCRIBED[:, np.concatenate(taken)]
    found = region.of(DESCRIBED)
    assert found.shape == (2, region.features)
    assert np.array_equal(found, expected)
    assert np.array_equal(region.of(DESCRIBED, np.array([1])), expected[1:])
    assert torch.equal(region.of(torch.from_numpy(DESCRIBED)), torch.from_numpy(expected))


def test_bands_reach_from_the_top_to_the_chin_and_share_rows() -> None:
    assert BANDS[0][0] == 0 and BANDS[-1][1] == GRID
    assert all(above[1] > below[0] for above, below in pairwise(BANDS))
    assert len(BANDED) == len(BANDS) * len(GROUPS)
    assert [*WHOLE, *BANDED] == REGIONS


def test_every_group_is_laid_out_from_top_to_chin() -> None:
    assert [rows for _, rows, _ in LAYOUTS] == [GRID, GRID, GRID, WORDS]
    for region in BANDED:
        share = np.array([region.top, region.bottom]) / region.layout[1] * GRID
        assert min(np.abs(share - band).max() for band in BANDS) < 0.2


@pytest.mark.parametrize("group", [group for group in GROUPS if group.layout[1] == GRID])
def test_what_is_at_the_chin_is_seen_in_the_lowest_band_alone(group: type[torch.nn.Module]) -> None:
    flat = torch.full((1, 1, 112, 112), 0.5)
    bearded = flat.clone()
    bearded[:, :, 100:104, 20:92] = 0.9  # past the reach of what the bands above see
    number = GROUPS.index(group)
    begin = sum(FEATURES[:number])
    parts = []
    for photo in (flat, bearded):
        described = torch.zeros(1, sum(FEATURES))
        described[:, begin : begin + FEATURES[number]] = group()(photo)
        parts.append([region.of(described) for region in BANDED if region.begin == begin])
    changed = [not torch.allclose(*pair, atol=1e-3) for pair in zip(*parts, strict=True)]
    assert changed == [False, False, True]
