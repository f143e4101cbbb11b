"""From photos to faces: refinement, quality, reduced decoding, turns, tiles and segments."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageFilter

from faceops.evaluation.protocols.robustness import ALTERATIONS
from faceops.faces.align import TEMPLATE, align
from faceops.faces.crop_photos import CropSettings, box_crop, choose_face
from faceops.faces.detector import Detection
from faceops.faces.find_faces import (
    MAX_SEGMENTS,
    MAX_TILE,
    OVERLAP,
    PHOTO_SIDE,
    PLACE_SIDE,
    Face,
    FaceFinder,
    detect_in_segments,
    find_in_photo,
    search_in_detail,
    tiles_along,
)
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.quality import Quality, measure, yaw
from faceops.photos.open_photo import open_photo
from faceops.photos.pixels import ORIENTATION


def test_faces_come_with_refined_landmarks_and_aligned_crops(finder, detector, refiner, scene):
    faces = finder.find(scene)
    refined = refiner.refine(scene, detector.search(scene)[0])
    assert len(faces) == len(refined) == 3
    for face, detection in zip(faces, refined, strict=True):
        assert np.array_equal(face.detection.landmarks, detection.landmarks)
        assert np.array_equal(face.crop, align(scene, detection.landmarks))
        assert face.crop.shape == (112, 112, 3) and face.crop.dtype == np.uint8
        assert 0 < face.quality.overall < 1


def test_refining_a_batch_equals_refining_each(detector, refiner, scene):
    detections = detector.search(scene)[0]
    together = refiner.refine(scene, detections)
    for detection, refined in zip(detections, together, strict=True):
        alone = refiner.refine(scene, [detection])[0]
        np.testing.assert_allclose(alone.landmarks, refined.landmarks, atol=1e-2)
        assert refined.box == detection.box and refined.score == detection.score
        eyes = np.linalg.norm(detection.landmarks[1] - detection.landmarks[0])
        moved = np.linalg.norm(refined.landmarks - detection.landmarks, axis=1)
        assert moved.max() < eyes / 2
    for box in ((-50.0, -40.0, 90.0, 90.0), (1e4, 1e4, 50.0, 50.0), (5.0, 5.0, 0.0, 0.0)):
        refined = refiner.refine(scene, [Detection(box, TEMPLATE, 0.9)])[0]  # over the edge
        assert np.isfinite(refined.landmarks).all()
    assert refiner.refine(scene, []) == []


@pytest.mark.parametrize("alteration", ["sunglasses", "mask", "bright"])
def test_landmarks_of_covered_and_overexposed_faces_lie_nearer_than_in_version_1(
    detector, refiner, weights_dir, drawn_faces, alteration
):
    versions = refiner, LandmarkRefiner(weights_dir / "onet.onnx", version=1)
    off = []
    for face in drawn_faces[:30]:
        photo = np.pad(face, ((70, 70), (70, 70), (0, 0)), constant_values=120)
        for seen in detector.search(photo)[0]:
            altered = ALTERATIONS[alteration](photo, seen).pixels
            near = [
                np.linalg.norm(
                    one.refine(altered, [seen])[0].landmarks
                    - one.refine(photo, [seen])[0].landmarks
                )
                for one in versions
            ]
            off.append(near)
    now, before = np.mean(off, axis=0)
    assert len(off) > 25 and now < 0.97 * before


def test_a_face_and_its_mirror_image_have_mirrored_landmarks(refiner, detector, scene):
    detections = detector.search(scene)[0]
    width = scene.shape[1]
    flipped = [
        replace(one, box=(width - one.box[0] - one.box[2], *one.box[1:])) for one in detections
    ]
    squares = ((0.95, 0.0), (0.85, 0.1))
    plain = refiner._see(scene, detections, squares)
    mirrored = refiner._see(scene[:, ::-1], flipped, squares)
    there_and_back = mirrored[[2, 3, 0, 1]][:, :, [1, 0, 2, 4, 3]]
    there_and_back[..., 0] = width - there_and_back[..., 0]
    np.testing.assert_allclose(plain, there_and_back, atol=1.5)
    assert np.abs(plain[0] - plain[1]).max() > 0.01  # another square, other landmarks


def test_version_1_places_landmarks_as_it_always_did(weights_dir, scene):
    once = LandmarkRefiner(weights_dir / "onet.onnx", version=1)
    box = (25.0, 30.0, 100.0, 112.0)
    landmarks = once.refine(scene, [Detection(box, TEMPLATE, 0.9)])[0].landmarks
    expected = [[58.23, 79.76], [92.95, 83.27], [63.18, 105.53], [55.18, 121.11], [85.96, 126.32]]
    np.testing.assert_allclose(landmarks, expected, atol=0.02)


def test_an_overexposed_face_is_seen_with_its_highlights_recovered(
    refiner, weights_dir, detector, scene
):
    once = LandmarkRefiner(weights_dir / "onet.onnx", version=1)
    detections = detector.search(scene)[0]
    clipped = scene.copy()
    clipped[..., 0] = 255  # red alone
    for pixels, same in ((scene, True), (clipped, False)):
        seen = [one._see(pixels, detections, [(0.95, 0.0)])[0] for one in (refiner, once)]
        assert np.allclose(*seen, atol=0.01) == same


def test_the_faces_of_a_crowd_are_refined_as_each_alone(refiner, detector, scene):
    detections = detector.search(scene)[0]
    crowd = refiner.refine(scene, detections * 20)
    for one, alone in zip(crowd, refiner.refine(scene, detections) * 20, strict=True):
        np.testing.assert_allclose(one.landmarks, alone.landmarks, atol=1e-2)


def judge(crop: np.ndarray, detection: Detection) -> Quality:
    return measure(crop, yaw(detection.landmarks), detection.size, detection.score)


def test_quality_falls_with_every_measure(finder, scene):
    face = finder.find(scene)[0]
    best = face.quality
    blurred = np.asarray(Image.fromarray(face.crop).filter(ImageFilter.GaussianBlur(4)))
    worse = {
        "blur": judge(blurred, face.detection),
        "glare": judge(np.minimum(face.crop + 200.0, 255).astype(np.uint8), face.detection),
        "doubt": judge(face.crop, replace(face.detection, score=0.7)),
        "dark": judge((face.crop * 0.1).astype(np.uint8), face.detection),
        "size": judge(face.crop, replace(face.detection, box=(0.0, 0.0, 9.0, 9.0))),
        "flat": judge(np.full((112, 112, 3), 128, dtype=np.uint8), face.detection),
    }
    for what, quality in worse.items():
        assert 0 <= quality.overall < best.overall, what
    assert worse["flat"].overall == 0.0
    assert worse["blur"].sharpness < best.sharpness
    turned = replace(face.detection, landmarks=face.detection.landmarks[[0, 1, 0, 3, 4]])
    assert judge(face.crop, turned).pose == pytest.approx(1.0)
    assert yaw(np.array([[0, 0], [10, 0], [5, 5], [2, 10], [8, 10]], np.float32)) == 0  # in front
    assert [yaw(np.full((5, 2), value, np.float32)) for value in (0, np.nan)] == [1, 1]


def at(x: float, y: float, side: float, score: float = 0.9) -> Face:
    crop = np.zeros((112, 112, 3), dtype=np.uint8)
    detection = Detection((x, y, side, side), TEMPLATE, score)
    return Face(detection, judge(crop, detection), crop)


def test_policies_choose_as_they_say():
    def choose(policy: Literal["largest", "most_central", "skip"], *faces: Face) -> Face | None:
        return choose_face(faces, (200, 200), CropSettings(several_faces=policy, min_face=10))

    central, largest, speck = at(90, 90, 30), at(0, 0, 60), at(150, 150, 5)
    assert choose("largest", largest, central, speck) is largest
    assert choose("most_central", largest, central, speck) is central
    assert choose("skip", largest, central, speck) is None
    assert choose("skip", largest, speck) is largest  # specks do not count
    assert choose("largest", speck) is choose("largest") is None


def test_a_box_crop_shows_what_it_names():
    pixels = np.zeros((100, 200, 3), dtype=np.uint8)
    pixels[25:75, 75:125] = 250
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
    tmp_path, finder, drawn_faces
):
    path = photo_of(tmp_path / "one.jpg", drawn_faces[3], 1200)
    found = find_in_photo(path, finder)
    assert found.photo.pixels.shape == (1500, 2000, 3) and found.photo.size == (4000, 3000)
    (face,) = found.faces
    (full,) = finder.find(open_photo(path).pixels)
    np.testing.assert_allclose(face.detection.box, full.detection.box, atol=20)
    assert face.quality.size_px == pytest.approx(full.quality.size_px, rel=0.02)
    difference = face.crop.astype(int) - full.crop
    assert np.abs(difference).mean() < 4


def test_a_small_face_is_cut_from_all_pixels_of_the_upright_photo(tmp_path, finder, drawn_faces):
    path = photo_of(tmp_path / "one.jpg", drawn_faces[3], 300, orientation=6)
    found = find_in_photo(path, finder)
    assert (found.photo.size, found.photo.orientation) == ((4000, 3000), 6)
    assert found.photo.pixels.shape == (3000, 4000, 3)
    (face,) = found.faces
    x, y, width, height = face.detection.box
    assert 1480 < x < x + width < 1820 and 880 < y < y + height < 1220
    again = finder.crop(open_photo(path).pixels, [face.detection])[0]
    assert np.array_equal(again.crop, face.crop)


def test_detail_finds_what_the_whole_view_misses(tmp_path, detector, refiner, drawn_faces):
    path = photo_of(tmp_path / "one.jpg", drawn_faces[3], 70)
    assert find_in_photo(path, FaceFinder(detector, refiner)).faces == []
    found = find_in_photo(path, FaceFinder(detector, refiner, detail=2560))
    assert len(found.faces) == 1 and found.photo.pixels.shape == (3000, 4000, 3)


def photo_turned(path: Path, face: np.ndarray, degrees: int, width: int = 800) -> Path:
    """Write a photo of 4:3 with the face, turned by `degrees` anticlockwise in pixels."""
    pixels = Image.new("RGB", (800, 600), (120, 130, 110))
    pixels.paste(Image.fromarray(face).resize((300, 300)), (200, 100))
    pixels.resize((width, width * 3 // 4)).rotate(degrees, expand=True).save(path, quality=92)
    return path


@pytest.mark.parametrize(("degrees", "width"), [(90, 800), (180, 800), (270, 4000)])
def test_a_face_that_does_not_stand_upright_is_found_by_turning_the_photo(
    degrees, width, tmp_path, detector, refiner, drawn_faces
):
    finder = FaceFinder(detector, refiner, turns=True)
    upright = find_in_photo(photo_turned(tmp_path / "0.jpg", drawn_faces[3], 0, width), finder)
    path = photo_turned(tmp_path / "1.jpg", drawn_faces[3], degrees, width)
    found = find_in_photo(path, finder)
    assert (upright.turned, found.turned) == (0, degrees)
    (expected,), (face,) = upright.faces, found.faces
    assert face.detection.score == pytest.approx(expected.detection.score, abs=0.03)
    assert np.abs(face.crop.astype(int) - expected.crop).mean() < 6
    # Box and landmarks are those of the photo as it is.
    assert found.photo.size == (upright.photo.size[::-1] if degrees % 180 else upright.photo.size)
    quarters = degrees // 90
    expected = expected.detection.turned_back((4 - quarters) % 4, upright.photo.size)
    np.testing.assert_allclose(face.detection.box, expected.box, atol=width / 80)
    np.testing.assert_allclose(face.detection.landmarks, expected.landmarks, atol=width / 80)
    again = align(open_photo(path).pixels, face.detection.landmarks)
    assert np.abs(again.astype(int) - face.crop).mean() < 6
    assert find_in_photo(path, FaceFinder(detector, refiner)).turned == 0  # as in training


def test_turns_are_tried_only_where_a_face_may_not_stand_upright(
    detector, refiner, scene, monkeypatch
):
    finder, search, sizes = FaceFinder(detector, refiner, turns=True), detector.search, []

    def count(
        pixels: np.ndarray, *, retry: bool = True
    ) -> tuple[list[Detection], Detection | None]:
        sizes.append(max(pixels.shape))
        return search(pixels, retry=retry)

    monkeypatch.setattr(detector, "search", count)
    large = np.asarray(Image.fromarray(scene).resize((840, 600)))
    assert len(finder.detect_turned(large)[0]) == 3 and sizes == [840]
    assert finder.detect_turned(np.full_like(large, 120)) == ([], 0) and sizes == [840, 840]
    assert finder.detect_turned(np.rot90(large))[1] == 3  # one face is found, with a low score
    assert finder.detect_turned(np.rot90(scene, 3))[1] == 1  # none is found
    assert sizes[2:] == [840, 3 * PHOTO_SIDE, 840, 420, 3 * PLACE_SIDE, 420]


def test_a_box_goes_back_from_the_turned_copy():
    photo = np.arange(12).reshape(3, 4)
    for quarters in range(4):
        copy = np.rot90(photo, quarters)
        for (y, x), value in np.ndenumerate(copy):
            found = Detection((x, y, 1, 1), np.array([[x, y]] * 5, np.float32), 0.9)
            back = found.turned_back(quarters, (copy.shape[1], copy.shape[0]))
            left, top, width, height = back.box
            assert photo[top, left] == value and (width, height) == (1, 1)
            assert (back.landmarks == (left, top)).all()


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
    detector, refiner, drawn_faces, tmp_path, side, tall
):
    pixels, places = panorama(drawn_faces, 9000, 600, side)
    if tall:  # rows of the same faces, upright
        strip = np.full((9000, 600, 3), 120, np.uint8)
        for x, y in places:
            strip[x : x + side, y : y + side] = pixels[y : y + side, x : x + side]
        pixels, places = strip, [(y, x) for x, y in places]
    path = tmp_path / "panorama.jpg"
    Image.fromarray(pixels).save(path, quality=95)
    assert detector.search(pixels)[0] == []  # what the whole view shows
    found = find_in_photo(path, FaceFinder(detector, refiner, detail=1280))
    detections = [face.detection for face in found.faces]
    assert [near(detections, place, side) for place in places].count(1) >= 11
    assert len(detections) <= 12 and found.photo.size == pixels.shape[1::-1]
    assert [d.score for d in detections] == sorted((d.score for d in detections), reverse=True)


def test_segments_cover_a_panorama_and_their_number_is_bounded():
    for shape in ((100, 301), (100, 9000), (9000, 100), (16, 60_000)):
        seen, lengths = np.zeros(shape, np.uint8), []

        def search(segment: np.ndarray, seen: np.ndarray = seen, lengths: list = lengths) -> list:
            segment += 1
            lengths.append(max(segment.shape))
            return []

        assert detect_in_segments(search, seen[:, :, None]) == []
        assert seen.min() >= 1 and len(lengths) <= MAX_SEGMENTS
        assert min(lengths) >= 2 * min(shape)


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


def test_small_faces_are_found_once_and_the_large_one_is_not_cut_up(detector, crowd):
    whole = detector.search(crowd)[0]
    assert sum(d.size > 400 for d in whole) == 1 and len(whole) < 10
    found, place = search_in_detail(detector, crowd, 2400)
    seen = [near(found, place, SIDE) for place in places()]
    assert max(seen) == 1 and sum(seen) >= 40
    assert len(found) == 1 + sum(seen)
    scores = [d.score for d in found]
    assert scores == sorted(scores, reverse=True) and place and place.score == scores[0]


def test_a_photo_not_above_the_detectors_size_is_searched_once(finder, detector, crowd, scene):
    wide = np.pad(scene, ((0, 0), (0, 480), (0, 0)))  # 3 : 1, no panorama yet
    for detail, pixels in ((1280, scene), (0, wide), (detector.size, crowd)):
        found, once = finder.at_detail(detail).detect_turned(pixels)[0], detector.search(pixels)[0]
        assert [d.box for d in found] == [d.box for d in once]


@pytest.mark.parametrize("length", [1, 640, 1280, 1281, 2432, 2433, 4000, 9999])
def test_tiles_cover_a_side_and_overlap(length):
    tiles = tiles_along(length, 640)
    assert tiles[0][0] == 0 and tiles[-1][1] == length
    assert all(end - start <= MAX_TILE * 640 for start, end in tiles)
    overlaps = [one[1] - other[0] for one, other in pairwise(tiles)]
    assert all(overlap >= round(OVERLAP * 640) - 1 for overlap in overlaps)
    assert len(tiles) == 1 or (len(tiles) - 1) * 1152 + 128 < length  # no tile too many
