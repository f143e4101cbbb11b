"""People can be renamed, merged and shown."""

from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.crops import crop_path
from faceops.gallery.decisions import Decisions
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.follow import locked_people
from faceops.gallery.journal import Action, Journal
from faceops.gallery.people import merge, portraits, rename, show, split, unalias
from faceops.gallery.store import Gallery
from faceops.identification.engine.verdicts import DecidedFaces
from tests.gallery.gallery_files import CONTRACT, SIZE, decide, make_face


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


def places_of(folder: Path) -> dict[str, list[str]]:
    """Return the numbers of the photos of each person."""
    places: dict[str, list[str]] = {}
    for one in Gallery.open(folder).faces:
        places.setdefault(one.person, []).append(one.photo_id.lstrip("0"))
    return {person: sorted(numbers) for person, numbers in places.items()}


def confirmed(folder: Path, name: str) -> str:
    """Confirm a face of `name` in another photo than before; return the photo."""
    photo = len(Journal(folder).entries()) + 100
    return decide(folder, Action.CONFIRM, name, photo=photo).photo_id


def name_at(folder: Path, photo: str) -> str:
    decisions = Decisions.load(folder)
    return decisions.name(decisions.places(photo)[0].person)


def test_a_merge_can_be_undone_with_its_decisions(folder: Path) -> None:
    rename(folder, "Ben", "Benjamin")
    of_ann, of_ben = confirmed(folder, "Ann Lee"), confirmed(folder, "Benjamin")
    before = places_of(folder)
    merge(folder, "Benjamin", "Ann Lee", by="eva")
    assert [name_at(folder, photo) for photo in (of_ann, of_ben)] == ["Ann Lee"] * 2
    later = face("Ann Lee", 7, 0)
    Gallery.open(folder).with_faces([later]).save()
    assert split(folder, "ann-lee", by="eva") == ("Benjamin", 1)
    # The face that both had stays with Ann.
    assert places_of(folder) == {"Ann Lee": [*before["Ann Lee"], "7"], "Benjamin": ["4"]}
    assert [name_at(folder, photo) for photo in (of_ann, of_ben)] == ["Ann Lee", "Benjamin"]
    assert Gallery.open(folder).aliases == {"ben": "Benjamin"}
    merge(folder, "Benjamin", "Ann Lee")
    assert split(folder, "Ann Lee", "ben") == ("Benjamin", 1)


def test_one_of_several_merged_people_is_split_off(folder: Path) -> None:
    Gallery.open(folder).with_faces([face("Cy", 8, 2), face("Di", 9, 2)]).save()
    merge(folder, "Di", "Cy")
    merge(folder, "Cy", "Ben")
    merge(folder, "Ben", "Ann Lee")
    with pytest.raises(FaceOpsError, match=r"several people are Ann Lee; name one .* Ben, Cy, Di"):
        split(folder, "Ann Lee")
    with pytest.raises(FaceOpsError, match="Eve was not merged into Ann Lee; name one of these"):
        split(folder, "Ann Lee", "Eve")
    assert split(folder, "Ann Lee", "Di") == ("Di", 1)
    assert split(folder, "Ann Lee", "Ben") == ("Ben", 2)
    assert places_of(folder) == {"Ann Lee": ["1", "2", "3"], "Ben": ["4", "8"], "Di": ["9"]}


def test_a_merge_before_there_was_a_journal_cannot_be_undone(folder: Path) -> None:
    merge(folder, "Ben", "Ann Lee")
    (folder / "decisions.sqlite").unlink()
    with pytest.raises(FaceOpsError, match="ben may have been merged before, and that cannot be"):
        split(folder, "Ann Lee")


