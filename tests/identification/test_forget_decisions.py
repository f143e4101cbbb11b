"""A forgotten person is gone from the journal of decisions too."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry, Ignored, Journal
from faceops.gallery.outputs import remember_output
from faceops.gallery.people import merge, rename, split, unalias
from faceops.gallery.storage import storage_of
from faceops.gallery.store import Gallery
from faceops.identification.forget.forget import forget_person
from faceops.identification.forget.traces import mentions, search_traces
from tests.gallery.gallery_files import decide, make_gallery

BESIDE = (90.0, 10.0, 40.0, 50.0)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    make_gallery(tmp_path / "g", [("Ann Lee", 1), ("Ben", 2), ("Ben", 3)])
    return tmp_path / "g"


def undo(gallery: Path, entry: Entry) -> Entry:
    return storage_of(gallery).journal().append([Entry(Action.UNDO, detail=entry.id)])[0]


def kept(gallery: Path) -> list[tuple[str, str, str]]:
    """Return action, person and detail of all entries."""
    decisions = Decisions.load(gallery)
    return [
        (entry.action, decisions.name(entry.person), entry.detail)
        for entry in decisions.entries.values()
    ]


def assert_gone(gallery: Path, *texts: str) -> None:
    content = storage_of(gallery).journal().path.read_bytes()
    assert not [text for text in texts if text.encode() in content]


def test_every_entry_about_the_person_is_removed(gallery):
    enrolled = Gallery.open(gallery).faces[0]
    person = Decisions.load(gallery).person_id("Ann Lee")
    decide(gallery, Action.CONFIRM, "Ann Lee")
    decide(gallery, Action.REFUSE, "Ben")  # about the same face
    ignoring = decide(gallery, Action.IGNORE, photo=1, box=enrolled.box, detail=Ignored.NEVER_ASK)
    undo(gallery, undo(gallery, ignoring))
    refusing = decide(gallery, Action.REFUSE, "Ann Lee", box=BESIDE)
    undo(gallery, refusing)
    other = decide(gallery, Action.CONFIRM, "Ben", box=BESIDE)
    rename(gallery, "Ann Lee", "Ann King")
    merge(gallery, "Ben", "Ann King")
    split(gallery, "Ann King")
    done = forget_person(gallery, "ann lee")
    assert done.complete and done.gallery_faces == 1 and done.decisions == 11
    assert kept(gallery) == [("name", "Ben", "Ben"), ("confirm", "Ben", "")]
    assert Decisions.load(gallery).places(other.photo_id)[0].person == other.person
    assert_gone(gallery, "Ann Lee", "Ann King", person)
    with pytest.raises(FaceOpsError, match="Ann Lee is not in the gallery"):
        forget_person(gallery, "Ann Lee")


def test_links_of_photos_go_with_the_last_decision_about_them(gallery):
    digest = "{:064x}".format
    decide(gallery, Action.CONFIRM, "Ann Lee", photo=20)
    decide(gallery, Action.CONFIRM, "Ann Lee", photo=30)
    decide(gallery, Action.CONFIRM, "Ben", photo=30, box=BESIDE)
    for now, was in ((21, 20), (22, 21), (31, 30), (32, 31)):
        link = Entry(Action.SAME, digest(now), size=(200, 100), detail=digest(was))
        storage_of(gallery).journal().append([link])
    undo(gallery, link)
    forget_person(gallery, "Ann Lee")
    left = [
        entry for entry in storage_of(gallery).journal().entries() if entry.action == Action.SAME
    ]
    assert [entry.detail for entry in left] == [digest(30), digest(31)]
    assert_gone(gallery, digest(20), digest(21), digest(22))
    assert forget_person(gallery, "Ben").complete
    assert storage_of(gallery).journal().entries() == []


def test_who_is_only_in_the_journal_is_forgotten_by_any_name(gallery):
    decide(gallery, Action.CONFIRM, "Eve")
    rename(gallery, "Eve", "Eva")
    done = forget_person(gallery, "Eve")
    assert done.complete and (done.gallery_faces, done.decisions) == (0, 3)
    assert_gone(gallery, "Eve", "Eva")


def test_a_face_that_was_corrected_keeps_the_name_of_the_other_person(gallery):
    decide(gallery, Action.CONFIRM, "Ann Lee")
    decide(gallery, Action.CONFIRM, "Ben", by="ann_lee")  # what she decided stays without her name
    assert forget_person(gallery, "Ann Lee").complete
    assert kept(gallery) == [("name", "Ben", "Ben"), ("confirm", "Ben", "")]
    assert [entry.by for entry in storage_of(gallery).journal().entries()] == ["", ""]
    assert_gone(gallery, "ann_lee")


def test_who_has_the_freed_name_now_is_not_forgotten(gallery):
    rename(gallery, "Ann Lee", "Ann King")
    unalias(gallery, "Ann Lee")
    photo = decide(gallery, Action.CONFIRM, "Ann Lee").photo_id
    assert forget_person(gallery, "Ann King").gallery_faces == 1
    decisions = Decisions.load(gallery)
    assert decisions.name(decisions.places(photo)[0].person) == "Ann Lee"
    assert_gone(gallery, "Ann King")


def test_two_people_with_one_name_are_told_apart(gallery):
    rename(gallery, "Ben", "Ann Lee", is_another=True)
    done = forget_person(gallery, "Ann Lee")
    assert (done.gallery_faces, done.also_shown) == (1, ["Ann Lee (2)"])
    assert done.complete and Gallery.open(gallery).people == ["Ann Lee (2)"]
    assert Decisions.load(gallery).shown_name("Ann Lee (2)") == "Ann Lee (2)"


@pytest.mark.parametrize(("what", "step"), [(Gallery, "save"), (Journal, "_vacuum")])
def test_a_forgetting_that_was_killed_can_be_repeated(what, step, gallery, monkeypatch):
    decide(gallery, Action.CONFIRM, "Ann Lee")
    rename(gallery, "Ann Lee", "Ann King")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(what, step, killed)
        with pytest.raises(KeyboardInterrupt):
            forget_person(gallery, "Ann King")
    assert "Ann King" in Gallery.open(gallery).people
    assert forget_person(gallery, "Ann Lee").complete
    assert_gone(gallery, "Ann Lee", "Ann King")
    assert Gallery.open(gallery).people == ["Ben"] and Gallery.open(gallery).aliases == {}


def test_names_that_only_the_journal_has_are_kept_while_a_folder_is_missing(gallery, tmp_path):
    decide(gallery, Action.CONFIRM, "Eve")
    rename(gallery, "Eve", "Eva")
    remember_output(gallery, tmp_path / "away")
    assert forget_person(gallery, "Eva").unreachable == [str(tmp_path / "away")]
    assert Gallery.open(gallery).aliases == {"eve": "Eva"}
    assert_gone(gallery, "Eve", "Eva")
    assert forget_person(gallery, "Eve", gone=(tmp_path / "away",)).complete
    assert Gallery.open(gallery).aliases == {}


def test_the_search_finds_names_and_ids_in_a_journal_and_beside_it(gallery):
    person = decide(gallery, Action.CONFIRM, "Ann Lee").person
    folder = gallery.with_name("search")
    folder.mkdir()
    content = storage_of(gallery).journal().path.read_bytes()
    (folder / "copy.db").write_bytes(content)
    (folder / "decisions.sqlite-journal").write_bytes(b"\xd9\xd5" + content[100:])

    def is_person(text: str) -> bool:
        return text in ("Ann Lee", person)

    def found(*marks: bytes) -> list[str]:
        done = search_traces([folder], is_person, mentions(["ann lee", person]), [], marks)
        return [place.rpartition(": ")[2] for place in done.found]

    assert found() == ["the name, in entries"]
    for mark in (b'"Ann Lee"', person.encode()):
        assert found(mark) == ["the name, in entries", "a name or id, in its bytes"]
    with contextlib.closing(sqlite3.connect(folder / "copy.db")) as db, db:
        db.execute("DELETE FROM entries WHERE content LIKE '%Ann Lee%'")
    assert found() == ["the name, in entries"]  # by the id
    assert found(b'"Ann"')[1:] == []
