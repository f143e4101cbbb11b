"""What each degradation takes from a photo, and how strong it may be."""

import numpy as np
import pytest
import torch
from PIL import Image

from faceops.config.sections import Train
from faceops.embedding.training.augmentation import augment
from faceops.embedding.training.degradation import (
    add_noise,
    change_exposure,
    cover,
    lower_resolution,
    remove_colour,
)
from tests.embedding.training.test_augmentation import photos


def test_exposure_multiplies_and_clips_and_gamma_bends():
    ramp = torch.linspace(0, 255, 112).expand(5, 3, 112, 112)
    draws = torch.tensor([[0.5, 0.5], [1.0, 0.5], [0.0, 0.5], [0.5, 1.0], [0.75, 0.5]])
    same, bright, dark, bent, weaker = change_exposure(ramp, draws, 1.0)
    assert torch.allclose(same, ramp[0], atol=1e-3)
    assert torch.allclose(bright, (ramp[0] * 2**2.5).clamp(max=255), atol=1e-2)
    assert torch.allclose(dark, ramp[0] / 2**2.5, atol=1e-3)
    assert torch.allclose(bent, 255 * (ramp[0] / 255) ** 2, atol=1e-2)
    assert torch.allclose(weaker, (ramp[0] * 2 ** (2.5 / 4)).clamp(max=255), atol=1e-2)


def test_lower_resolution_equals_pillows_where_it_is_smallest():
    given = photos(2)
    small = lower_resolution(given, torch.ones(2, 1), 1.0)
    picture = Image.fromarray(given[1].permute(1, 2, 0).byte().numpy())
    for side in (20, 112):
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    assert np.abs(small[1].permute(1, 2, 0).numpy() - np.asarray(picture)).mean() < 1
    assert torch.allclose(lower_resolution(given, torch.zeros(2, 1), 1.0), given, atol=1e-3)


def test_noise_has_the_drawn_deviation_and_another_pattern_in_each_photo():
    flat = torch.full((2, 3, 112, 112), 128.0)
    noise = add_noise(flat, torch.tensor([[1.0, 0.2], [0.5, 0.7]]), 1.0) - flat
    assert float(noise[0].std()) == pytest.approx(30, rel=0.03)
    assert float(noise[1].std()) == pytest.approx(7.5, rel=0.03)
    assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 0.05


def test_grey_has_one_value_a_pixel_between_the_three():
    given = photos(6)
    grey = remove_colour(given, torch.rand(6, 3, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 0], grey[:, 2])
    assert (grey <= given.amax(dim=1, keepdim=True) + 0.01).all()
    assert (grey >= given.amin(dim=1, keepdim=True) - 0.01).all()


@pytest.mark.parametrize("side", [112, 28])
def test_about_half_of_the_covers_hide_both_eyes(side):
    given = photos(1, side).expand(200, -1, -1, -1)
    covered = cover(given, torch.rand(200, 12, generator=torch.Generator().manual_seed(1)))
    changed = (covered - given).abs().amax(dim=1) > 2  # (200, H, W)
    row = round(0.46 * side)
    eyes = [changed[:, row, round(column * side)] for column in (0.343, 0.657)]
    assert 0.35 < float((eyes[0] & eyes[1]).float().mean()) < 0.7
    assert 0.03 < float(changed.float().mean()) < 0.25  # of the photo


def test_the_share_that_stays_unaltered_is_not_touched_at_all():
    given = photos(200, 28)
    settings = Train(flip=True, jitter=1, exposure=1, noise=1, unaltered=0.25)
    altered = augment(given, settings, seed=1)
    kept = [torch.equal(*pair) for pair in zip(altered, given, strict=True)]
    assert 30 < sum(kept) < 70
