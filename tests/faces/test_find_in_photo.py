"""A large photo is decoded no further than its faces need, and they lie where they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.faces.detector import Detector
from faceops.faces.find_faces import FaceFinder, find_in_photo
from faceops.faces.landmarks import LandmarkRefiner
from faceops.photos.open_photo import open_photo

ORIENTATION = 0x0112


def photo_of(path: Path, face: np.ndarray, side: int, orientation: int = 1) -> Path:
    """Write 4000 x 3000 pixels with the face at (1500, 900), stored as the camera was held."""
    pixels = Image.new("RGB", (4000, 3000), (120, 130, 110))
    picture = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
    pixels.paste(picture, (1500, 900))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = pixels.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else pixels
    stored.save(path, exif=exif, quality=92)
    return path


def test_a_large_face_is_cut_from_a_reduced_photo_and_is_the_same_face(
    tmp_path: Path, finder: FaceFinder, drawn_faces: np.ndarray
) -> None:
    path = photo_of(tmp_path / "one.jpg", drawn_faces[3], 1200)
    found = find_in_photo(path, finder)
    assert found.photo.pixels.shape == (1500, 2000, 3) and found.photo.size == (4000, 3000)
    (face,) = found.faces
    (full,) = finder.find(open_photo(path).pixels)
    np.testing.assert_allclose(face.detection.box, full.detection.box, atol=20)
    assert face.quality.size_px == pytest.approx(full.quality.size_px, rel=0.02)
    difference = face.crop.astype(int) - full.crop
    assert np.abs(difference).mean() < 4


def test_a_small_face_is_cut_from_all_pixels(
    tmp_path: Path, finder: FaceFinder, drawn_faces: np.ndarray
) -> None:
    path = photo_of(tmp_path / "one.jpg", drawn_faces[3], 300)
    found = find_in_photo(path, finder)
    assert found.photo.pixels.shape == (3000, 4000, 3)
    (face,) = found.faces
    x, y, width, height = face.detection.box
    assert 1480 < x < x + width < 1820 and 880 < y < y + height < 1220
    again = finder.cut(open_photo(path).pixels, [face.detection])[0]
    assert np.array_equal(again.crop, face.crop)


def test_boxes_are_those_of_the_upright_photo(
    tmp_path: Path, finder: FaceFinder, drawn_faces: np.ndarray
) -> None:
    upright = find_in_photo(photo_of(tmp_path / "1.jpg", drawn_faces[3], 1200), finder)
    turned = find_in_photo(photo_of(tmp_path / "6.jpg", drawn_faces[3], 1200, 6), finder)
    assert turned.photo.size == (4000, 3000) and turned.photo.orientation == 6
    np.testing.assert_allclose(
        turned.faces[0].detection.box, upright.faces[0].detection.box, atol=20
    )


def test_detail_finds_what_the_whole_view_misses(
    tmp_path: Path, detector: Detector, refiner: LandmarkRefiner, drawn_faces: np.ndarray
) -> None:
    path = photo_of(tmp_path / "one.jpg", drawn_faces[3], 70)
    assert find_in_photo(path, FaceFinder(detector, refiner)).faces == []
    found = find_in_photo(path, FaceFinder(detector, refiner, detail=2560))
    assert len(found.faces) == 1 and found.photo.pixels.shape == (3000, 4000, 3)
