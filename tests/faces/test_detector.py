"""The detector finds the faces that are there, at every size of photo."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.faces.detector import Detection, Detector
from faceops.faces.symbolic_detector import with_symbolic_size
from faceops.photos.open_photo import open_photo


def covers(detection: Detection, box: tuple[float, float, float, float]) -> bool:
    x, y, w, h = detection.box
    left, top, width, height = box
    middle = left + width / 2, top + height / 2
    return abs(x + w / 2 - middle[0]) < width / 2 and abs(y + h / 2 - middle[1]) < height / 2


def test_recall_on_group_photos(detector: Detector, group_photos: Path) -> None:
    wanted = found = 0
    for listing in ("training.xml", "testing.xml"):
        for image in ElementTree.parse(group_photos / listing).getroot().iter("image"):
            faces = detector.detect(open_photo(group_photos / image.attrib["file"]).pixels)
            for box in image.iter("box"):
                left, top, width, height = (
                    float(box.attrib[key]) for key in ("left", "top", "width", "height")
                )
                wanted += 1
                found += any(covers(face, (left, top, width, height)) for face in faces)
    assert wanted == 43
    assert found / wanted >= 0.95


def test_faces_that_fill_a_small_picture_are_found(
    detector: Detector, drawn_faces: np.ndarray
) -> None:
    assert np.mean([len(detector.detect(face)) == 1 for face in drawn_faces]) >= 0.95


def test_close_ups_that_fill_a_large_photo_are_found(
    detector: Detector, drawn_faces: np.ndarray
) -> None:
    close = [Image.fromarray(face[16:-16, 16:-16]).resize((640, 640)) for face in drawn_faces]
    assert np.mean([len(detector.detect(np.asarray(photo))) > 0 for photo in close]) >= 0.9


def test_every_face_of_a_scene_is_found_where_it_is(detector: Detector, scene: np.ndarray) -> None:
    faces = detector.detect(scene)
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


def test_a_large_photo_is_scaled_down_and_its_boxes_scaled_back(
    detector: Detector, scene: np.ndarray
) -> None:
    small = {face.box[0] // 100: face for face in detector.detect(scene)}
    large = scene.repeat(5, axis=0).repeat(5, axis=1)  # 2,100 pixels wide
    faces = detector.detect(large)
    assert len(faces) == 3
    for face in faces:
        near = small[face.box[0] / 5 // 100]
        np.testing.assert_allclose(np.array(face.box) / 5, near.box, atol=8)
        np.testing.assert_allclose(face.landmarks / 5, near.landmarks, atol=12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (33, 31), (3000, 7), (64, 64)])
def test_photos_of_any_shape_are_taken(detector: Detector, shape: tuple[int, int]) -> None:
    assert detector.detect(np.full((*shape, 3), 127, dtype=np.uint8)) == []


def test_noise_and_views_of_other_arrays_are_taken(detector: Detector, scene: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert len(detector.detect(noise)) <= 1
    assert len(detector.detect(scene[:, ::-1])) == 3


def test_the_same_photo_gives_the_same_floats(detector: Detector, scene: np.ndarray) -> None:
    first, second = detector.detect(scene), detector.detect(scene)
    assert [face.box for face in first] == [face.box for face in second]


def test_freeing_the_size_changes_no_face(weights_dir: Path, detector_bytes: bytes) -> None:
    fixed = (weights_dir / "face_detection_yunet_2023mar.onnx").read_bytes()
    assert with_symbolic_size(fixed) == detector_bytes
    assert with_symbolic_size(detector_bytes) == detector_bytes


def test_a_model_of_fixed_size_is_refused(weights_dir: Path) -> None:
    with pytest.raises(FaceOpsError, match="fixed input"):
        Detector(weights_dir / "face_detection_yunet_2023mar.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_broken_model_is_told_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "detector.onnx"
    path.write_bytes(content)
    for call in (lambda: Detector(path), lambda: Detector(tmp_path / "absent.onnx")):
        with pytest.raises(FaceOpsError, match="cannot be run by ONNX Runtime"):
            call()
    with pytest.raises(FaceOpsError):
        with_symbolic_size(content)
