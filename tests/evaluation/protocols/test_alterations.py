"""Each alteration changes a photo as its name says, and transforms the landmarks with it."""

import numpy as np
import pytest

from faceops.evaluation.protocols.alterations import (
    ALTERATIONS,
    BRIGHT,
    DARK,
    GLASSES,
    MASK,
    rotated,
    shrunk,
)
from faceops.faces.align import TEMPLATE
from faceops.faces.detector import Detection


def detection(shift: float = 40.0, scale: float = 1.0) -> Detection:
    landmarks = (TEMPLATE * scale + shift).astype(np.float32)
    side = 80 * scale
    return Detection((shift + 16 * scale, shift + 16 * scale, side, side * 1.2), landmarks, 0.9)


def photo(width: int = 200, height: int = 220) -> np.ndarray:
    """Smooth colours with some texture, as photos have."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    values = np.stack([x % 256, y % 256, (x + y) // 2 % 256], -1)
    noise = np.random.default_rng(0).integers(0, 40, values.shape)
    return np.clip(values * 0.8 + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_leaves_its_input_alone_and_changes_the_photo(name: str) -> None:
    pixels = photo()
    before = pixels.copy()
    altered = ALTERATIONS[name](pixels, detection())
    assert np.array_equal(pixels, before)
    assert altered.pixels.dtype == np.uint8
    assert altered.pixels.shape[2] == 3
    assert altered.pixels.shape != pixels.shape or not np.array_equal(altered.pixels, pixels)
    assert np.array_equal(altered.pixels, ALTERATIONS[name](pixels, detection()).pixels)
    for size in ((1, 1), (1, 9), (7, 3), (33, 17)):  # tiny and odd ones pass through
        altered = ALTERATIONS[name](photo(*size), detection(0.0, 0.05))
        assert min(altered.pixels.shape[:2]) >= 1 and altered.pixels.shape[2] == 3


@pytest.mark.parametrize("degrees", [15, 30, -40, 90])
def test_landmarks_of_a_rotated_photo_are_correct(degrees: float) -> None:
    pixels = np.zeros((101, 143, 3), np.uint8)
    places = np.array([[20.0, 30.0], [120.0, 80.0], [71.0, 50.0]])
    for x, y in places.astype(int):
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
    altered = rotated(pixels, detection(), degrees=degrees)
    for x, y in altered.place(places):
        around = altered.pixels[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4, 0]
        rows, columns = np.indices(around.shape)
        weight = around.astype(float) / around.sum()
        seen = round(x) - 3 + (columns * weight).sum(), round(y) - 3 + (rows * weight).sum()
        assert np.hypot(seen[0] - x, seen[1] - y) < 0.5


def test_a_shrunk_photo_has_a_face_of_the_stated_side_and_never_grows() -> None:
    pixels, face = photo(200, 220), detection()
    altered = shrunk(pixels, face, side=32)
    corners = altered.place(np.array([[face.box[0], face.box[1]], [face.box[0] + face.box[2], 0]]))
    assert corners[1, 0] - corners[0, 0] == pytest.approx(32, abs=0.3)
    assert altered.pixels.shape[:2] == (88, 80)
    assert shrunk(pixels, detection(0.0, 0.2), side=32).pixels is pixels


def test_light_colour_and_detail_change_as_named() -> None:
    pixels, face = photo(), detection()
    dark, bright, grey, blur, jpeg = (
        ALTERATIONS[name](pixels, face).pixels.astype(float)
        for name in ("dark", "bright", "greyscale", "blur", "jpeg_30")
    )
    np.testing.assert_allclose(dark, pixels * DARK, atol=0.51)
    np.testing.assert_allclose(bright, np.minimum(pixels * BRIGHT, 255), atol=0.51)
    assert np.ptp(grey, axis=2).max() == 0
    np.testing.assert_allclose(grey[..., 0], pixels @ [0.299, 0.587, 0.114], atol=1)
    assert np.abs(np.diff(blur, axis=1)).mean() < 0.5 * np.abs(np.diff(pixels * 1.0, axis=1)).mean()
    assert blur.mean() == pytest.approx(pixels.mean(), abs=0.5)
    assert 1 < np.abs(jpeg - pixels).mean() < 20


@pytest.mark.parametrize("turn", [0, 25])
def test_mask_and_sunglasses_cover_what_they_should_also_of_a_tilted_face(turn: float) -> None:
    turned = rotated(photo(), detection(), degrees=turn)
    landmarks = turned.place(detection().landmarks).astype(np.float32)
    face = Detection((50, 50, 100, 120), landmarks, 0.9)

    def colours(name: str) -> list[tuple[int, ...]]:
        pixels = ALTERATIONS[name](turned.pixels, face).pixels
        return [tuple(pixels[round(y), round(x)].tolist()) for x, y in landmarks]

    masked, shaded = colours("mask"), colours("sunglasses")
    assert [colour == MASK for colour in masked] == [False, False, True, True, True]
    assert [colour == GLASSES for colour in shaded] == [True, True, False, False, False]


def test_landmarks_that_are_no_numbers_cover_nothing() -> None:
    face = Detection((0, 0, 50, 50), np.full((5, 2), np.nan, np.float32), 0.9)
    pixels = photo()
    assert np.array_equal(ALTERATIONS["mask"](pixels, face).pixels, pixels)
