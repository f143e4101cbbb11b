"""Scenes and encodings; the detector confirms the ground truth."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.dataset.synthetic.encode import png, stored_zlib
from faceops.dataset.synthetic.scenes import plan_scene
from faceops.photos.open_photo import PhotoError, open_photo


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 200_001])
def test_stored_zlib_is_zlib(size: int) -> None:
    import zlib

    content = np.random.default_rng(size).bytes(size)
    assert zlib.decompress(stored_zlib(content)) == content


@pytest.mark.parametrize(
    ("shape", "kind"), [((3, 5), np.uint8), ((3, 5), np.uint16), ((4, 2, 3), np.uint8)]
)
def test_stored_png_is_read_back(shape: tuple[int, ...], kind: type, tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, np.iinfo(kind).max, shape).astype(kind)
    (tmp_path / "a.png").write_bytes(png(pixels))
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_each_person_is_in_a_scene_once_and_inside_it() -> None:
    counts = set()
    for number in range(1, 200):
        scene = plan_scene(7, number, 20, 30)
        people = [(face.group, face.person) for face in scene.faces]
        counts.add(len(people))
        assert len(set(people)) == len(people)
        for face in scene.faces:
            x, y, width, height = face.box()
            assert 0 <= x <= scene.size[0] - width
            assert 0 <= y <= scene.size[1] - height
            assert 85 <= height <= 225
    assert counts == {1, 2, 3, 4, 5}


@pytest.mark.slow
def test_the_detector_finds_the_true_boxes_however_the_photo_is_stored(
    weights_dir: Path, synthetic_set: Path
) -> None:
    from faceops.faces.detector import Detector, with_symbolic_size

    yunet = (weights_dir / "face_detection_yunet_2023mar.onnx").read_bytes()
    detector = Detector(with_symbolic_size(yunet))
    with (synthetic_set / "album_truth.csv").open(newline="") as file:
        truth = list(csv.DictReader(file))
    album = synthetic_set / "album"
    pixels = {name: open_photo(album / name).pixels for name in {row["photo"] for row in truth}}
    boxes = {name: [d.box for d in detector.detect(photo)] for name, photo in pixels.items()}
    found = 0
    for row in truth:
        x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
        found += any(
            bx < x + width / 2 < bx + bw and by < y + height / 2 < by + bh
            for bx, by, bw, bh in boxes[row["photo"]]
        )
    assert found >= 0.95 * len(truth)
    upright = pixels["odd/orientation_1.jpg"].astype(int)
    for orientation in range(2, 9):
        other = pixels[f"odd/orientation_{orientation}.jpg"]
        assert np.abs(other - upright).mean() < 1
    for name in ("truncated.jpg", "empty.jpg", "text.jpg", "garbage.png", "huge.png", "note.txt"):
        with pytest.raises(PhotoError):
            open_photo(album / "odd" / name)
