"""Each alteration changes a photo as named; the fall of TAR is that of all pairs one by one."""

from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.evaluation.protocols.robustness import (
    ALTERATIONS,
    BRIGHT,
    DARK,
    FAR,
    GLASSES,
    MASK,
    PHOTOS_A_PERSON,
    Altered,
    AlteredFaces,
    PhotoEmbedder,
    choose_rows,
    embed_altered,
    robustness_table,
    rotated,
    same_face,
    shrunk,
)
from faceops.faces.align import TEMPLATE
from faceops.faces.crop_photos import CropSettings
from faceops.faces.detector import Detection
from faceops.faces.find_faces import Face
from faceops.faces.quality import Quality
from faceops.verification.error_rates import interval_figures, resampled_people
from faceops.verification.pairs import codes
from tests.evaluation.simulated import VERIFIER, people

FACES = people(6, 3, 0.35)


def test_the_table_is_that_of_all_pairs_one_by_one():
    embeddings, persons, verifier = FACES.embeddings, FACES.persons, VERIFIER
    draw = np.random.default_rng(2)
    worse = embeddings + 0.3 * draw.normal(size=embeddings.shape).astype(np.float32)
    found = draw.random((1, len(persons))) < 0.8
    altered = AlteredFaces(("worse",), worse[None].astype(np.float32), found)
    cut = 2.0
    unaltered, row = robustness_table(embeddings, persons, altered, verifier, {"": cut}, seed=0)
    hits = misses = false = strangers = before = 0
    for i in range(len(persons)):
        for j in range(len(persons)):
            passes = found[0, i] and verifier.logit(worse[i], embeddings[j]) >= cut
            if persons[i] != persons[j]:
                strangers += 1
                false += passes
            elif i != j:
                hits += passes
                misses += not passes
                before += verifier.logit(embeddings[i], embeddings[j]) >= cut
    assert row["pairs"] == hits + misses
    assert row["tar"] == pytest.approx(hits / (hits + misses))
    assert unaltered["tar"] == pytest.approx(before / (hits + misses))
    assert row["fall"] == pytest.approx(unaltered["tar"] - row["tar"])
    assert row["fall"] > 0
    assert row["false_accept_rate"] == pytest.approx(false / strangers)
    assert row["found"] == pytest.approx(found.mean())
    assert row["fall_interval"]["low"] <= row["fall"] <= row["fall_interval"]["high"]


def test_tar_at_equal_far_is_that_of_all_pairs_in_each_resample():
    faces, draw = people(40, 3, 0.35), np.random.default_rng(3)
    worse = faces.embeddings + 0.5 * draw.normal(size=faces.embeddings.shape).astype(np.float32)
    found, person = draw.random(len(faces)) < 0.9, codes(faces.persons)
    altered = AlteredFaces(("worse",), worse[None], found[None])
    _, row = robustness_table(faces.embeddings, faces.persons, altered, VERIFIER, {}, seed=4)
    same = person[:, None] == person
    scores = np.where(found[:, None], VERIFIER.logit_matrix(worse, faces.embeddings), -np.inf)
    genuine = same & ~np.eye(len(person), dtype=bool)

    def rate(times: np.ndarray) -> float:
        pairs = np.outer(times[person], times[person])[~same]
        order = np.argsort(-scores[~same])
        passing = np.cumsum(pairs[order]) <= FAR * pairs.sum() + 1e-9
        highest_refused = scores[~same][order][~passing][0]
        weight = np.broadcast_to(times[person][:, None], same.shape)[genuine]
        return float(np.average(scores[genuine] > highest_refused, weights=weight))

    assert row["equal_far_tar"] == pytest.approx(rate(np.ones(40)))
    assert 0 < row["equal_far_tar"] < row["found"]
    resampled = np.array([rate(times) for times in resampled_people(40, 4)])
    assert row["equal_far_tar_interval"] == pytest.approx(interval_figures(resampled))


