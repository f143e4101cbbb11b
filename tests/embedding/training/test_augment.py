"""Augmentation changes pixels, never shape or type, and a generator decides it all."""

import numpy as np

from faceops.embedding.training.augment import augment

CROPS = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), dtype=np.uint8)


def test_without_changes_the_crops_stay_as_they_are() -> None:
    assert np.array_equal(augment(CROPS, np.random.default_rng(0), False, 0), CROPS)


def test_a_flip_mirrors_about_half() -> None:
    flipped = augment(CROPS, np.random.default_rng(1), True, 0)
    mirrored = [np.array_equal(new, old[:, ::-1]) for new, old in zip(flipped, CROPS, strict=True)]
    kept = [np.array_equal(new, old) for new, old in zip(flipped, CROPS, strict=True)]
    assert 0 < sum(mirrored) < len(CROPS)
    assert sum(mirrored) + sum(kept) == len(CROPS)


def test_jitter_shifts_within_its_reach() -> None:
    crop = np.zeros((1, 112, 112, 3), np.uint8)
    crop[0, 56, 56] = 255
    for seed in range(20):
        moved = augment(crop, np.random.default_rng(seed), False, 0.5)
        y, x = np.unravel_index(moved[0, :, :, 0].argmax(), (112, 112))
        assert abs(y - 56) <= 8
        assert abs(x - 56) <= 8
    assert moved.dtype == np.uint8
    assert moved.shape == crop.shape


def test_equal_generators_give_equal_crops() -> None:
    first, second = (augment(CROPS, np.random.default_rng(5), True, 0.4) for _ in range(2))
    assert np.array_equal(first, second)
