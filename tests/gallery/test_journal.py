"""The journal of decisions, and what its entries amount to."""

import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import DamageError, FaceOpsError
from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry, Ignored, Journal, of_now
from faceops.gallery.storage import storage_of

PHOTO, OTHER_PHOTO = "a" * 64, "b" * 64
BOX, BESIDE = (10.0, 10.0, 40.0, 50.0), (100.0, 10.0, 40.0, 50.0)
SIZE = (200, 100)


def about(action: Action, person: str = "", box: tuple = BOX, **more: str) -> Entry:
    photo = more.pop("photo_id", PHOTO)
    return Entry(action, photo, box, SIZE, person, **more)


def decided(*entries: Entry) -> Decisions:
    return Decisions(of_now(entries, None))


def test_a_gallery_without_a_journal_has_no_decisions(place):
    assert not Decisions.load(place)
    assert storage_of(place).stamp() == ""
    assert not isinstance(place, Path) or list(place.iterdir()) == []


def test_a_confirmed_face_is_found_again_at_a_slightly_other_place():
    decisions = decided(about(Action.CONFIRM, "ann"))
    near, far = (12.0, 8.0, 42.0, 50.0), (40.0, 10.0, 40.0, 50.0)
    place, nobody = decisions.match(PHOTO, [near, far])
    assert (place.person, nobody) == ("ann", None)
    assert decisions.match(OTHER_PHOTO, [BOX]) == [None]
    worse = (14.0, 14.0, 40.0, 50.0)  # two faces do not share a decision
    nobody, place = decisions.match(PHOTO, [worse, BOX])
    assert (place.person, nobody) == ("ann", None)


def test_the_latest_decision_about_a_face_holds(place):
    for entry, expected in (
        (about(Action.CONFIRM, "ann"), ("ann", set(), "")),
        (about(Action.REFUSE, "ann"), ("", {"ann"}, "")),
        (about(Action.CONFIRM, "ben"), ("ben", {"ann"}, "")),
        (about(Action.IGNORE, detail=Ignored.STRANGER), ("", {"ann"}, "stranger")),
        (about(Action.CONFIRM, "ann"), ("ann", set(), "")),
    ):
        storage_of(place).journal().append([entry])
        (found,) = Decisions.load(place).places(PHOTO)
        assert (found.person, found.refused, found.ignored) == expected


def test_undo_brings_back_what_held_before_and_can_be_undone():
    first, second = about(Action.CONFIRM, "ann"), about(Action.CONFIRM, "ben")
    decisions = Decisions(entries := [first, second])
    undo = Entry(Action.UNDO, detail=second.id)
    redo = Entry(Action.UNDO, detail=undo.id)
    both = [Entry(Action.UNDO, detail=first.id), Entry(Action.UNDO, detail=second.id)]
    for added, people in (([undo], ["ann"]), ([redo], ["ben"]), (both, [])):
        entries += added
        decisions.add(added)
        for known in (decisions, Decisions(entries)):
            assert [place.person for place in known.places(PHOTO)] == people


def test_a_person_keeps_the_id_through_names_and_merging():
    ann, entries = Decisions().naming("Ann Lee")
    decisions = Decisions([*entries, about(Action.CONFIRM, ann)])
    assert decisions.person_id("ann-lee") == Decisions().person_id("ANN LEE") == ann
    decisions.add([Entry(Action.NAME, person=ann, detail="Ann King")])
    assert decisions.name(decisions.places(PHOTO)[0].person) == "Ann King"
    assert decisions.person_id("Ann Lee") != ann, "another person may have that name now"
    king, entries = decisions.naming("A. King")
    merging = Entry(Action.MERGE, person=ann, detail=king)
    decisions.add([*entries, merging])
    assert decisions.name(ann) == "A. King"
    decisions.add([Entry(Action.UNDO, detail=merging.id)])
    assert decisions.name(ann) == "Ann King"