def test_an_alteration_that_changes_nothing_falls_by_nothing_for_certain():
    embeddings, persons, verifier = FACES.embeddings, FACES.persons, VERIFIER
    altered = AlteredFaces(("same",), embeddings[None], np.ones((1, len(persons)), bool))
    first, second = robustness_table(
        embeddings, persons, altered, verifier, {"": 4.0, "release_": np.inf}, seed=0
    )
    assert second["fall"] == 0
    assert second["fall_interval"] == {"low": 0, "high": 0}
    assert second["tar_interval"] == first["tar_interval"]
    assert second["tar_interval"]["low"] < second["tar"] < second["tar_interval"]["high"]
    assert second["equal_far_tar"] == first["equal_far_tar"]
    assert second["release_tar"] == 0  # a threshold that nothing reaches
    assert second["release_threshold_log_odds"] is None


def test_whole_people_are_drawn_with_limited_photos_each():
    persons = np.array(["many"] * 40 + ["two"] * 2 + ["one"] + ["three"] * 3)
    rows = choose_rows(persons, 100, seed=3)
    chosen, counts = np.unique(persons[rows], return_counts=True)
    assert dict(zip(chosen, counts, strict=True)) == {"many": PHOTOS_A_PERSON, "two": 2, "three": 3}
    assert np.array_equal(rows, choose_rows(persons, 100, seed=3))
    assert 2 <= len(choose_rows(persons, 1, seed=3)) <= PHOTOS_A_PERSON
    with pytest.raises(FaceOpsError, match="people with two photos"):
        choose_rows(np.array(["a", "b"]), 10, seed=0)


def face_at(x: float, y: float, side: float = 40) -> Face:
    found = Detection((x, y, side, side), np.zeros((5, 2), np.float32), 0.9)
    return Face(found, Quality(1, 1, 1, 0, side, 1, 0, 1, 1), np.zeros((112, 112, 3), np.uint8))


def test_only_a_face_where_the_face_was_is_the_same():
    before = face_at(100, 100).detection
    half = Altered(np.zeros((9, 9, 3), np.uint8), np.array([[0.5, 0, 0], [0, 0.5, 0]]))
    near, nearer, far = face_at(56, 56, 20), face_at(51, 50, 20), face_at(100, 100, 20)
    assert same_face([far, near, nearer], before, half) is nearer
    assert same_face([far], before, half) is None
    assert same_face([], before, half) is None


def test_embeddings_go_where_the_face_was_found(monkeypatch):
    def alter(path: Path, **_: object) -> list[np.ndarray | None]:
        crops = [np.full((112, 112, 3), number, np.uint8) for number in range(len(ALTERATIONS))]
        return [None if path.name == "b" and number % 2 else c for number, c in enumerate(crops)]

    monkeypatch.setattr("faceops.evaluation.protocols.robustness.alter_photo", alter)
    photos = PhotoEmbedder(
        Path(), None, lambda crops: crops[:, 0, 0, :1] * np.ones((1, 4), np.float32), CropSettings()
    )  # type: ignore[arg-type]
    altered = embed_altered(["a", "b"], photos)
    assert altered.embeddings.shape == (len(ALTERATIONS), 2, 4)
    assert altered.found.all(axis=1).tolist() == [n % 2 == 0 for n in range(len(ALTERATIONS))]
    assert altered.embeddings[3, :, 0].tolist() == [3, 0]


def detection(shift: float = 40.0, scale: float = 1.0) -> Detection:
    landmarks = (TEMPLATE * scale + shift).astype(np.float32)
    side = 80 * scale
    return Detection((shift + 16 * scale, shift + 16 * scale, side, side * 1.2), landmarks, 0.9)


