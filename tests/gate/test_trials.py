"""Which photos are compared on; both models search the same galleries.

A photo without a face is a probe that is not named.
"""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.dataset.data_folder import (
    PERSON,
    REVIEWED_FILE,
    STRANGER,
    ReviewedFace,
    write_reviewed,
)
from faceops.evaluation.protocols.album_scores import GalleryDraw
from faceops.gate.trials import (
    NO_FACE,
    FaceTable,
    ModelFigures,
    Outcomes,
    data_sha256,
    draw_trials,
    freeze,
    resampled_weights,
    search,
    touched_by_review,
)
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.verifier import Verifier
from tests.evaluation.simulated import adapting, album_of
from tests.verification.population import VERIFIER as ALBUM_VERIFIER

PEOPLE, PHOTOS, SIZE = 8, 5, 6
VERIFIER = Verifier(np.full(SIZE, -4, np.float32), 2.0, "distance")
# Only what `search` asks thresholds for.
THRESHOLDS = SimpleNamespace(
    default_budget=0.1,
    runner_up_margin=0.4,
    normalisation=None,
    for_search=lambda budget, faces: 0.55,
)


@pytest.fixture
def person() -> np.ndarray:
    return np.repeat(np.arange(PEOPLE), PHOTOS)


@pytest.fixture
def rows(person: np.ndarray) -> np.ndarray:
    """Every seventh photo has no face."""
    found = np.arange(len(person)) % 7 != 3
    return np.where(found, np.cumsum(found) - 1, -1)


def draws_of(person: np.ndarray, rows: np.ndarray) -> list[GalleryDraw]:
    return draw_trials(person, rows >= 0, gallery_photos=2, unknown_share=0.4, seed=1)


def test_only_photos_in_which_both_find_a_face_are_enrolled_all_others_are_probes(person, rows):
    for draw in draws_of(person, rows):
        enrolled, photos = np.unique(person[draw.gallery], return_counts=True)
        assert (rows[draw.gallery] >= 0).all()
        assert (photos == 2).all()
        assert sorted([*draw.gallery, *draw.probes]) == list(range(len(person)))
        assert (draw.known == np.isin(person[draw.probes], enrolled)).all()


def odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def obvious(
    probe: np.ndarray, whose: int, gallery: list[tuple[int, np.ndarray]]
) -> tuple[float, bool, bool]:
    """Return score, right and named of one face against (person, face) of a gallery."""
    best: dict[int, float] = {}
    for one, face in gallery:
        probability = float(VERIFIER.probability(probe[None], face[None])[0])
        best[one] = max(best.get(one, 0.0), probability)
    first, second = sorted(best, key=lambda one: -best[one])[:2]
    lead = odds(best[first]) - odds(best[second])
    return best[first], first == whose, best[first] >= 0.55 and lead >= 0.4


def test_a_search_is_the_obvious_loop(person, rows):
    random = np.random.default_rng(2)
    whose = person[rows >= 0]
    raw = random.normal(size=(PEOPLE, SIZE))[whose] + random.normal(0, 0.5, (len(whose), SIZE))
    table = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    faces = EmbeddedFaces(table, whose.astype(str), np.full(len(whose), ""))
    draws = draws_of(person, rows)
    model = SimpleNamespace(verifier=VERIFIER, thresholds=THRESHOLDS)
    embedded = SimpleNamespace(faces=faces)
    outcomes = search(FaceTable(model, embedded, rows), draws, person)  # type: ignore[arg-type]
    expected = []
    for draw in draws:
        gallery = [(int(person[photo]), table[rows[photo]]) for photo in draw.gallery]
        for probe in draw.probes:
            if rows[probe] < 0:
                expected.append((float(NO_FACE), False, False))
            else:
                expected.append(obvious(table[rows[probe]], int(person[probe]), gallery))
    scores, rights, nameds = zip(*expected, strict=True)
    np.testing.assert_allclose(outcomes.score, scores, atol=1e-5)
    np.testing.assert_array_equal(outcomes.right, rights)
    np.testing.assert_array_equal(outcomes.named, nameds)
    assert 0 < np.mean(nameds) < 1


