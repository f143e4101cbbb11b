"""Alignment takes landmarks to the template, whatever the face's size and turn."""

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from faceops.faces.align import TEMPLATE, align, similarity_transform


def turned(
    points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]
) -> np.ndarray:
    cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
    return points @ np.array([[cosine, sine], [-sine, cosine]]) + shift


def test_the_transform_is_the_least_squares_one():
    """Against the general solver on the four unknowns a, b, x, y."""
    rng = np.random.default_rng(0)
    source = rng.random((5, 2)) * 100
    target = TEMPLATE + rng.normal(0, 3, (5, 2))
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, shift_x, shift_y = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    expected = [[a, -b, shift_x], [b, a, shift_y]]
    np.testing.assert_allclose(similarity_transform(source, target), expected, atol=1e-9)


def middle_of(pixels: np.ndarray) -> np.ndarray:
    """The centre of what is bright, x and y."""
    rows, columns = np.nonzero(pixels[:, :, 0])
    weight = pixels[rows, columns, 0].astype(np.float64)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.6, 9.0])
@pytest.mark.parametrize("angle", [0.0, 0.5, -2.0])
def test_landmarks_arrive_at_the_template(scale, angle):
    """White discs on the landmarks of a black photo have their centres on the template."""
    middle = TEMPLATE.mean(axis=0)
    side = int(170 * scale)
    points = turned(TEMPLATE - middle, angle, scale, (side / 2, side / 2))
    for index in range(5):
        photo = Image.new("L", (side, side))
        x, y = points[index]
        radius = max(3.0 * scale, 1.5)
        ImageDraw.Draw(photo).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        pixels = np.asarray(photo.convert("RGB"))
        crop = align(pixels, points + (middle_of(pixels) - points[index]))
        centre = middle_of(crop)
        np.testing.assert_allclose(centre, TEMPLATE[index], atol=0.25)


def test_a_face_that_is_aligned_already_stays_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    difference = align(pixels, TEMPLATE).astype(int)[1:-1, 1:-1] - pixels[1:-1, 1:-1]
    assert np.abs(difference).max() <= 1


def test_a_large_face_does_not_alias():
    """A fine chequerboard becomes even grey, not a coarse pattern."""
    rows, columns = np.mgrid[:1200, :1200]
    board = ((rows + columns) % 2 * 255).astype(np.uint8)
    crop = align(np.stack([board] * 3, axis=2), TEMPLATE * 10.0)
    assert crop[5:-5, 5:-5].std() < 3 and abs(float(crop.mean()) - 127.5) < 2


def test_what_lies_outside_the_photo_is_black():
    pixels = np.full((112, 112, 3), 200, dtype=np.uint8)
    crop = align(pixels, TEMPLATE - (56, 0))
    assert (crop[:, :54] == 0).all() and (crop[2:-2, 58:-2] >= 199).all()


@pytest.mark.parametrize(
    "landmarks",
    [
        *(np.full((5, 2), value) for value in (0, np.nan, np.inf)),
        np.stack([np.arange(5.0), np.zeros(5)], axis=1),  # on a line
        TEMPLATE[[1, 0, 2, 4, 3]],  # mirrored
        *(TEMPLATE + 1e6, TEMPLATE * 1e-7, TEMPLATE * 1e5, -TEMPLATE),
    ],
)
def test_degenerate_landmarks_give_a_crop_all_the_same(landmarks):
    crop = align(np.full((90, 70, 3), 99, dtype=np.uint8), landmarks.astype(np.float32))
    assert crop.shape == (112, 112, 3) and crop.dtype == np.uint8


def test_the_photos_surroundings_do_not_change_the_crop():
    """Only the pixels of the crop are read: a tile of a large photo gives the same face."""
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    landmarks = np.add(TEMPLATE, (100, 120))
    inner = pixels[40:360, 30:370]
    one = align(pixels, landmarks).astype(int)
    assert np.abs(one - align(inner, landmarks - (30, 40))).max() <= 1  # rounding of coordinates