def test_a_person_is_refused_also_by_a_later_identity():
    merging = Entry(Action.MERGE, person="ann", detail="king")
    entries = [about(Action.CONFIRM, "ann"), merging, about(Action.REFUSE, "king")]
    decisions = Decisions(entries)
    (place,) = decisions.places(PHOTO)
    assert (place.person, place.refused) == ("", {"king"})
    decisions.add([about(Action.CONFIRM, "king")])
    (place,) = decisions.places(PHOTO)
    assert (place.person, place.refused) == ("king", set())
    decisions = Decisions([*entries, Entry(Action.UNDO, detail=merging.id)])
    assert [place.person for place in decisions.places(PHOTO)] == ["ann"]


def test_entries_of_others_that_undo_each_other_undo_nothing_before_them():
    confirmed, later = about(Action.CONFIRM, "ann"), Entry(Action.UNDO)
    first = Entry(Action.UNDO, detail=later.id)
    itself = replace(first, detail=first.id)
    for entries in ([itself], [first, replace(later, detail=first.id)]):
        decisions = Decisions([confirmed, *entries])
        assert decisions.subject(entries[-1]) == entries[0]
        assert [place.person for place in decisions.places(PHOTO)] == ["ann"]
    chain = [confirmed]
    for _ in range(1101):  # more than Python lets a function call itself
        chain.append(Entry(Action.UNDO, detail=chain[-1].id))
    assert not Decisions(chain).holds(confirmed.id)
    assert Decisions(chain[:-1]).holds(confirmed.id)


def same(photo_id: str = OTHER_PHOTO, of: str = PHOTO, size: tuple[int, int] = (100, 50)) -> Entry:
    return Entry(Action.SAME, photo_id, size=size, detail=of)


def test_decisions_hold_for_a_photo_whose_file_was_written_anew():
    linked, half = same(), (5.0, 5.0, 20.0, 25.0)
    confirmed = about(Action.CONFIRM, "ann")
    # What is decided about either copy holds for both, in the order of time.
    later = Entry(Action.REFUSE, OTHER_PHOTO, half, (100, 50), "ann")
    undone = [Entry(Action.UNDO, detail=one.id) for one in (later, confirmed)]
    entries = of_now([confirmed, linked, later, *undone], None)
    decisions = Decisions(entries[:2])
    (shown,) = decisions.places(OTHER_PHOTO)
    assert (shown.person, shown.box, shown.size) == ("ann", half, (100, 50))
    for number, people in ((3, [""]), (4, ["ann"]), (5, [])):
        decisions.add(entries[:number])
        for known in (decisions, Decisions(entries[:number])):
            for photo in (PHOTO, OTHER_PHOTO):
                assert [one.person for one in known.places(photo)] == people


def test_a_decision_without_the_size_of_its_photo_leaves_others_their_place():
    dropped = replace(about(Action.REFUSE, "ben"), size=(0, 0))
    half = Entry(Action.CONFIRM, OTHER_PHOTO, (50.0, 5.0, 20.0, 25.0), (100, 50), "ann")
    decisions = decided(dropped, same(), half)
    assert (50.0, 5.0, 20.0, 25.0) in [place.box for place in decisions.places(PHOTO)]


def test_undoing_that_two_photos_are_the_same_parts_their_decisions():
    decisions = decided(about(Action.CONFIRM, "ann"), linked := same())
    assert len(decisions.places(OTHER_PHOTO)) == 1
    decisions.add([Entry(Action.UNDO, detail=linked.id)])
    assert decisions.places(OTHER_PHOTO) == []
    assert decisions.same_content(PHOTO) == {PHOTO}
    decisions.add([same(), same(PHOTO, OTHER_PHOTO, SIZE)])  # changed and restored
    assert [place.box for place in decisions.places(PHOTO)] == [BOX]


def test_why_a_face_was_not_admitted_is_no_decision(place):
    journal = storage_of(place).journal()
    assert journal.tried("x") == {}
    (entry,) = journal.append([about(Action.CONFIRM, "ann")])
    journal.note_tried("x", {entry.id: "blurred"})
    assert (journal.tried("x"), journal.tried("y")) == ({entry.id: "blurred"}, {})
    assert journal.entries() == [entry]
    journal.remove([entry.id])
    assert journal.tried("x") == {}


