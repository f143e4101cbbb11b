"""What a network sees of a crop equals torch's own resize and the published brightness."""

import pytest
import torch
import torch.nn.functional as F

from faceops.base.errors import FaceOpsError
from faceops.embedding.embedder import ClippedHighlights, InputStage

PIXELS = torch.randint(0, 256, (2, 3, 112, 112), generator=torch.Generator().manual_seed(0)).float()


def test_plain_crops_are_scaled_only():
    assert torch.equal(InputStage()(PIXELS), (PIXELS - 127.5) / 128)


def test_only_overexposed_crops_with_colour_change():
    bright = (PIXELS * 2.2).clamp_max(255)
    grey = bright.amax(dim=1, keepdim=True).expand_as(bright)
    background = PIXELS.clone()
    background[:, :, :28] = 255
    crops = torch.cat([PIXELS, bright, grey, background])
    expected = torch.cat([PIXELS, (bright + bright.amin(1, keepdim=True)) / 2, grey, background])
    found = ClippedHighlights()(crops)
    assert torch.equal(found, expected)
    assert not torch.equal(found, crops)


@pytest.mark.parametrize("size", [1, 31, 64, 80, 111, 113, 160, 224])
def test_resizing_equals_antialiased_interpolation(size):
    # In float64: torch rounds its weights to 2e-3 of 255 in float32, at sizes near the crop's.
    expected = F.interpolate(PIXELS.double(), (size, size), mode="bilinear", antialias=True)
    found = InputStage(size)(PIXELS) * 128 + 127.5
    assert found.shape == (2, 3, size, size)
    assert (found - expected).abs().max() < 1e-4  # of 255


def test_grey_is_the_brightness_of_itu_r_601():
    red, green, blue = PIXELS.unbind(1)
    expected = (0.299 * red + 0.587 * green + 0.114 * blue).double()
    found = InputStage(112, "grey")(PIXELS) * 128 + 127.5
    assert found.shape == (2, 1, 112, 112)
    assert (found[:, 0] - expected).abs().max() < 1e-4
    small = InputStage(80, "grey")(PIXELS) * 128 + 127.5
    resized = F.interpolate(expected[:, None], (80, 80), mode="bilinear", antialias=True)
    assert (small - resized).abs().max() < 1e-4


def test_half_precision_around_it_rounds_no_pixel():
    stage = InputStage(80)
    assert not stage.state_dict()  # nothing that a stored model could lack
    with torch.autocast("cpu", torch.bfloat16):
        found = stage(PIXELS)
    assert torch.equal(found, stage(PIXELS))


def test_an_unknown_colour_is_refused():
    with pytest.raises(FaceOpsError, match=r"train.colour = 'sepia' is unknown"):
        InputStage(112, "sepia")
