"""People can be renamed, merged and shown."""

from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.crops import crop_path
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.people import merge, portraits, rename, show
from faceops.gallery.store import Gallery
from tests.gallery.gallery_files import CONTRACT, SIZE, make_face


def face(person: str, number: int, direction: int, tilt: float = 0.0) -> GalleryFace:
    embedding = np.zeros(4, np.float32)
    embedding[direction], embedding[3] = np.cos(tilt), np.sin(tilt)
    return GalleryFace(
        person, f"{number:064d}", f"{person}/{number}.jpg", (0, 0, 9, 9), 0.9, 0.5, embedding
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    faces = [
        face("Ann Lee", 1, 0),
        face("Ann Lee", 2, 0, 0.1),
        face("Ann Lee", 3, 1),
        face("Ben", 4, 1, 0.1),
        face("Ben", 3, 1),
    ]
    Gallery(tmp_path, CONTRACT, 4).with_faces(faces).save()
    return tmp_path


def test_a_renamed_person_keeps_their_faces(folder: Path) -> None:
    assert rename(folder, "ann-lee", "Ann_Smith") == ("Ann Smith", 3)
    assert Gallery.open(folder).people == ["Ann Smith", "Ben"]
    assert rename(folder, "Ann Smith", "Ann Lee") == ("Ann Lee", 3)
    assert Gallery.open(folder).aliases == {"ann smith": "Ann Lee"}


def test_an_earlier_name_of_another_person_is_refused(folder: Path) -> None:
    rename(folder, "Ann Lee", "Ann Smith")
    with pytest.raises(FaceOpsError, match="ann_lee was Ann Smith's name before"):
        rename(folder, "Ben", "ann_lee")
    assert Gallery.open(folder).people == ["Ann Smith", "Ben"]


def test_a_spelling_can_be_changed(folder: Path) -> None:
    assert rename(folder, "Ben", "BEN") == ("BEN", 2)
    gallery = Gallery.open(folder)
    assert gallery.people == ["Ann Lee", "BEN"] and gallery.aliases == {}


def test_merged_people_keep_each_face_once(folder: Path) -> None:
    assert merge(folder, "Ben", "ann lee") == ("Ann Lee", 4)
    gallery = Gallery.open(folder)
    assert gallery.people == ["Ann Lee"]
    assert sorted(one.photo_id[-1] for one in gallery.faces) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("call", "names", "kind", "sentence"),
    [
        (rename, ("Nobody", "Eve"), FaceOpsError, "Nobody is not in the gallery"),
        (rename, ("Ben", "ANN_LEE"), FaceOpsError, "Ann Lee is enrolled already.*people merge"),
        (rename, ("Ben", "-ANN_LEE-"), FaceOpsError, "people merge -- Ben -ANN_LEE-"),
        (rename, ("Ben", " _ "), UsageError, "' _ ' cannot be a person's name: it has no letter"),
        (rename, ("Ben", "a\x07b"), UsageError, r"invisible character U\+0007 \(a control char"),
        (merge, ("Ben", "Nobody"), FaceOpsError, "Nobody is not in the gallery"),
        (merge, ("Ben", "BEN"), UsageError, "are one name"),
    ],
)
def test_a_refused_change_is_one_sentence_and_changes_nothing(
    folder: Path, call: object, names: tuple[str, str], kind: type[Exception], sentence: str
) -> None:
    before = {path.name: path.read_bytes() for path in folder.glob("[!.]*")}
    with pytest.raises(kind, match=sentence):
        call(folder, *names)  # type: ignore[operator]
    assert {path.name: path.read_bytes() for path in folder.glob("[!.]*")} == before


def test_a_face_that_is_more_like_somebody_else_is_shown_first(folder: Path) -> None:
    person, faces = show(Gallery.open(folder), "ANN-LEE")
    assert person == "Ann Lee"
    assert [(one.photo, one.is_suspicious) for one in faces] == [
        ("Ann Lee/3.jpg", True),
        ("Ann Lee/1.jpg", False),
        ("Ann Lee/2.jpg", False),
    ]
    assert (faces[0].other, faces[0].other_similarity) == ("Ben", 1.0)
    with pytest.raises(FaceOpsError, match="Nobody is not in the gallery"):
        show(Gallery.open(folder), "Nobody")


def test_a_portrait_is_the_best_face_of_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qualities = {"Ann": (0.3, 0.8, 0.5), "Ben": (0.4,)}
    faces = [
        make_face(tmp_path, person, int(quality * 10), quality)
        for person, values in qualities.items()
        for quality in values
    ]
    Gallery(tmp_path, CONTRACT, SIZE).with_faces(faces).save()
    best = crop_path(tmp_path, faces[1].crop_id)
    assert portraits(tmp_path, {"Ann", "Nobody"}) == {"Ann": best.read_bytes()}
    best.unlink()
    assert portraits(tmp_path, {"Ann"}) == {}
    assert portraits(tmp_path / "none", {"Ann"}) == {}
    monkeypatch.setattr(Path, "is_file", lambda _: True)  # it was there a moment before
    assert portraits(tmp_path, {"Ann"}) == {}
