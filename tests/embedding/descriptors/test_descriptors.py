"""What each descriptor sees in pictures of which it is known."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.backbones.input_stage import InputStage
from faceops.embedding.descriptors.binary_patterns import BinaryPatterns
from faceops.embedding.descriptors.cells import GRID, CellSums
from faceops.embedding.descriptors.described import GROUPS, Described
from faceops.embedding.descriptors.edge_maps import EdgeMaps
from faceops.embedding.descriptors.edge_patterns import ORIENTATIONS as OF_EDGES
from faceops.embedding.descriptors.edge_patterns import EdgePatterns
from faceops.embedding.descriptors.fisher_vectors import FisherVectors
from faceops.embedding.descriptors.oriented_gradients import DIRECTIONS, OrientedGradients
from faceops.embedding.descriptors.pattern_histograms import MIRRORED, PATTERNS, UNIFORM
from faceops.embedding.descriptors.regions import PARTS
from tests.embedding.descriptors.cloudy_photos import cloudy_photos

ALONG = torch.arange(112.0)
AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


@pytest.mark.parametrize("group", GROUPS)
def test_a_mirrored_photo_is_described_alike(group: type[nn.Module]) -> None:
    torch.manual_seed(0)  # of the words of Fisher vectors
    describe, photos = group(), cloudy_photos(20)
    features = describe(photos)
    assert features.shape == (2, math.prod(group.layout))
    assert torch.allclose(features, describe(photos.flip(3)), atol=2e-5)
    assert (features - describe(photos.flip(2))).abs().max() > 0.05  # upside down is another


@pytest.mark.parametrize("group", GROUPS)
def test_each_photo_of_a_batch_is_described_as_if_alone(group: type[nn.Module]) -> None:
    torch.manual_seed(0)  # of the words of Fisher vectors
    describe, photos = group(), cloudy_photos(20)
    alone = torch.cat([describe(photo[None]) for photo in photos])
    assert torch.allclose(describe(photos), alone, atol=1e-5)


@pytest.mark.parametrize("group", [group for group in GROUPS if group is not FisherVectors])
def test_nothing_is_learnt_or_stored(group: type[nn.Module]) -> None:
    assert not group().state_dict()


@pytest.mark.parametrize(
    ("photo", "direction"),
    [
        ((ALONG / 200 + 0.2).square().expand(112, 112), 0),  # brighter to the right
        ((ALONG / 200 + 0.2).square().expand(112, 112).T, 2),  # brighter downwards
        ((ALONG / 200 + 0.2).square().flip(0).expand(112, 112).T, 6),  # brighter upwards
    ],
)
def test_a_ramp_has_its_one_direction(photo: torch.Tensor, direction: int) -> None:
    shares = OrientedGradients()(photo[None, None]).reshape(DIRECTIONS, GRID, GRID // 2)
    strongest = shares[:, 4:10, 3:].mean((1, 2))
    mirrored = (DIRECTIONS // 2 - direction) % DIRECTIONS
    expected = {direction, mirrored}
    assert set(strongest.argsort(descending=True)[: len(expected)].tolist()) == expected
    rest = [number for number in range(DIRECTIONS) if number not in expected]
    assert strongest[rest].max() < 0.45 * strongest[direction]


@pytest.mark.parametrize(("ring", "radius", "size"), [(0, 2, 112), (1, 1, 56)])
def test_patterns_equal_a_loop_over_pixels_and_neighbours(
    ring: int, radius: int, size: int
) -> None:
    torch.manual_seed(0)
    photo = 1e4 * torch.rand(1, 1, 112, 112)  # so that hardly a decision is soft
    maps = torch.zeros(1, PATTERNS, size, size)
    pixels = F.avg_pool2d(photo, 112 // size)[0, 0]
    for y in range(size):
        for x in range(size):
            code = 0
            for bit, (down, right) in enumerate(AROUND):
                place = (
                    min(max(y + radius * down, 0), size - 1),
                    min(max(x + radius * right, 0), size - 1),
                )
                code |= int(pixels[place] > pixels[y, x]) << bit
            maps[0, UNIFORM.index(code) if code in UNIFORM else PATTERNS - 1, y, x] = 1
    cells = CellSums(size)(maps)
    roots = cells.sqrt()
    both = (roots + roots[:, MIRRORED].flip(3)) / 2
    found = BinaryPatterns()(photo).reshape(2, PATTERNS, GRID, GRID // 2)[ring]
    # At the border a pixel is its own neighbour, which counts half.
    inner = (slice(None), slice(2, -2), slice(2, None))
    assert torch.allclose(found[inner], both[0, :, :, : GRID // 2][inner], atol=0.01)


def test_the_chances_of_all_patterns_sum_to_one() -> None:
    describe = BinaryPatterns()
    flat = describe(torch.full((1, 1, 112, 112), 0.5)).reshape(2, PATTERNS, -1)
    # Folding means over roots; in a flat photo both halves are the same.
    assert torch.allclose(flat.square().sum(1), torch.ones(2, GRID * GRID // 2), atol=1e-4)
    assert flat.square()[0, : len(UNIFORM), 0].std() < 1e-5  # and all are as likely


def mean_around(image: np.ndarray, reach: int) -> np.ndarray:
    """Return float64 (56, 56), the means of what lies within `reach` pixels."""
    means = np.empty((56, 56))
    for y in range(56):
        for x in range(56):
            near = (slice(max(0, along - reach), along + reach + 1) for along in (y, x))
            means[y, x] = image[tuple(near)].mean()
    return means


def test_edge_patterns_equal_a_loop_over_pixels() -> None:
    photo = cloudy_photos(20)[:1]
    strength = EdgeMaps(OF_EDGES, signed=False)(photo)[0].double().numpy()
    halved = strength.reshape(OF_EDGES, 56, 2, 56, 2).mean((2, 4))
    smooth = np.stack([mean_around(image, 1) for image in halved])
    relative = smooth[0] / (mean_around(smooth.mean(0), 4) + 0.003)
    bits = np.array([[code >> bit & 1 for bit in range(8)] for code in UNIFORM], dtype=bool)
    maps = np.empty((PATTERNS, 56, 56))
    for y in range(56):
        for x in range(56):
            exceed = np.empty(8)
            for bit, (down, right) in enumerate(AROUND):
                place = (min(max(y + 2 * down, 0), 55), min(max(x + 2 * right, 0), 55))
                exceed[bit] = 1 / (1 + math.exp((relative[y, x] - relative[place]) / 0.1))
            maps[:-1, y, x] = np.where(bits, exceed, 1 - exceed).prod(1)
            maps[-1, y, x] = 1 - maps[:-1, y, x].sum()
    roots = CellSums(56)(torch.from_numpy(maps[None]).float()).sqrt()
    both = (roots + roots[:, MIRRORED].flip(3)) / 2  # orientation 0 is its own mirror image
    found = EdgePatterns()(photo).reshape(OF_EDGES, PATTERNS, GRID, GRID // 2)[0]
    assert torch.allclose(found, both[0, :, :, : GRID // 2], atol=2e-3)


@pytest.mark.parametrize("signed", [True, False])
def test_an_edge_and_its_negative_differ_by_their_sign_alone(signed: bool) -> None:
    bright = 0.3 + 0.4 * cloudy_photos(20)
    negative = (1 - bright.sqrt()).square()  # of the roots, whose slopes are taken
    first, second = (EdgeMaps(8, signed)(photo) for photo in (bright, negative))
    opposite = [(number + 4) % 8 for number in range(8)] if signed else list(range(8))
    assert torch.allclose(first, second[:, opposite], atol=1e-5)
    assert torch.allclose(first, second, atol=1e-5) != signed


def test_a_lamp_that_is_dimmed_changes_no_edge_pattern() -> None:
    photo = 0.2 + 0.7 * cloudy_photos(20)
    describe = EdgePatterns()
    assert (describe(photo) - describe(photo / 2)).abs().max() < 0.02
    assert (describe(photo) - describe(photo.flip(2))).abs().max() > 0.1


def test_colour_is_described_by_its_brightness() -> None:
    torch.manual_seed(0)
    crops = 255 * torch.rand(2, 3, 112, 112)
    luma = (crops * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True) / 255
    describe = Described()
    expected = torch.cat([group(luma) for group in describe.groups], dim=1)
    assert torch.allclose(describe(InputStage(112, "grey")(crops)), expected, atol=1e-4)


def test_bfloat16_around_it_rounds_no_brightness() -> None:
    seen, describe = 2 * cloudy_photos(20) - 1, Described()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = describe(seen)
    assert torch.equal(rounded, describe(seen))


def test_all_regions_weigh_alike_in_their_part_of_an_embedding() -> None:
    torch.manual_seed(0)
    model = build_backbone("descriptors", 48, 112, "grey").eval()
    with torch.inference_mode():
        embeddings = model(255 * torch.rand(2, 3, 112, 112))
    assert model.parts == len(PARTS)
    for embedding, part in zip(embeddings.chunk(len(PARTS), dim=1), PARTS, strict=True):
        lengths = embedding.reshape(2, len(part), -1).norm(dim=2)
        expected = torch.full_like(lengths, 1 / math.sqrt(len(PARTS) * len(part)))
        assert torch.allclose(lengths, expected, atol=1e-5)


def test_a_mirrored_crop_has_the_same_embedding() -> None:
    torch.manual_seed(0)
    model = build_backbone("descriptors", 48, 112, "grey").eval()
    crops = 255 * cloudy_photos(20).expand(2, 3, 112, 112) * torch.rand(2, 3, 1, 1)
    with torch.inference_mode():
        assert torch.allclose(model(crops), model(crops.flip(3)), atol=1e-5)
