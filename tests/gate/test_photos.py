"""Which photos champion and challenger are compared on, and their sha256."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.dataset.reviewed import (
    PERSON,
    REVIEWED_FILE,
    STRANGER,
    ReviewedFace,
    write_reviewed,
)
from faceops.gate.photos import data_sha256, freeze, touched_by_review


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Photos of Ada, Bo and Cy, two each, in tmp_path/data."""
    for number, name in enumerate(("Ada/1", "Ada/2", "Bo/1", "Bo/2", "Cy/1", "Cy/2")):
        path = tmp_path / "data" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return tmp_path / "data"


def test_training_people_are_left_out_in_any_spelling(data: Path) -> None:
    frozen = freeze(data, ["ada", "Nobody"])
    assert {photo.person for photo in frozen.photos} == {"Bo", "Cy"}
    assert (frozen.people, frozen.left_out) == (2, 1)


def test_each_photo_has_the_source_that_it_was_imported_from(data: Path) -> None:
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


def test_copies_and_photos_of_two_people_are_left_out(data: Path) -> None:
    shutil.copy(data / "Bo/1.png", data / "Bo/again.png")
    shutil.copy(data / "Cy/1.png", data / "Ada/cy.png")
    paths = {photo.path for photo in freeze(data, []).photos}
    assert paths == {"Ada/1.png", "Ada/2.png", "Bo/1.png", "Bo/2.png", "Cy/2.png"}


def test_a_copy_of_a_photo_of_a_seen_person_is_left_out(data: Path) -> None:
    shutil.copy(data / "Ada/1.png", data / "Bo/ada.png")
    assert {photo.path for photo in freeze(data, ["Ada"]).photos} == {
        *("Bo/1.png", "Bo/2.png", "Cy/1.png", "Cy/2.png"),
    }


def test_a_person_with_a_photo_that_was_trained_on_is_left_out(data: Path) -> None:
    seen = frozenset({sha256_file(data / "Ada/2.png")})
    frozen = freeze(data, [], seen_photos=seen)
    assert {photo.person for photo in frozen.photos} == {"Bo", "Cy"}
    assert frozen.left_out == 1


def test_whom_a_review_touched_is_left_out_by_name_and_by_photo(data: Path, tmp_path: Path) -> None:
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


def test_the_sha256_depends_on_bytes_and_people_alone(data: Path) -> None:
    before = freeze(data, ["Ada"])
    (data / "Bo/1.png").rename(data / "Bo/renamed.png")
    (data / "notes.txt").write_text("nobody's")
    assert freeze(data, ["Ada"]).sha256 == before.sha256
    assert freeze(data, []).sha256 != before.sha256
    assert freeze(data, []).data_sha256 == before.data_sha256 == data_sha256(data)
    (data / "Bo/renamed.png").rename(data / "Cy/1b.png")
    assert freeze(data, ["Ada"]).sha256 != before.sha256


def test_a_folder_that_is_not_as_pinned_is_refused(data: Path) -> None:
    pinned = freeze(data, []).data_sha256
    assert freeze(data, ["Ada"], pinned).people == 2
    (data / "Ada/2.png").unlink()
    with pytest.raises(FaceOpsError, match=rf"gate.photos_sha256 pins it: .* not {pinned}"):
        freeze(data, ["Ada"], pinned)
