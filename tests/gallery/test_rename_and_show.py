"""People can be renamed, joined and looked at."""

from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.enrol import enrol
from faceops.gallery.people import merge, rename, show
from faceops.gallery.store import Gallery, GalleryFace
from faceops.release.bundle import Bundle

CONTRACT = "c" * 64


def face(person: str, number: int, direction: int, tilt: float = 0.0) -> GalleryFace:
    embedding = np.zeros(4, np.float32)
    embedding[direction], embedding[3] = np.cos(tilt), np.sin(tilt)
    return GalleryFace(
        person, f"{number:064d}", f"{person}/{number}.jpg", (0, 0, 9, 9), 0.9, 0.5, embedding, b"p"
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
    Gallery.create(tmp_path, CONTRACT, 4).with_faces(faces).save()
    return tmp_path


def test_a_renamed_person_keeps_their_faces(folder: Path) -> None:
    assert rename(folder, "ann-lee", "Ann_Smith") == ("Ann Smith", 3)
    assert Gallery.open(folder).people == ["Ann Smith", "Ben"]
    assert rename(folder, "Ann Smith", "Ann Lee") == ("Ann Lee", 3)
    assert Gallery.open(folder).aliases == {"ann smith": "Ann Lee"}


def test_a_name_that_was_somebody_elses_is_refused(folder: Path) -> None:
    rename(folder, "Ann Lee", "Ann Smith")
    with pytest.raises(FaceOpsError, match="ann_lee was Ann Smith's name before"):
        rename(folder, "Ben", "ann_lee")
    assert Gallery.open(folder).people == ["Ann Smith", "Ben"]


def test_a_spelling_can_be_changed(folder: Path) -> None:
    assert rename(folder, "Ben", "BEN") == ("BEN", 2)
    gallery = Gallery.open(folder)
    assert gallery.people == ["Ann Lee", "BEN"] and gallery.aliases == {}


def test_joined_people_keep_each_face_once(folder: Path) -> None:
    assert merge(folder, "Ben", "ann lee") == ("Ann Lee", 4)
    gallery = Gallery.open(folder)
    assert gallery.people == ["Ann Lee"]
    assert sorted(one.photo_id[-1] for one in gallery.faces) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("call", "names", "kind", "sentence"),
    [
        (rename, ("Nobody", "Eve"), FaceOpsError, "Nobody is not in the gallery"),
        (rename, ("Ben", "ANN_LEE"), FaceOpsError, "Ann Lee is enrolled already.*people merge"),
        (rename, ("Ben", " _ "), UsageError, "is no name"),
        (rename, ("Ben", "a\x07b"), UsageError, "is no name"),
        (merge, ("Ben", "Nobody"), FaceOpsError, "Nobody is not in the gallery"),
        (merge, ("Ben", "BEN"), UsageError, "are one name"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_changes_nothing(
    folder: Path, call: object, names: tuple[str, str], kind: type[Exception], sentence: str
) -> None:
    before = {path.name: path.read_bytes() for path in folder.glob("[!.]*")}
    with pytest.raises(kind, match=sentence):
        call(folder, *names)  # type: ignore[operator]
    assert {path.name: path.read_bytes() for path in folder.glob("[!.]*")} == before


def test_a_face_that_is_more_like_somebody_else_comes_first(folder: Path) -> None:
    person, faces = show(Gallery.open(folder), "ANN-LEE")
    assert person == "Ann Lee"
    assert [(one.photo, one.is_odd) for one in faces] == [
        ("Ann Lee/3.jpg", True),
        ("Ann Lee/1.jpg", False),
        ("Ann Lee/2.jpg", False),
    ]
    assert (faces[0].other, faces[0].other_likeness) == ("Ben", 1.0)
    with pytest.raises(FaceOpsError, match="Nobody is not in the gallery"):
        show(Gallery.open(folder), "Nobody")


def test_enrolling_the_old_folder_again_gives_the_new_name(
    synthetic_set: Path, sface_bundle: Path, tmp_path: Path
) -> None:
    bundle, gallery = Bundle.load(sface_bundle), tmp_path / "g"
    first = enrol(synthetic_set / "enrol", gallery, bundle)
    people = sorted(first.people)
    rename(gallery, people[0], "Ada Lovelace")
    merge(gallery, people[1], "Ada Lovelace")
    again = enrol(synthetic_set / "enrol", gallery, bundle)
    assert (again.enrolled, again.photos_opened) == (0, len(first.flags))
    assert again.aliases == {people[0]: "Ada Lovelace", people[1]: "Ada Lovelace"}
    assert sorted(again.people) == sorted(["Ada Lovelace", *people[2:]])


def test_a_rename_cut_off_between_its_two_files_still_knows_the_earlier_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CutOff(BaseException):
        pass

    def cut_off(path: Path, content: object) -> None:
        raise CutOff

    with monkeypatch.context() as patch, pytest.raises(CutOff):
        patch.setattr("faceops.gallery.store.write_json", cut_off)
        rename(folder, "Ann Lee", "Ann Smith")
    cut = Gallery.open(folder, crops=True)
    assert (cut.people, cut.aliases, cut.whole) == (
        ["Ann Smith", "Ben"],
        {"ann lee": "Ann Smith"},
        False,
    )
    cut.save()
    assert Gallery.open(folder).whole