def test_merged_journals_of_two_machines_amount_to_the_same(tmp_path):
    here, there = Journal(tmp_path / "here"), Journal(tmp_path / "there")
    for journal, person in ((here, "ann"), (there, "ben"), (here, "cas")):
        journal.append([about(Action.CONFIRM, person)])
    lines = [[entry.as_json() for entry in one.entries()] for one in (there, here)]
    for journal, others in zip((here, there), lines, strict=True):
        assert len(journal.merge(map(Entry.from_json, others))) == len(others)
        assert journal.merge(map(Entry.from_json, others)) == []
    assert here.entries() == there.entries()
    assert Decisions(here.entries()).places(PHOTO)[0].person == "cas"


def test_an_entry_is_the_same_after_json(tmp_path):
    moved = ((PHOTO, BOX), (OTHER_PHOTO, BESIDE))
    entry = Entry(Action.MERGE, person="a", detail="b", moved=moved, by="Zoë\n", batch="1")
    journal = Journal(tmp_path / "j")
    with pytest.raises(ValueError):  # a first change that fails leaves an empty file
        journal.append([replace(entry, by="\ud800")])
    assert (journal.path.stat().st_size, journal.entries(), journal.tried("x")) == (0, [], {})
    (added,) = journal.append([entry])
    assert journal.entries() == [added]
    assert Entry.from_json(added.as_json()) == added


@pytest.mark.parametrize(
    "change",
    [
        *({"action": "adopt"}, {"id": "1"}, {"time": "yesterday"}, {"time": 5}),
        *({"box": [0, 0, -1, 5]}, {"box": [0, 0, float("nan"), 5]}, {"box": None}),
        *({"photo_id": "a"}, {"person": ""}, {"person": ["ann"]}, {"by": "\ud800"}, {"why": 1}),
        {"action": "merge", "box": None, "photo_id": "", "detail": "ann"},
        {"action": "same", "person": ""},
    ],
)
def test_a_line_that_is_no_decision_is_refused(tmp_path, change):
    (added,) = Journal(tmp_path / "j").append([about(Action.CONFIRM, "ann")])
    content = json.loads(added.as_json()) | change
    with pytest.raises(ValueError):
        Entry.from_json(json.dumps(content))


def test_times_rise_although_the_clock_is_set_back(tmp_path):
    later = about(Action.CONFIRM, "ann", time="2999-01-01T00:00:00.000000Z")
    journal = Journal(tmp_path / "j")
    journal.merge([later])
    journal.append([about(Action.CONFIRM, "ben")])
    assert [entry.person for entry in journal.entries()] == ["ann", "ben"]


def test_merges_in_any_order_end_in_one_person():
    random = np.random.default_rng(0)
    for _ in range(200):
        pairs = [random.permutation(list("abcd"))[:2].tolist() for _ in range(6)]
        decisions = Decisions([Entry(Action.MERGE, person=p, detail=d) for p, d in pairs])
        assert decisions.current(pairs[-1][0]) == decisions.current(pairs[-1][1])
        assert all(decisions.current(decisions.current(p)) == decisions.current(p) for p in "abcd")


def test_removed_entries_leave_no_bytes(tmp_path):
    named = Entry(Action.NAME, person="ann", detail="Xanthippe")
    journal = Journal(tmp_path / "j")
    _, confirmed = journal.append([named, about(Action.CONFIRM, "ann")])
    assert b"Xanthippe" in journal.path.read_bytes()
    assert (journal.remove([named.id]), journal.entries()) == (1, [confirmed])
    assert b"Xanthippe" not in journal.path.read_bytes()


def test_a_journal_that_cannot_be_used_is_said_in_one_sentence(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append([about(Action.CONFIRM, "ann")])
    with sqlite3.connect(journal.path) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(FaceOpsError, match="has version 99"):
        journal.entries()
    journal.path.write_bytes(b"x" * 4096)
    with pytest.raises(DamageError, match="is damaged"):
        journal.entries()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_gallery_can_be_read_and_not_decided_in(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append([about(Action.CONFIRM, "ann")])
    journal.path.chmod(0o400)
    tmp_path.chmod(0o500)
    assert len(journal.entries()) == 1
    with pytest.raises(FaceOpsError, match="permission"):
        journal.append([about(Action.CONFIRM, "ben")])
    tmp_path.chmod(0o700)
