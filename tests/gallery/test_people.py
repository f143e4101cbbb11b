"""People can be renamed, merged and shown."""

from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.decisions import Decisions
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.journal import Action
from faceops.gallery.people import (
    current_key,
    keys_of_person,
    locked_people,
    merge,
    rename,
    split,
    unalias,
)
from faceops.gallery.similarity import show
from faceops.gallery.storage import GalleryPlace, crop_path, storage_of
from faceops.gallery.store import Gallery, portraits
from faceops.identification.engine.verdicts import DecidedFaces
from tests.gallery.gallery_files import CONTRACT, FOLDER, SIZE, decide, make_face


def face(person: str, number: int, direction: int, tilt: float = 0.0) -> GalleryFace:
    embedding = np.zeros(4, np.float32)
    embedding[direction], embedding[3] = np.cos(tilt), np.sin(tilt)
    return GalleryFace(
        person, f"{number:064d}", f"{person}/{number}.jpg", (0, 0, 9, 9), 0.9, 0.5, embedding
    )


@pytest.fixture
def gallery(place: GalleryPlace) -> GalleryPlace:
    faces = [
        face("Ann Lee", 1, 0),
        face("Ann Lee", 2, 0, 0.1),
        face("Ann Lee", 3, 1),
        face("Ben", 4, 1, 0.1),
        face("Ben", 3, 1),
    ]
    Gallery(place, CONTRACT, 4).with_faces(faces).save()
    return place


def test_a_renamed_person_keeps_their_faces(gallery):
    assert rename(gallery, "ann-lee", "Ann_Smith") == ("Ann Smith", 3)
    with pytest.raises(FaceOpsError, match="ann_lee was Ann Smith's name before"):
        rename(gallery, "Ben", "ann_lee")
    assert Gallery.open(gallery).people == ["Ann Smith", "Ben"]
    assert rename(gallery, "Ann Smith", "Ann Lee") == ("Ann Lee", 3)
    assert Gallery.open(gallery).aliases == {"ann smith": "Ann Lee"}
    assert rename(gallery, "Ben", "BEN") == ("BEN", 2)  # another spelling
    assert Gallery.open(gallery).people == ["Ann Lee", "BEN"]
    assert Gallery.open(gallery).aliases == {"ann smith": "Ann Lee"}


def test_merged_people_keep_each_face_once_and_without_a_journal_stay_merged(gallery):
    assert merge(gallery, "Ben", "ann lee") == ("Ann Lee", 4)
    now = Gallery.open(gallery)
    assert now.people == ["Ann Lee"]
    assert sorted(one.photo_id[-1] for one in now.faces) == ["1", "2", "3", "4"]
    journal = storage_of(gallery).journal()
    journal.remove([entry.id for entry in journal.entries()])  # as of before there was one
    with pytest.raises(FaceOpsError, match="ben may have been merged before, and that cannot be"):
        split(gallery, "Ann Lee")


def places_of(gallery: GalleryPlace) -> dict[str, list[str]]:
    """Return the numbers of the photos of each person."""
    places: dict[str, list[str]] = {}
    for one in Gallery.open(gallery).faces:
        places.setdefault(one.person, []).append(one.photo_id.lstrip("0"))
    return {person: sorted(numbers) for person, numbers in places.items()}


def confirmed(gallery: GalleryPlace, name: str) -> str:
    """Confirm a face of `name` in another photo than before; return the photo."""
    photo = len(storage_of(gallery).journal().entries()) + 100
    return decide(gallery, Action.CONFIRM, name, photo=photo).photo_id


def name_at(gallery: GalleryPlace, photo: str) -> str:
    decisions = Decisions.load(gallery)
    return decisions.name(decisions.places(photo)[0].person)


