"""From photos to faces: refinement, quality, reduced decoding, choice, imports of the package."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from faceops.faces.align import TEMPLATE, align
from faceops.faces.crop_photos import box_crop, center_square, choose_face
from faceops.faces.detector import Detection, Detector
from faceops.faces.find_faces import Face, FaceFinder, find_in_photo
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.quality import Quality, measure, yaw
from faceops.photos.open_photo import open_photo
from faceops.photos.pixels import ORIENTATION


def test_faces_come_with_refined_landmarks_and_aligned_crops(
    finder: FaceFinder, detector: Detector, refiner: LandmarkRefiner, scene: np.ndarray
) -> None:
    faces = finder.find(scene)
    refined = refiner.refine(scene, detector.detect(scene))
    assert len(faces) == len(refined) == 3
    for face, detection in zip(faces, refined, strict=True):
        assert np.array_equal(face.detection.landmarks, detection.landmarks)
        assert np.array_equal(face.crop, align(scene, detection.landmarks))
        assert face.crop.shape == (112, 112, 3) and face.crop.dtype == np.uint8
        assert 0 < face.quality.overall < 1


def test_refining_a_batch_equals_refining_each(
    detector: Detector, refiner: LandmarkRefiner, scene: np.ndarray
) -> None:
    detections = detector.detect(scene)
    together = refiner.refine(scene, detections)
    for detection, refined in zip(detections, together, strict=True):
        alone = refiner.refine(scene, [detection])[0]
        np.testing.assert_allclose(alone.landmarks, refined.landmarks, atol=1e-2)
        assert refined.box == detection.box and refined.score == detection.score
        eyes = np.linalg.norm(detection.landmarks[1] - detection.landmarks[0])
        moved = np.linalg.norm(refined.landmarks - detection.landmarks, axis=1)
        assert moved.max() < eyes / 2


def test_a_box_over_the_edge_is_refined(refiner: LandmarkRefiner, scene: np.ndarray) -> None:
    for box in ((-50.0, -40.0, 90.0, 90.0), (1e4, 1e4, 50.0, 50.0), (5.0, 5.0, 0.0, 0.0)):
        detection = Detection(box, TEMPLATE, 0.9)
        assert np.isfinite(refiner.refine(scene, [detection])[0].landmarks).all()
    assert refiner.refine(scene, []) == []


def judge(crop: np.ndarray, detection: Detection) -> Quality:
    return measure(crop, yaw(detection.landmarks), detection.size)


def test_quality_falls_with_blur_darkness_turn_and_size(
    finder: FaceFinder, scene: np.ndarray
) -> None:
    face = finder.find(scene)[0]
    best = face.quality
    blurred = np.asarray(Image.fromarray(face.crop).filter(ImageFilter.GaussianBlur(4)))
    worse = {
        "blur": judge(blurred, face.detection),
        "dark": judge((face.crop * 0.1).astype(np.uint8), face.detection),
        "turn": judge(
            face.crop, replace(face.detection, landmarks=face.detection.landmarks[[0, 1, 0, 3, 4]])
        ),
        "size": judge(face.crop, replace(face.detection, box=(0.0, 0.0, 9.0, 9.0))),
        "flat": judge(np.full((112, 112, 3), 128, dtype=np.uint8), face.detection),
    }
    for what, quality in worse.items():
        assert 0 <= quality.overall < best.overall, what
    assert worse["flat"].overall == 0.0
    assert worse["blur"].sharpness < best.sharpness
    assert worse["turn"].pose == pytest.approx(1.0)


def test_yaw_is_nothing_in_front_and_all_in_profile() -> None:
    points = np.array([[0, 0], [10, 0], [5, 5], [2, 10], [8, 10]], dtype=np.float32)
    assert yaw(points) == 0.0
    assert yaw(np.zeros((5, 2), np.float32)) == 1.0
    assert yaw(np.full((5, 2), np.nan, np.float32)) == 1.0


def at(x: float, y: float, side: float, score: float = 0.9) -> Face:
    crop = np.zeros((112, 112, 3), dtype=np.uint8)
    detection = Detection((x, y, side, side), TEMPLATE, score)
    return Face(detection, judge(crop, detection), crop)


def test_policies_choose_as_they_say() -> None:
    central, largest, speck = at(90, 90, 30), at(0, 0, 60), at(150, 150, 5)
    faces = [largest, central, speck]
    assert choose_face(faces, 200, 200, "largest", 10) is largest
    assert choose_face(faces, 200, 200, "most_central", 10) is central
    assert choose_face(faces, 200, 200, "skip", 10) is None
    assert choose_face([largest, speck], 200, 200, "skip", 10) is largest  # specks do not count
    assert choose_face([speck], 200, 200, "largest", 10) is None
    assert choose_face([], 200, 200, "largest", 10) is None


def test_box_and_center_crops_show_what_they_name() -> None:
    pixels = np.zeros((100, 200, 3), dtype=np.uint8)
    pixels[25:75, 75:125] = 250
    assert center_square(200, 100, 0.5) == (75, 25, 50)
    assert (box_crop(pixels, (75.0, 25.0, 50.0, 50.0), 0.0) == 250).all()
    wide = box_crop(pixels, (75.0, 25.0, 50.0, 50.0), 0.5)
    assert wide[56, 56, 0] == 250 and wide[5, 5, 0] == 0
    assert box_crop(pixels, (-30.0, -30.0, 40.0, 40.0), 0.2).shape == (112, 112, 3)


def photo_of(path: Path, face: np.ndarray, side: int, orientation: int = 1) -> Path:
    """Write 4000 x 3000 pixels with the face at (1500, 900), stored under an EXIF orientation."""
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
    again = finder.crop(open_photo(path).pixels, [face.detection])[0]
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
