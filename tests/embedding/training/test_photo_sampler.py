"""Each photo comes once an epoch, in batches of about one size, and a seed decides it all."""

import numpy as np
import pytest

from faceops.embedding.training.samplers import PhotoSampler

PHOTOS = np.flatnonzero(np.arange(40) % 5 > 0)  # 32 of 40


@pytest.mark.parametrize("size", [1, 4, 5, 31, 32, 99])
def test_each_photo_comes_once_in_batches_of_one_size(size: int) -> None:
    sampler = PhotoSampler(PHOTOS, size)
    batches = list(sampler.epoch(np.random.default_rng(0)))
    assert len(batches) == sampler.batches()
    assert sorted(np.concatenate(batches).tolist()) == PHOTOS.tolist()
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_a_seed_gives_the_same_batches_again() -> None:
    first, again, other = (
        np.concatenate(list(PhotoSampler(PHOTOS, 4).epoch(np.random.default_rng(seed))))
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