def photo(width: int = 200, height: int = 220) -> np.ndarray:
    """Smooth colours with some texture, as photos have."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    values = np.stack([x % 256, y % 256, (x + y) // 2 % 256], -1)
    noise = np.random.default_rng(0).integers(0, 40, values.shape)
    return np.clip(values * 0.8 + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_leaves_its_input_alone_and_changes_the_photo(name):
    pixels = photo()
    before = pixels.copy()
    altered = ALTERATIONS[name](pixels, detection())
    assert np.array_equal(pixels, before)
    assert altered.pixels.dtype == np.uint8
    assert altered.pixels.shape[2] == 3
    assert altered.pixels.shape != pixels.shape or not np.array_equal(altered.pixels, pixels)
    assert np.array_equal(altered.pixels, ALTERATIONS[name](pixels, detection()).pixels)
    for size in ((1, 1), (1, 9), (7, 3), (33, 17)):  # tiny and odd ones pass through
        altered = ALTERATIONS[name](photo(*size), detection(0.0, 0.05))
        assert min(altered.pixels.shape[:2]) >= 1 and altered.pixels.shape[2] == 3


@pytest.mark.parametrize("degrees", [15, 30, -40, 90])
def test_landmarks_of_a_rotated_photo_are_correct(degrees):
    pixels = np.zeros((101, 143, 3), np.uint8)
    places = np.array([[20.0, 30.0], [120.0, 80.0], [71.0, 50.0]])
    for x, y in places.astype(int):
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
    altered = rotated(pixels, detection(), degrees=degrees)
    for x, y in altered.place(places):
        around = altered.pixels[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4, 0]
        rows, columns = np.indices(around.shape)
        weight = around.astype(float) / around.sum()
        seen = round(x) - 3 + (columns * weight).sum(), round(y) - 3 + (rows * weight).sum()
        assert np.hypot(seen[0] - x, seen[1] - y) < 0.5


def test_a_shrunk_photo_has_a_face_of_the_stated_side_and_never_grows():
    pixels, face = photo(200, 220), detection()
    altered = shrunk(pixels, face, side=32)
    corners = altered.place(np.array([[face.box[0], face.box[1]], [face.box[0] + face.box[2], 0]]))
    assert corners[1, 0] - corners[0, 0] == pytest.approx(32, abs=0.3)
    assert altered.pixels.shape[:2] == (88, 80)
    assert shrunk(pixels, detection(0.0, 0.2), side=32).pixels is pixels


def test_light_colour_and_detail_change_as_named():
    pixels, face = photo(), detection()
    dark, bright, grey, blur, jpeg = (
        ALTERATIONS[name](pixels, face).pixels.astype(float)
        for name in ("dark", "bright", "greyscale", "blur", "jpeg_30")
    )
    np.testing.assert_allclose(dark, pixels * DARK, atol=0.51)
    np.testing.assert_allclose(bright, np.minimum(pixels * BRIGHT, 255), atol=0.51)
    assert np.ptp(grey, axis=2).max() == 0
    np.testing.assert_allclose(grey[..., 0], pixels @ [0.299, 0.587, 0.114], atol=1)
    assert np.abs(np.diff(blur, axis=1)).mean() < 0.5 * np.abs(np.diff(pixels * 1.0, axis=1)).mean()
    assert blur.mean() == pytest.approx(pixels.mean(), abs=0.5)
    assert 1 < np.abs(jpeg - pixels).mean() < 20


@pytest.mark.parametrize("turn", [0, 25])
def test_mask_and_sunglasses_cover_what_they_should_also_of_a_tilted_face(turn):
    turned = rotated(photo(), detection(), degrees=turn)
    landmarks = turned.place(detection().landmarks).astype(np.float32)
    face = Detection((50, 50, 100, 120), landmarks, 0.9)

    def colours(name: str) -> list[tuple[int, ...]]:
        pixels = ALTERATIONS[name](turned.pixels, face).pixels
        return [tuple(pixels[round(y), round(x)].tolist()) for x, y in landmarks]

    masked, shaded = colours("mask"), colours("sunglasses")
    assert [colour == MASK for colour in masked] == [False, False, True, True, True]
    assert [colour == GLASSES for colour in shaded] == [True, True, False, False, False]


def test_landmarks_that_are_no_numbers_cover_nothing():
    face = Detection((0, 0, 50, 50), np.full((5, 2), np.nan, np.float32), 0.9)
    pixels = photo()
    assert np.array_equal(ALTERATIONS["mask"](pixels, face).pixels, pixels)