def test_each_gallerys_probes_are_an_album_and_people_without_a_face_are_no_part_of_it():
    faces = album_of(90, 4, 0.4)
    person = np.repeat(np.arange(90), 4)
    missing = np.arange(len(person)) % 11 == 5
    rows = np.where(missing, -1, np.cumsum(~missing) - 1)
    own = SimpleNamespace(faces=faces.of(~missing))
    named = {}
    for name, known in (("album", adapting().normalisation), ("earlier", None)):
        thresholds = adapting().model_copy(update={"normalisation": known})
        model = SimpleNamespace(verifier=ALBUM_VERIFIER, thresholds=thresholds)
        draws = draws_of(person, rows)[:3]
        found = search(FaceTable(model, own, rows), draws, person)  # type: ignore[arg-type]
        known_probe = np.concatenate([draw.known for draw in draws])
        assert (found.score[missing[np.concatenate([d.probes for d in draws])]] == NO_FACE).all()
        assert (found.named & found.right)[known_probe].mean() > 0.8
        named[name] = found.named[~known_probe].mean()
    assert named["album"] < 0.04 < named["earlier"]  # the budget is 2 %


def test_too_few_people_with_enough_photos_raise_an_error():
    with pytest.raises(FaceOpsError, match=r"2 people have more than 2 photos .* lower gate\.gall"):
        draw_trials(
            np.repeat([0, 1, 2], [3, 3, 1]), np.ones(7, bool),
            gallery_photos=2, unknown_share=0.5, seed=1,
        )  # fmt: skip


MANY, PROBES = 12, 400


