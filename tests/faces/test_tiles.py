"""Tiles find the small faces of large photos, once, and leave the whole view's faces alone."""

import numpy as np
import pytest
from PIL import Image

from faceops.faces.detector import Detection, Detector
from faceops.faces.tiles import OVERLAP, detect_in_tiles, tile_starts

SIDE = 56  # of a face in a photo of 2400 pixels: 15 in the whole view


@pytest.fixture(scope="module")
def crowd(drawn_faces: np.ndarray) -> np.ndarray:
    """uint8 (1800, 2400, 3): 48 small faces on grey, and a large one."""
    pixels = np.full((1800, 2400, 3), 120, np.uint8)
    for number, (x, y) in enumerate(places()):
        face = Image.fromarray(drawn_faces[number]).resize((SIDE, SIDE), Image.Resampling.BOX)
        pixels[y : y + SIDE, x : x + SIDE] = np.asarray(face)
    large = Image.fromarray(drawn_faces[50]).resize((900, 900), Image.Resampling.BICUBIC)
    pixels[800:1700, 1300:2200] = np.asarray(large)
    return pixels


def places() -> list[tuple[int, int]]:
    return [(40 + 290 * column, 30 + 120 * row) for row in range(6) for column in range(8)]


def centre(detection: Detection) -> tuple[float, float]:
    x, y, width, height = detection.box
    return x + width / 2, y + height / 2


def test_small_faces_are_found_once_and_the_large_one_is_not_cut_up(
    detector: Detector, crowd: np.ndarray
) -> None:
    whole = detector.detect(crowd)
    assert sum(d.size > 400 for d in whole) == 1 and len(whole) < 10
    added = detect_in_tiles(detector, crowd, 2400, whole)
    found = whole + added
    near = [
        sum(
            abs(centre(d)[0] - x - SIDE / 2) < SIDE / 2
            and abs(centre(d)[1] - y - SIDE / 2) < SIDE / 2
            for d in found
        )
        for x, y in places()
    ]
    assert max(near) == 1 and sum(near) >= 40
    assert len(found) == 1 + sum(near)
    scores = [d.score for d in added]
    assert scores == sorted(scores, reverse=True)


def test_a_photo_no_larger_than_a_tile_has_no_tiles(
    detector: Detector, crowd: np.ndarray, scene: np.ndarray
) -> None:
    assert detect_in_tiles(detector, scene, 1280, []) == []
    assert detect_in_tiles(detector, crowd, detector.size, []) == []


@pytest.mark.parametrize("length", [1, 640, 641, 900, 1152, 1153, 4000, 9999])
def test_tiles_cover_a_side_and_overlap(length: int) -> None:
    starts = tile_starts(length, 640)
    assert starts[0] == 0 and starts[-1] == max(0, length - 640)
    gaps = np.diff(starts)
    assert (gaps <= round(640 * (1 - OVERLAP))).all() and (gaps > 0).all()
