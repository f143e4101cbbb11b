"""Photos are searched in parts: large ones in tiles, panoramas in segments."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.faces.detector import Detection, Detector
from faceops.faces.find_faces import FaceFinder, find_in_photo
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.tiles import MAX_SEGMENTS, detect_in_segments


def panorama(drawn_faces: np.ndarray, length: int, height: int, side: int) -> tuple:
    """Return pixels (height, length, 3) with faces along them, and where these are."""
    pixels = np.full((height, length, 3), 120, np.uint8)
    places = [
        (int(x), 20 + 37 * number % (height - side - 40))
        for number, x in enumerate(np.linspace(10, length - side - 10, 12))
    ]
    for face, (x, y) in zip(drawn_faces, places, strict=False):
        picture = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
        pixels[y : y + side, x : x + side] = np.asarray(picture)
    return pixels, places


def near(detections: list[Detection], place: tuple[int, int], side: int) -> int:
    """Return how many detections have their centre in the middle of the face at `place`."""
    middle = np.array(place) + side / 2
    boxes = np.array([each.box for each in detections])
    return int((np.abs(boxes[:, :2] + boxes[:, 2:] / 2 - middle) < side / 3).all(axis=1).sum())


@pytest.mark.parametrize(("side", "tall"), [(48, False), (180, True)])
def test_the_faces_of_a_panorama_are_found_once_each(
    detector: Detector,
    refiner: LandmarkRefiner,
    drawn_faces: np.ndarray,
    tmp_path: Path,
    side: int,
    tall: bool,
) -> None:
    pixels, places = panorama(drawn_faces, 9000, 600, side)
    if tall:  # rows of the same faces, upright
        strip = np.full((9000, 600, 3), 120, np.uint8)
        for x, y in places:
            strip[x : x + side, y : y + side] = pixels[y : y + side, x : x + side]
        pixels, places = strip, [(y, x) for x, y in places]
    path = tmp_path / "panorama.jpg"
    Image.fromarray(pixels).save(path, quality=95)
    assert detector.detect(pixels) == []  # what the whole view shows
    found = find_in_photo(path, FaceFinder(detector, refiner, detail=1280))
    detections = [face.detection for face in found.faces]
    assert [near(detections, place, side) for place in places].count(1) >= 11
    assert len(detections) <= 12 and found.photo.size == pixels.shape[1::-1]
    assert [d.score for d in detections] == sorted((d.score for d in detections), reverse=True)


def test_segments_cover_a_panorama_and_their_number_is_bounded() -> None:
    for shape in ((100, 301), (100, 9000), (9000, 100), (16, 60_000)):
        seen, lengths = np.zeros(shape, np.uint8), []

        def search(segment: np.ndarray, seen: np.ndarray = seen, lengths: list = lengths) -> list:
            segment += 1
            lengths.append(max(segment.shape))
            return []

        assert detect_in_segments(search, seen[:, :, None]) == []
        assert seen.min() >= 1 and len(lengths) <= MAX_SEGMENTS
        assert min(lengths) >= 2 * min(shape)