@pytest.fixture
def probes() -> tuple[Outcomes, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    person = random.integers(0, MANY, PROBES)
    known = person < 7
    score = random.random(PROBES).round(2).astype(np.float32)  # with ties
    score[::17] = NO_FACE
    right = (random.random(PROBES) < 0.9) & (score >= 0)
    return Outcomes(score, right, (score > 0.8)), person, known


@pytest.mark.parametrize("fpir", [0.01, 0.1, 0.5])
def test_dir_under_weights_is_that_of_probes_written_out_as_often(probes, fpir):
    outcomes, person, known = probes
    weight = np.random.default_rng(4).integers(0, 4, MANY).astype(np.float32)
    rows = np.repeat(np.arange(PROBES), weight[person].astype(int))
    strangers = sorted((outcomes.score[r] for r in rows if not known[r]), reverse=True)
    refused = strangers[int(fpir * len(strangers) + 1e-9)]
    named = [outcomes.right[r] and outcomes.score[r] > refused for r in rows if known[r]]
    figures = ModelFigures(outcomes, person, known)
    assert figures.dir(weight, fpir) == pytest.approx(np.mean(named))


def test_a_photo_without_a_face_is_never_named():
    person = np.array([0, 0, 1, 1])
    known = np.array([True, True, False, False])
    none = np.full(4, NO_FACE, np.float32)
    figures = ModelFigures(Outcomes(none, np.zeros(4, bool), np.zeros(4, bool)), person, known)
    assert figures.dir(np.ones(2, np.float32), 0.9) == 0


def test_every_resample_has_known_people_and_strangers():
    person, known = np.array([0, 1]), np.array([True, False])
    weights = resampled_weights(person, known, 3, 200, 2)
    assert (weights[:, :2] > 0).all()
    assert (weights.sum(1) == 3).all()
    assert len(np.unique(weights, axis=0)) > 1


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Photos of Ada, Bo and Cy, two each, in tmp_path/data."""
    for number, name in enumerate(("Ada/1", "Ada/2", "Bo/1", "Bo/2", "Cy/1", "Cy/2")):
        path = tmp_path / "data" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return tmp_path / "data"


def test_training_people_are_left_out_in_any_spelling(data):
    frozen = freeze(data, ["ada", "Nobody"])
    assert {photo.person for photo in frozen.photos} == {"Bo", "Cy"}
    assert (frozen.people, frozen.left_out) == (2, 1)


def test_each_photo_has_the_source_that_it_was_imported_from(data):
    for person in ("Ada", "Bo", "Cy"):
        (data / "photos").mkdir(exist_ok=True)
        (data / person).rename(data / "photos" / person)
    for name, photos in (("lfw", ("Ada/1", "Cy/2")), ("tree", ("Bo/1",))):
        rows = "".join(f"photos/{photo}.png,there\n" for photo in photos)
        (data / "imported").mkdir(exist_ok=True)
        (data / "imported" / f"{name}.csv").write_text(f"path,origin\n{rows}")
    frozen = freeze(data, ["Bo"])
    found = {p.path: source for p, source in zip(frozen.photos, frozen.sources, strict=True)}
    names = {path.removeprefix("photos/"): source for path, source in found.items()}
    assert names == {"Ada/1.png": "lfw", "Ada/2.png": "", "Cy/1.png": "", "Cy/2.png": "lfw"}


def test_copies_and_photos_of_two_people_are_left_out(data):
    shutil.copy(data / "Bo/1.png", data / "Bo/again.png")
    shutil.copy(data / "Cy/1.png", data / "Ada/cy.png")
    paths = {photo.path for photo in freeze(data, []).photos}
    assert paths == {"Ada/1.png", "Ada/2.png", "Bo/1.png", "Bo/2.png", "Cy/2.png"}


def test_a_copy_of_a_photo_of_a_seen_person_is_left_out(data):
    shutil.copy(data / "Ada/1.png", data / "Bo/ada.png")
    assert {photo.path for photo in freeze(data, ["Ada"]).photos} == {
        *("Bo/1.png", "Bo/2.png", "Cy/1.png", "Cy/2.png")
    }


def test_a_person_with_a_photo_that_was_trained_on_is_left_out(data):
    seen = frozenset({sha256_file(data / "Ada/2.png")})
    frozen = freeze(data, [], seen_photos=seen)
    assert {photo.person for photo in frozen.photos} == {"Bo", "Cy"}
    assert frozen.left_out == 1


def test_whom_a_review_touched_is_left_out_by_name_and_by_photo(data, tmp_path):
    """Ada was confirmed on another photo; a face of Bo's photo was ignored as a stranger's."""
    box, entry = (0.0, 0.0, 4.0, 4.0), "e" * 32
    bo = sha256_file(data / "Bo/2.png")
    faces = [
        ReviewedFace("photos/ada/1.jpg", PERSON, "a" * 64, box, entry),
        ReviewedFace("photos/stranger-1/2.jpg", STRANGER, bo, box, entry),
    ]
    write_reviewed(tmp_path / "other" / REVIEWED_FILE, faces)
    people, photos = touched_by_review([tmp_path / "other", data])
    frozen = freeze(data, people, seen_photos=photos)
    assert {photo.person for photo in frozen.photos} == {"Cy"}
    assert frozen.left_out == 2


def test_the_sha256_depends_on_bytes_and_people_alone(data):
    before = freeze(data, ["Ada"])
    (data / "Bo/1.png").rename(data / "Bo/renamed.png")
    (data / "notes.txt").write_text("nobody's")
    assert freeze(data, ["Ada"]).sha256 == before.sha256
    assert freeze(data, []).sha256 != before.sha256
    assert freeze(data, []).data_sha256 == before.data_sha256 == data_sha256(data)
    (data / "Bo/renamed.png").rename(data / "Cy/1b.png")
    assert freeze(data, ["Ada"]).sha256 != before.sha256


def test_a_folder_that_is_not_as_pinned_is_refused(data):
    pinned = freeze(data, []).data_sha256
    assert freeze(data, ["Ada"], pinned).people == 2
    (data / "Ada/2.png").unlink()
    with pytest.raises(FaceOpsError, match=rf"gate.photos_sha256 pins it: .* not {pinned}"):
        freeze(data, ["Ada"], pinned)
