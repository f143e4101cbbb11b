"""The detector finds faces in photos of every size."""

from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.faces.detector import (
    Detection,
    Detector,
    best_overlap,
    box_overlap,
    non_maximum_suppression,
    with_symbolic_size,
)
from faceops.photos.open_photo import open_photo


def centre(box: tuple[float, ...]) -> np.ndarray:
    return np.array(box[:2]) + np.array(box[2:]) / 2


def covers(detection: Detection, box: tuple[float, float, float, float]) -> bool:
    return bool((np.abs(centre(detection.box) - centre(box)) < np.array(box[2:]) / 2).all())


def test_recall_on_group_photos(detector, group_photos):
    wanted = found = 0
    for listing in ("training.xml", "testing.xml"):
        for image in ElementTree.parse(group_photos / listing).getroot().iter("image"):
            faces = detector.search(open_photo(group_photos / image.attrib["file"]).pixels)[0]
            for box in image.iter("box"):
                left, top, width, height = (
                    float(box.attrib[key]) for key in ("left", "top", "width", "height")
                )
                wanted += 1
                found += any(covers(face, (left, top, width, height)) for face in faces)
    assert wanted == 43
    assert found / wanted >= 0.95


def test_an_overexposed_photo_is_searched_again_with_its_highlights_recovered(
    detector, detector_bytes, group_photos
):
    once, found = Detector(detector_bytes, version=1), {1: 0, 2: 0}
    for path in sorted(group_photos.glob("*.jpg")):
        pixels = open_photo(path).pixels
        bright = np.minimum(pixels * 2.2, 255).astype(np.uint8)
        for version, searched in ((1, once), (2, detector)):
            found[version] += len(searched.search(bright)[0])
    assert found[2] >= found[1] + 5


def test_faces_that_fill_a_small_picture_or_a_large_photo_are_found(detector, drawn_faces):
    faces = drawn_faces[:30]
    assert np.mean([len(detector.search(face)[0]) == 1 for face in faces]) >= 0.95
    close = [Image.fromarray(face).resize((640, 640)) for face in faces[:, 16:-16, 16:-16]]
    assert np.mean([len(detector.search(np.asarray(photo))[0]) > 0 for photo in close]) >= 0.9


def test_every_face_of_a_scene_is_found_where_it_is(detector, scene):
    faces = detector.search(scene)[0]
    assert len(faces) == 3
    for place in ((20, 30), (160, 90), (290, 160)):
        assert any(covers(face, (*place, 112, 112)) for face in faces)
    scores = [face.score for face in faces]
    assert scores == sorted(scores, reverse=True) and scores[-1] >= 0.6
    for face in faces:
        x, y, w, h = face.box
        assert face.landmarks.shape == (5, 2) and face.landmarks.dtype == np.float32
        assert ((face.landmarks > (x, y)) & (face.landmarks < (x + w, y + h))).all()
        right_eye, left_eye, _, mouth_left, mouth_right = face.landmarks
        assert right_eye[0] < left_eye[0] and mouth_left[0] < mouth_right[0]
        assert max(right_eye[1], left_eye[1]) < min(mouth_left[1], mouth_right[1])


def test_a_large_photo_is_scaled_down_and_its_boxes_scaled_back(detector, scene):
    small = {face.box[0] // 100: face for face in detector.search(scene)[0]}
    large = scene.repeat(5, axis=0).repeat(5, axis=1)  # 2,100 pixels wide
    faces = detector.search(large)[0]
    assert len(faces) == 3
    for face in faces:
        near = small[face.box[0] / 5 // 100]
        np.testing.assert_allclose(np.array(face.box) / 5, near.box, atol=8)
        np.testing.assert_allclose(face.landmarks / 5, near.landmarks, atol=12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (33, 31), (3000, 7), (64, 64)])
def test_photos_of_any_shape_are_accepted(detector, shape):
    assert detector.search(np.full((*shape, 3), 127, dtype=np.uint8))[0] == []


def test_a_symbolic_size_is_made_deterministically_and_a_fixed_one_is_refused(
    weights_dir, detector_bytes
):
    fixed = weights_dir / "face_detection_yunet_2023mar.onnx"
    for content in (fixed.read_bytes(), detector_bytes):
        assert with_symbolic_size(content) == detector_bytes
    with pytest.raises(FaceOpsError, match="fixed input"):
        Detector(fixed)


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_broken_model_is_refused(tmp_path, content):
    path = tmp_path / "detector.onnx"
    path.write_bytes(content)
    for call in (lambda: Detector(path), lambda: Detector(tmp_path / "absent.onnx")):
        with pytest.raises(FaceOpsError, match="cannot be run by ONNX Runtime"):
            call()
    with pytest.raises(FaceOpsError):
        with_symbolic_size(content)


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.7])
def test_suppression_equals_a_plain_loop(limit):
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.random((80, 2)) * 60, 5 + rng.random((80, 2)) * 40], axis=1)
    scores = np.round(rng.random(80), 1)  # with ties
    kept: list[int] = []
    for index in sorted(range(80), key=lambda i: (-scores[i], i)):
        if all(box_overlap(boxes[index], boxes[other]) <= limit for other in kept):
            kept.append(index)
    assert non_maximum_suppression(boxes, scores, limit).tolist() == kept


def test_the_best_overlap_is_the_first_of_equal_ones_and_none_is_too_small():
    box, half, apart = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 5.0), (50.0, 50.0, 9.0, 9.0)
    assert best_overlap(box, [apart, half, half], 0.5) == 1
    assert best_overlap(box, [half, apart, box], 0.5) == 2
    assert best_overlap(box, [half, apart], 0.51) is None
    assert best_overlap(box, [], 0.1) is None
