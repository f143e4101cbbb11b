"""The fall of TAR: the same figures as by going through all pairs one by one."""

from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.evaluation.protocols.alterations import ALTERATIONS, Altered
from faceops.evaluation.protocols.robustness import (
    FAR,
    PHOTOS_A_PERSON,
    AlteredFaces,
    PhotoEmbedder,
    choose_rows,
    embed_altered,
    robustness_table,
    same_face,
)
from faceops.faces.crop_photos import CropSettings
from faceops.faces.detector import Detection
from faceops.faces.find_faces import Face
from faceops.faces.quality import Quality
from faceops.verification.error_rates import interval_figures, resampled_people
from faceops.verification.pairs import codes
from tests.evaluation.simulated import VERIFIER, people

FACES = people(6, 3, 0.35)


def test_the_table_is_that_of_all_pairs_one_by_one() -> None:
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


def test_tar_at_equal_far_is_that_of_all_pairs_in_each_resample() -> None:
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


def test_an_alteration_that_changes_nothing_falls_by_nothing_for_certain() -> None:
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


def test_whole_people_are_drawn_with_limited_photos_each() -> None:
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


def test_only_a_face_where_the_face_was_is_the_same() -> None:
    before = face_at(100, 100).detection
    half = Altered(np.zeros((9, 9, 3), np.uint8), np.array([[0.5, 0, 0], [0, 0.5, 0]]))
    near, nearer, far = face_at(56, 56, 20), face_at(51, 50, 20), face_at(100, 100, 20)
    assert same_face([far, near, nearer], before, half) is nearer
    assert same_face([far], before, half) is None
    assert same_face([], before, half) is None


def test_embeddings_go_where_the_face_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
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