def test_a_merge_can_be_undone_with_its_decisions(gallery):
    rename(gallery, "Ben", "Benjamin")
    of_ann, of_ben = confirmed(gallery, "Ann Lee"), confirmed(gallery, "Benjamin")
    before = places_of(gallery)
    merge(gallery, "Benjamin", "Ann Lee", by="eva")
    assert [name_at(gallery, photo) for photo in (of_ann, of_ben)] == ["Ann Lee"] * 2
    later = face("Ann Lee", 7, 0)
    Gallery.open(gallery).with_faces([later]).save()
    assert split(gallery, "ann-lee", by="eva") == ("Benjamin", 1)
    # The face that both had stays with Ann.
    assert places_of(gallery) == {"Ann Lee": [*before["Ann Lee"], "7"], "Benjamin": ["4"]}
    assert [name_at(gallery, photo) for photo in (of_ann, of_ben)] == ["Ann Lee", "Benjamin"]
    assert Gallery.open(gallery).aliases == {"ben": "Benjamin"}
    merge(gallery, "Benjamin", "Ann Lee")
    assert split(gallery, "Ann Lee", "ben") == ("Benjamin", 1)


@FOLDER
def test_one_of_several_merged_people_is_split_off(gallery):
    Gallery.open(gallery).with_faces([face("Cy", 8, 2), face("Di", 9, 2)]).save()
    merge(gallery, "Di", "Cy")
    merge(gallery, "Cy", "Ben")
    merge(gallery, "Ben", "Ann Lee")
    with pytest.raises(FaceOpsError, match=r"several people are Ann Lee; name one .* Ben, Cy, Di"):
        split(gallery, "Ann Lee")
    with pytest.raises(FaceOpsError, match="Eve was not merged into Ann Lee; name one of these"):
        split(gallery, "Ann Lee", "Eve")
    assert split(gallery, "Ann Lee", "Di") == ("Di", 1)
    assert split(gallery, "Ann Lee", "Ben") == ("Ben", 2)
    assert places_of(gallery) == {"Ann Lee": ["1", "2", "3"], "Ben": ["4", "8"], "Di": ["9"]}


