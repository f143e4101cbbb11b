"""From pixels to faces: refinement, quality, choice, and what the room may import."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from faceops.faces.align import TEMPLATE, align
from faceops.faces.crop_photos import box_crop, center_crop, choose_face
from faceops.faces.detector import Detection, Detector
from faceops.faces.find_faces import Face, FaceFinder
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.quality import judge, yaw


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


def test_a_photo_without_a_face_gives_none(finder: FaceFinder) -> None:
    assert finder.find(np.zeros((100, 100, 3), dtype=np.uint8)) == []


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
            face.crop,
            replace(face.detection, landmarks=face.detection.landmarks[[0, 1, 0, 3, 4]]),
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
    assert (center_crop(pixels, 0.5) == 250).all()
    assert (box_crop(pixels, (75.0, 25.0, 50.0, 50.0), 0.0) == 250).all()
    wide = box_crop(pixels, (75.0, 25.0, 50.0, 50.0), 0.5)
    assert wide[56, 56, 0] == 250 and wide[5, 5, 0] == 0
    assert box_crop(pixels, (-30.0, -30.0, 40.0, 40.0), 0.2).shape == (112, 112, 3)


def test_photos_and_faces_are_light_to_import() -> None:
    """No torch, onnx or mlflow comes in, except with the module that frees the detector's size."""
    code = """
import importlib, pkgutil, sys
import faceops.faces, faceops.photos
for package in (faceops.photos, faceops.faces):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not module.name.endswith("symbolic_detector"):
            importlib.import_module(module.name)
heavy = {"torch", "torchvision", "onnx", "mlflow", "pandas", "sklearn", "matplotlib", "pillow_heif"}
loaded = sorted(heavy & set(sys.modules))
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)
