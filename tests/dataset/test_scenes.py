"""Scenes: rotation equals a plain loop, and the detector confirms the ground truth."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.dataset.synthetic.encode import png, stored_zlib
from faceops.dataset.synthetic.generator import turned
from faceops.dataset.synthetic.scenes import plan_scene
from faceops.photos.open_photo import PhotoError, open_photo


def turned_by_loops(tile: np.ndarray, degrees: float) -> np.ndarray:
    """Turn by one pixel at a time, in floating point."""
    side = tile.shape[0]
    middle = (side - 1) / 2
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    out = np.zeros_like(tile)
    for row in range(side):
        for column in range(side):
            dx, dy = column - middle, row - middle
            x = min(max(middle + dx * cosine + dy * sine, 0), side - 1)
            y = min(max(middle + dy * cosine - dx * sine, 0), side - 1)
            left, top = min(int(x), side - 2), min(int(y), side - 2)
            fx, fy = x - left, y - top
            corner = tile[top : top + 2, left : left + 2].astype(float)
            upper = corner[0, 0] * (1 - fx) + corner[0, 1] * fx
            lower = corner[1, 0] * (1 - fx) + corner[1, 1] * fx
            out[row, column] = np.round(upper * (1 - fy) + lower * fy)
    return out


@pytest.mark.parametrize("degrees", [-12, -3, 0, 7, 12, 90])
def test_fixed_point_rotation_equals_a_loop(degrees: int) -> None:
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((40, 40), Image.Resampling.BICUBIC))
    difference = turned(smooth, degrees).astype(int) - turned_by_loops(smooth, degrees)
    assert np.abs(difference).max() <= 1


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
    from faceops.faces.detector import Detector
    from faceops.faces.symbolic_detector import with_symbolic_size

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
