"""Augmentation: what each change alters and preserves; one seed gives the same result."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from faceops.config.sections import Train
from faceops.embedding.training.augmentation import (
    _CHANGES,
    _SHARES,
    augment,
    blur,
    jitter_crop,
    jpeg,
)
from faceops.embedding.training.degradation import EYES_END, erase, occlude

NAMES = list(_CHANGES)


def photos(count: int, side: int = 112, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures with fine grain, 0..255, whole numbers."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 7, 7, generator=draw) * 255
    smooth = F.interpolate(coarse, size=(side, side), mode="bicubic")
    return (smooth + 10 * torch.randn(smooth.shape, generator=draw)).round().clamp(0, 255)


PHOTOS = photos(20)


def changing(**amounts: float) -> Train:
    """Return settings with these changes only."""
    flips = amounts.get("flip", 0) > 0
    return Train(**{"jitter": 0, "brightness": 0} | amounts | {"flip": flips})


ALL = changing(**{name: 0.5 if name in _SHARES else 1 for name in NAMES})


@pytest.mark.parametrize("side", [112, 28])
@pytest.mark.parametrize("name", NAMES)
def test_a_change_keeps_shape_and_range_and_the_callers_pixels(name, side):
    given = photos(18, side)
    before = given.clone()
    changed = augment(given, changing(**{name: 1}), seed=3)
    assert changed.shape == given.shape
    assert changed.dtype == torch.float32
    assert changed.min() >= 0 and changed.max() <= 255
    assert not torch.equal(changed, given)
    assert torch.equal(given, before)
    assert len(augment(given[:0], changing(**{name: 1}), seed=3)) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_and_each_photo_has_its_own_draw(name):
    alike = PHOTOS[:1].expand(20, -1, -1, -1)
    changed, again, other = (augment(alike, changing(**{name: 1}), seed) for seed in (5, 5, 6))
    assert torch.equal(changed, again) and not torch.equal(changed, other)
    different = len({photo.numpy().tobytes() for photo in changed})
    # JPEG has whole qualities; a faint blur is none.
    assert different >= {"flip": 2, "jpeg": 12, "blur": 15, "resolution": 12}.get(name, 20)


def test_a_photo_depends_on_its_place_alone_and_not_on_the_others():
    whole = augment(PHOTOS, ALL, seed=8)
    others = PHOTOS.clone()
    others[:7] = 0
    others[9:] = 255
    assert torch.equal(augment(others, ALL, seed=8)[7:9], whole[7:9])
    for part in (slice(0, 3), slice(3, 20)):  # as two processes share a batch
        shared = augment(PHOTOS[part], ALL, 8, part.start)
        assert torch.allclose(shared, whole[part], atol=0.01)
    with torch.autocast("cpu", torch.bfloat16):
        changed = augment(PHOTOS.contiguous(memory_format=torch.channels_last), ALL, seed=8)
    assert torch.equal(changed, whole)
    assert augment(PHOTOS, changing(), seed=1) is PHOTOS  # nothing is copied


def test_one_change_more_leaves_the_draws_of_the_others():
    with_noise = augment(PHOTOS, changing(flip=True, jitter=0.5, erase=0.3), seed=2)
    without = augment(PHOTOS, changing(flip=True, jitter=0.5), seed=2)
    same = [torch.equal(*pair) for pair in zip(with_noise, without, strict=True)]
    assert 0 < same.count(False) < 12


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_changes():
    changed = augment(PHOTOS.cuda(), ALL, seed=1)
    assert changed.is_cuda
    assert float((changed.cpu() - augment(PHOTOS, ALL, seed=1)).abs().mean()) < 0.1


def test_a_flip_mirrors_about_half_and_nothing_else():
    many = photos(200, 28)
    flipped = zip(augment(many, changing(flip=True), seed=1), many, strict=True)
    mirrored, kept = zip(
        *((torch.equal(a, b.flip(2)), torch.equal(a, b)) for a, b in flipped), strict=True
    )
    assert 70 < sum(mirrored) < 130
    assert sum(mirrored) + sum(kept) == len(many)


def test_jitter_moves_a_point_by_what_was_drawn():
    dot = torch.zeros(1, 3, 112, 112)
    dot[:, :, 40, 70] = 255
    for right, down, strength in ((1.0, 0.0, 1.0), (0.25, 0.75, 1.0), (1.0, 0.5, 0.5)):
        moved = jitter_crop(dot, torch.tensor([[right, down, 0.5]]), strength)
        row, column = divmod(int(moved[0, 0].argmax()), 112)
        assert row == 40 + round(32 * (down - 0.5) * strength)
        assert column == 70 + round(32 * (right - 0.5) * strength)
    larger = jitter_crop(dot, torch.tensor([[0.5, 0.5, 1.0]]), 1.0)
    row, column = divmod(int(larger[0, 0].argmax()), 112)
    assert abs(row + 0.5 - (56 + 1.25 * (40.5 - 56))) <= 1
    assert abs(column + 0.5 - (56 + 1.25 * (70.5 - 56))) <= 1
    assert torch.allclose(jitter_crop(PHOTOS, torch.full((20, 3), 0.5), 1.0), PHOTOS, atol=0.02)


def test_brightness_scales_a_flat_photo_and_keeps_its_share_of_contrast():
    flat = torch.full((50, 3, 28, 28), 100.0)
    bright = augment(flat, changing(brightness=1), seed=1)
    assert 50 <= bright.min() < 65
    assert 135 < bright.max() <= 150
    assert float(bright.flatten(1).std(dim=1).max()) < 1e-3  # contrast has nothing to act on


def test_blur_equals_the_stated_convolution():
    sigma = 1.5
    blurred = blur(PHOTOS[:1], torch.tensor([[sigma / 3]]), 1.0)[0, 1].double()
    offsets = torch.arange(-9, 10)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2)).double()
    kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
    for row, column in ((20, 30), (60, 90), (101, 10)):
        around = PHOTOS[0, 1, row - 9 : row + 10, column - 9 : column + 10].double()
        assert float((around * kernel).sum()) == pytest.approx(
            float(blurred[row, column]), abs=0.01
        )
    assert torch.allclose(blur(PHOTOS, torch.zeros(20, 1), 1.0), PHOTOS, atol=1e-3)


@pytest.mark.parametrize("side", [112, 28])
@pytest.mark.parametrize("quality", [20, 50, 95])
def test_jpeg_takes_away_what_pillows_takes_away(quality, side):
    given = photos(4, side)
    ours = jpeg(given, torch.full((4,), quality)) - given
    files = [io.BytesIO() for _ in given]
    for photo, file in zip(given, files, strict=True):
        pixels = photo.byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    restored = np.stack([np.array(Image.open(file)) for file in files])
    theirs = torch.from_numpy(restored).permute(0, 3, 1, 2) - given
    both = torch.stack([ours.flatten(), theirs.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.94
    assert float(ours.std() / theirs.std()) == pytest.approx(1, abs=0.03)


def test_an_erased_rectangle_has_the_papers_size_and_is_noise():
    draws = torch.rand(100, 5, generator=torch.Generator().manual_seed(0))
    grey = torch.full((100, 3, 56, 56), -1.0)
    erased = erase(grey, draws)
    gone = (erased != grey).all(dim=1)
    areas, ratios = [], []
    for mask in gone:
        rows, columns = int(mask.any(dim=1).sum()), int(mask.any(dim=0).sum())
        assert mask.sum() == rows * columns  # one rectangle
        areas.append(float(mask.float().mean()))
        ratios.append(rows / columns)
    assert 0.019 < min(areas) < 0.04 and 0.3 < max(areas) < 0.41
    assert 0.25 < min(ratios) < 0.4 and 2.5 < max(ratios) < 4
    values = erased[erased >= 0]
    assert float(values.mean()) == pytest.approx(127.5, abs=2)
    assert float(values.std()) == pytest.approx(255 / 12**0.5, abs=2)
    shares = augment(grey + 1, changing(erase=0.25), seed=1).flatten(1).any(dim=1).float()
    assert 0.12 < float(shares.mean()) < 0.38


@pytest.mark.parametrize("side", [112, 28])
def test_a_cover_leaves_the_eyes_and_takes_the_mouth(side):
    given = photos(1, side).expand(100, -1, -1, -1)
    draws = torch.rand(100, 12, generator=torch.Generator().manual_seed(2))
    covered = occlude(given, draws)
    eyes = int(EYES_END * side)
    assert torch.equal(covered[:, :, :eyes], given[:, :, :eyes])
    row, column = round(0.9 * side), side // 2
    changed = (covered - given)[:, :, row, column].abs().amax(dim=1) > 2
    assert changed.float().mean() > 0.85  # a hand may lie beside it
    tops = (covered - given).abs().amax(dim=(1, 3)).gt(2).float().argmax(dim=1)
    assert tops.float().std() > side / 40  # no two begin on one line