@pytest.mark.parametrize("change", ["rename", "merge", "split"])
def test_the_gallery_follows_the_journal_after_a_kill(
    change: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(gallery: Gallery) -> None:
        raise KeyboardInterrupt

    of_ben = confirmed(folder, "Ben")
    if change == "split":
        merge(folder, "Ben", "Ann Lee")
    before = Gallery.open(folder)
    monkeypatch.setattr(Gallery, "save", killed)
    calls = {
        "rename": lambda: rename(folder, "Ben", "Bo"),
        "merge": lambda: merge(folder, "Ben", "Ann Lee"),
        "split": lambda: split(folder, "Ann Lee"),
    }
    with pytest.raises(KeyboardInterrupt):
        calls[change]()
    monkeypatch.undo()
    assert Gallery.open(folder).persons == before.persons
    people = DecidedFaces(Decisions.load(folder), before)
    named = people.people[people._place_of(Decisions.load(folder).places(of_ben)[0].person)]
    assert named == {"rename": "Ben", "merge": "Ann Lee", "split": "Ann Lee"}[change]
    expected = {
        "rename": {"Ann Lee": ["1", "2", "3"], "Bo": ["3", "4"]},
        "merge": {"Ann Lee": ["1", "2", "3", "4"]},
        "split": {"Ann Lee": ["1", "2", "3"], "Ben": ["4"]},
    }[change]
    entries = Journal(folder).entries()
    with locked_people(folder) as people_now:
        assert people_now.refused == []
    assert places_of(folder) == expected
    assert Journal(folder).entries() == entries
    assert name_at(folder, of_ben) in expected


def test_two_people_can_have_one_displayed_name(folder: Path) -> None:
    with pytest.raises(FaceOpsError, match="rename --another-person Ben 'Ann Lee'"):
        rename(folder, "Ben", "Ann Lee")
    assert rename(folder, "Ben", "Ann Lee", is_another=True) == ("Ann Lee (2)", 2)
    decisions = Decisions.load(folder)
    assert decisions.person_id("Ann Lee") != decisions.person_id("Ann Lee (2)")
    assert [decisions.shown_name(name) for name in Gallery.open(folder).people] == ["Ann Lee"] * 2
    assert rename(folder, "ann lee (2)", "Ann Lee", is_another=True) == ("Ann Lee (2)", 2)
    assert rename(folder, "Ann Lee (2)", "Bo") == ("Bo", 2)
    assert Decisions.load(folder).shown_name("Bo") == "Bo"


def test_a_freed_name_is_another_person(folder: Path) -> None:
    of_ben = confirmed(folder, "Ben")
    rename(folder, "Ben", "Bo")
    unalias(folder, "Ben")
    Gallery.open(folder).with_faces([face("Ben", 8, 2)]).save()
    of_other = confirmed(folder, "Ben")
    assert [name_at(folder, photo) for photo in (of_ben, of_other)] == ["Bo", "Ben"]
    rename(folder, "Ann Lee", "Ann")
    assert places_of(folder) == {"Ann": ["1", "2", "3"], "Ben": ["8"], "Bo": ["3", "4"]}


def test_a_merge_is_not_undone_while_another_person_has_the_name(folder: Path) -> None:
    merge(folder, "Ben", "Ann Lee")
    unalias(folder, "Ben")
    before = Journal(folder).entries()
    with pytest.raises(FaceOpsError, match=r"Ben is another person's name now.*rename Ben NAME"):
        split(folder, "Ann Lee", "Ben")
    assert Journal(folder).entries() == before
    rename(folder, "Ben", "Other Ben")
    assert split(folder, "Ann Lee", "Ben") == ("Ben", 1)


def test_people_of_the_journal_only_can_be_renamed_and_merged(folder: Path) -> None:
    photo = confirmed(folder, "Eve")
    assert rename(folder, "eve", "Eva") == ("Eva", 0)
    assert merge(folder, "Eva", "Ben") == ("Ben", 2)
    assert name_at(folder, photo) == "Ben"


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}


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
    before = content_of(folder)
    with pytest.raises(kind, match=sentence):
        call(folder, *names)  # type: ignore[operator]
    assert content_of(folder) == before


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
