"""Decisions of two machines are merged, and contradictions are listed."""

import json
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.decisions import Decisions
from faceops.gallery.history import HERE, THERE, as_lines, find_conflicts, import_decisions
from faceops.gallery.journal import Action, Entry, Ignored, Journal
from faceops.gallery.people import merge, rename, split
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.gallery.store import Gallery
from tests.gallery import gallery_files
from tests.gallery.gallery_files import FOLDER, make_gallery

PEOPLE = [("Ann", 1), ("Ben", 2), ("Ben", 3)]
BOX_THERE = (12.0, 9.0, 40.0, 50.0)  # of another detector


def journal(gallery: GalleryPlace) -> Journal:
    return storage_of(gallery).journal()


def decide(
    gallery: GalleryPlace, action: Action, name: str = "", photo: int = 0, **more: str
) -> Entry:
    box = BOX_THERE if str(gallery).endswith("there") else gallery_files.BOX
    return gallery_files.decide(gallery, action, name, photo=photo, box=box, **more)


@pytest.fixture
def both(
    place: GalleryPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[GalleryPlace, Path]:
    """Two galleries of the same people with one common decision; one may be in a database."""
    monkeypatch.chdir(tmp_path)  # for exports
    here, there = place, tmp_path / "there"
    for one in (here, there):
        make_gallery(one, PEOPLE)
    decide(here, Action.CONFIRM, "Ann", photo=9)
    journal(there).merge(journal(here).entries())
    return here, there


def export(gallery: GalleryPlace) -> Path:
    file = Path(f"of_{Path(str(gallery)).name[:5]}.jsonl")
    file.write_text(as_lines(journal(gallery).entries()), "utf-8")
    return file


def names(gallery: GalleryPlace) -> list[str]:
    return Gallery.open(gallery).persons


def test_contradicting_sides_are_listed_and_the_later_one_holds(both):
    here, there = both
    ignored = {"detail": Ignored.STRANGER}
    for number in (1, 3, 4):
        decide(here, Action.CONFIRM, "Ann", photo=number)
    decide(here, Action.IGNORE, photo=2, **ignored)
    decide(here, Action.REFUSE, "Ann", photo=5)
    for number in (1, 2, 5):
        decide(there, Action.CONFIRM, "Ben", photo=number)
    decide(there, Action.REFUSE, "Ann", photo=3)
    decide(there, Action.CONFIRM, "Ann", photo=4)
    decide(there, Action.REFUSE, "Ann", photo=9)  # the common one is of neither side
    decide(here, Action.CONFIRM, "Ann", photo=3)  # again, later
    done = import_decisions(here, export(there))
    told = {
        int(one.photo_id, 16): [(verdict.side, verdict.what) for verdict in one.verdicts]
        for one in done.conflicts
    }
    assert told == {
        1: [(HERE, "Ann"), (THERE, "Ben")],
        2: [(HERE, "ignored (stranger)"), (THERE, "Ben")],
        3: [(THERE, "not Ann"), (HERE, "Ann")],
    }
    assert (done.new, done.known) == (7, 2)
    import_decisions(there, export(here))
    held = {one.photo_id: one.holds.what for one in done.conflicts}
    for folder in both:
        decisions = Decisions.load(folder)
        assert {one: decisions.name(decisions.places(one)[0].person) for one in held} == held
    again = import_decisions(here, export(there))
    assert (again.new, again.conflicts) == (0, [])


@FOLDER
def test_reviewers_who_decided_differently_are_found(both):
    here, _ = both
    decide(here, Action.CONFIRM, "Ann", photo=1, by="eva")
    wrong = decide(here, Action.REFUSE, "Ann", photo=1, by="tom")
    decide(here, Action.CONFIRM, "Ann", photo=2, by="eva")
    decide(here, Action.CONFIRM, "Ben", photo=2, by="eva")
    (conflict,) = find_conflicts(Decisions.load(here), lambda entry: entry.by)
    assert [(one.side, one.what) for one in conflict.verdicts] == [
        ("eva", "Ann"),
        ("tom", "not Ann"),
    ]
    journal(here).append([Entry(Action.UNDO, detail=wrong.id)])
    assert find_conflicts(Decisions.load(here), lambda entry: entry.by) == []


def test_the_gallery_follows_what_another_machine_did_to_its_people(both):
    here, there = both
    rename(there, "Ann", "Anna")
    merge(there, "Ben", "Anna")
    done = import_decisions(here, export(there))
    assert names(here) == names(there) == ["Anna"] * 3
    assert any("Ann is Anna now" in line for line in done.changes)
    split(there, "Anna")
    done = import_decisions(here, export(there))
    assert names(here) == names(there) == ["Anna", "Ben", "Ben"]
    assert done.changes == ["Ben is not Anna any longer: 2 faces are Ben's again"]


@FOLDER
def test_faces_that_the_other_machine_did_not_have_are_split_off_too(both):
    here, there = both
    gallery = Gallery.open(there)
    gallery.without(np.array([face.photo == "3.jpg" for face in gallery.faces], bool)).save()
    merge(there, "Ben", "Ann")
    import_decisions(here, export(there))
    assert names(here) == ["Ann"] * 3
    assert split(here, "Ann") == ("Ben", 2)


@FOLDER
def test_people_who_were_merged_both_ways_are_one_by_the_later_merge(both):
    here, there = both
    merge(here, "Ann", "Ben")
    merge(there, "Ben", "Ann")
    import_decisions(here, export(there))
    import_decisions(there, export(here))
    assert names(here) == names(there) == ["Ann"] * 3
    entries = journal(here).entries()
    assert import_decisions(here, export(there)).changes == []
    assert journal(here).entries() == entries
    assert split(here, "Ann", "Ben") == ("Ben", 3)  # the earlier merge holds again


@FOLDER
def test_a_name_that_somebody_else_has_here_is_reported(both):
    here, there = both
    rename(there, "Ann", "Cy")
    rename(here, "Ben", "Cy")
    done = import_decisions(here, export(there))
    assert done.refused == [
        "Ann was renamed Cy, but Cy is enrolled already; if both are one person: faceops people "
        "merge Ann Cy; else rename one of them"
    ]
    assert names(here) == ["Ann", "Cy", "Cy"]


@FOLDER
def test_a_wrong_line_is_named_and_nothing_is_imported(both):
    here, there = both
    (named,) = journal(there).append([Entry(Action.NAME, person="p", detail="A")])
    hostile = json.loads(named.as_json()) | {"detail": "\u202eAnn"}
    file, before = export(there), journal(here).entries()
    content = file.read_bytes().splitlines()
    for line, sentence in (
        (b"{", "it is not a decision"),
        (b"[1]", "it is not a decision"),
        (b'{"action": "adopt"}', "its action 'adopt' is none of"),
        (b"\xff", "'utf-8' codec"),
        (b"[" * 100_000, "it is not a decision"),
        (json.dumps(hostile).encode(), r"'\\u202eAnn' cannot be a person's name"),
    ):
        file.write_bytes(b"\n".join([content[-1], line, *content]))
        with pytest.raises(FaceOpsError, match=f"line 2: {sentence}"):
            import_decisions(here, file)
    assert journal(here).entries() == before
    with pytest.raises(UsageError, match=r"none\.jsonl cannot be read"):
        import_decisions(here, there / "none.jsonl")