@pytest.mark.parametrize(
    ("call", "arguments", "named", "expected"),
    [
        (rename, ("Ben", "Bo"), "Ben", {"Ann Lee": ["1", "2", "3"], "Bo": ["3", "4"]}),
        (merge, ("Ben", "Ann Lee"), "Ann Lee", {"Ann Lee": ["1", "2", "3", "4"]}),
        (split, ("Ann Lee",), "Ann Lee", {"Ann Lee": ["1", "2", "3"], "Ben": ["4"]}),
    ],
)
def test_the_gallery_follows_the_journal_after_a_kill(
    call, arguments, named, expected, gallery, monkeypatch
):
    def killed(changed: Gallery) -> None:
        raise KeyboardInterrupt

    of_ben = confirmed(gallery, "Ben")
    if call is split:
        merge(gallery, "Ben", "Ann Lee")
    before = Gallery.open(gallery)
    monkeypatch.setattr(Gallery, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        call(gallery, *arguments)
    monkeypatch.undo()
    assert Gallery.open(gallery).persons == before.persons
    people = DecidedFaces(Decisions.load(gallery), before)
    place = people._place_of(Decisions.load(gallery).places(of_ben)[0].person)
    assert people.people[place] == named
    entries = storage_of(gallery).journal().entries()
    with locked_people(gallery) as people_now:
        assert people_now.refused == []
    assert places_of(gallery) == expected
    assert storage_of(gallery).journal().entries() == entries
    assert name_at(gallery, of_ben) in expected


@FOLDER
def test_two_people_can_have_one_displayed_name(gallery):
    with pytest.raises(FaceOpsError, match="rename --another-person Ben 'Ann Lee'"):
        rename(gallery, "Ben", "Ann Lee")
    assert rename(gallery, "Ben", "Ann Lee", is_another=True) == ("Ann Lee (2)", 2)
    decisions = Decisions.load(gallery)
    assert decisions.person_id("Ann Lee") != decisions.person_id("Ann Lee (2)")
    assert [decisions.shown_name(name) for name in Gallery.open(gallery).people] == ["Ann Lee"] * 2
    assert rename(gallery, "ann lee (2)", "Ann Lee", is_another=True) == ("Ann Lee (2)", 2)
    assert rename(gallery, "Ann Lee (2)", "Bo") == ("Bo", 2)
    assert Decisions.load(gallery).shown_name("Bo") == "Bo"


@FOLDER
def test_a_freed_name_is_another_person(gallery):
    of_ben = confirmed(gallery, "Ben")
    rename(gallery, "Ben", "Bo")
    unalias(gallery, "Ben")
    Gallery.open(gallery).with_faces([face("Ben", 8, 2)]).save()
    of_other = confirmed(gallery, "Ben")
    assert [name_at(gallery, photo) for photo in (of_ben, of_other)] == ["Bo", "Ben"]
    rename(gallery, "Ann Lee", "Ann")
    assert places_of(gallery) == {"Ann": ["1", "2", "3"], "Ben": ["8"], "Bo": ["3", "4"]}


@FOLDER
def test_a_merge_is_not_undone_while_another_person_has_the_name(gallery):
    merge(gallery, "Ben", "Ann Lee")
    unalias(gallery, "Ben")
    before = storage_of(gallery).journal().entries()
    with pytest.raises(FaceOpsError, match=r"Ben is another person's name now.*rename Ben NAME"):
        split(gallery, "Ann Lee", "Ben")
    assert storage_of(gallery).journal().entries() == before
    rename(gallery, "Ben", "Other Ben")
    assert split(gallery, "Ann Lee", "Ben") == ("Ben", 1)


@FOLDER
def test_people_of_the_journal_only_can_be_renamed_and_merged(gallery):
    photo = confirmed(gallery, "Eve")
    assert rename(gallery, "eve", "Eva") == ("Eva", 0)
    assert merge(gallery, "Eva", "Ben") == ("Ben", 2)
    assert name_at(gallery, photo) == "Ben"


@FOLDER
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
def test_a_refused_change_is_one_sentence_and_changes_nothing(gallery, call, names, kind, sentence):
    before = storage_of(gallery).stamp()
    with pytest.raises(kind, match=sentence):
        call(gallery, *names)  # type: ignore[operator]
    assert storage_of(gallery).stamp() == before


@FOLDER
def test_a_face_that_is_more_like_somebody_else_is_shown_first(gallery):
    person, faces = show(Gallery.open(gallery), "ANN-LEE")
    assert person == "Ann Lee"
    assert [(one.photo, one.is_suspicious) for one in faces] == [
        ("Ann Lee/3.jpg", True),
        ("Ann Lee/1.jpg", False),
        ("Ann Lee/2.jpg", False),
    ]
    assert (faces[0].other, faces[0].other_similarity) == ("Ben", 1.0)
    with pytest.raises(FaceOpsError, match="Nobody is not in the gallery"):
        show(Gallery.open(gallery), "Nobody")


def test_a_portrait_is_the_best_face_of_a_person(tmp_path, monkeypatch):
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


ALIASES = {"ann lee": "A. King", "a king": "Ada", "ben": "Ada", "cleo": "Clea"}


@pytest.mark.parametrize("name", ["Ann_Lee", "a. king", "ADA", "Ben"])
def test_any_name_gives_all_names(name):
    assert current_key(ALIASES, name) == "ada"
    assert keys_of_person(ALIASES, name) == {"ada", "ben", "a king", "ann lee"}


def test_names_of_other_people_are_not_included_and_a_cycle_ends():
    assert keys_of_person(ALIASES, "Clea") == {"clea", "cleo"}
    assert keys_of_person(ALIASES, "Dora") == {"dora"}
    assert current_key({"a": "b", "b": "a"}, "a") in {"a", "b"}
