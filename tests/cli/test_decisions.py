"""`faceops decisions` lists, undoes, exports and imports decisions."""

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from faceops.cli import main
from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry
from faceops.gallery.storage import storage_of
from faceops.gallery.store import Gallery
from tests.gallery.gallery_files import decide, make_gallery

PHOTO = f"{9:064x}"


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    make_gallery(tmp_path / "g", [("Ann", 1), ("Ben", 2), ("Ben", 3)])
    return tmp_path / "g"


class Faceops:
    """Runs commands on one gallery."""

    def __init__(self, gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.gallery, self._capsys = gallery, capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        """Return what a command printed."""
        assert main([*words, "--gallery", str(self.gallery)]) == code
        printed = self._capsys.readouterr()
        return printed.err if code else printed.out

    def json(self, *words: str) -> Any:
        """Return what a command printed as JSON."""
        return json.loads(self(*words, "--json"))

    def people(self) -> list[str]:
        return Gallery.open(self.gallery).persons


@pytest.fixture
def faceops(gallery: Path, capsys: pytest.CaptureFixture[str]) -> Faceops:
    return Faceops(gallery, capsys)


def confirm(gallery: Path, name: str, batch: str = "", by: str = "") -> None:
    decide(gallery, Action.CONFIRM, name, batch=batch, by=by)


def test_decisions_are_listed_and_undone_one_after_the_other(faceops):
    assert faceops("decisions", "list") == "no decisions\n"
    confirm(faceops.gallery, "Ann", "b" * 16, "eva")
    faceops("people", "rename", "Ben", "Bo", "--by", "tom\x1b")
    faceops("people", "merge", "Bo", "Ann", "--by", "")
    lines = faceops("decisions", "list").splitlines()
    assert [line.split("  ")[2:] for line in lines] == [
        ["-", "Bo merged into Ann"],
        ["tom\\x1b", "Ben named Bo"],
        ["eva", "1 face confirmed as Ann"],
    ]
    printed = faceops("decisions", "undo", "--last")
    assert printed.startswith("undone: Bo merged into Ann\nBo is not Ann any longer: 2 faces")
    assert faceops.people() == ["Ann", "Bo", "Bo"]
    assert "Bo is Ben now" in faceops("decisions", "undo", "--last")
    assert faceops.people() == ["Ann", "Ben", "Ben"]
    faceops("decisions", "undo", "bbbb")
    assert Decisions.load(faceops.gallery).places(PHOTO) == []
    assert "nothing is left to undo" in faceops("decisions", "undo", "--last", code=2)
    latest, *_, first = faceops.json("decisions", "list")
    assert (first["by"], first["undone"], latest["undone"]) == ("eva", True, False)
    assert latest["by"] == getpass.getuser()
    faceops("decisions", "undo", latest["batch"])  # counts again
    assert len(Decisions.load(faceops.gallery).places(PHOTO)) == 1


def test_decisions_about_a_person_are_listed(faceops):
    confirm(faceops.gallery, "Ann", "b" * 16)
    faceops("people", "rename", "Ann", "Anna")
    faceops("people", "rename", "Ben", "Bo")
    sentences = [row["sentence"] for row in faceops.json("decisions", "list", "--person", "anna")]
    assert sentences == ["Ann named Anna", "1 face confirmed as Anna"]
    assert "2 more; --limit lists them" in faceops("decisions", "list", "--limit", "1")
    assert "nothing was decided about Eve" in faceops("decisions", "list", "--person=Eve", code=1)


def test_what_cannot_be_undone_is_refused(faceops):
    faceops("people", "rename", "Ben", "Bo")
    faceops("people", "unalias", "Ben")
    (_, renaming) = faceops.json("decisions", "list")
    for words, sentence, code in (
        (["undo"], "name one decision", 2),
        (["undo", "x" * 16], "there is no decision xxxxxxxxxxxxxxxx", 2),
        (["undo", renaming["batch"]], "Ben is another person's name now", 1),
    ):
        assert sentence in faceops("decisions", *words, code=code)
    assert faceops.people() == ["Ann", "Bo", "Bo"]


def test_a_name_that_other_decisions_need_is_not_undone(faceops):
    person = "c" * 16
    naming = Entry(Action.NAME, person=person, detail="Cy", batch="d" * 16)
    faces = [
        Entry(Action.CONFIRM, PHOTO, (x, 0.0, 9.0, 9.0), (100, 100), person, batch=batch)
        for x, batch in ((10.0, "d" * 16), (50.0, "e" * 16))
    ]
    storage_of(faceops.gallery).journal().append([naming, *faces])
    faceops("decisions", "undo", "d" * 16)
    decisions = Decisions.load(faceops.gallery)
    assert [decisions.name(place.person) for place in decisions.places(PHOTO)] == ["Cy"]
    faceops("decisions", "undo", "e" * 16)
    assert Decisions.load(faceops.gallery).places(PHOTO) == []


def test_exported_decisions_are_imported_elsewhere(faceops, tmp_path):
    confirm(faceops.gallery, "Ann", by="eva")
    file = tmp_path / "decisions.jsonl"
    assert faceops.json("decisions", "export", str(file))["entries"] == 2
    assert faceops("decisions", "export") == file.read_text("utf-8")
    assert ". is a folder; name a file" in faceops("decisions", "export", ".", code=2)
    other = Faceops(tmp_path / "other", faceops._capsys)
    make_gallery(other.gallery, [("Ann", 1)])
    confirm(other.gallery, "Ben", by="tom")
    printed = other("decisions", "import", str(file)).splitlines()
    assert "this gallery: Ben" in printed[0] and printed[0].endswith("the later one holds: Ben")
    assert printed[1] == "2 entries imported, 0 were known; 1 conflicts"
    assert "eva: Ann" in other("decisions", "list", "--conflicts")
    file.write_text("{}\n")
    assert f"{file}, line 1: " in other("decisions", "import", str(file), code=1)
    assert "is not a gallery" in Faceops(tmp_path / "none", faceops._capsys)(
        "decisions", "list", code=2
    )


def test_two_people_with_one_name_are_listed_with_both_names(faceops, monkeypatch):
    monkeypatch.chdir(faceops.gallery)  # no registry here
    printed = faceops("people", "rename", "Ben", "Ann", "--another-person")
    assert printed.startswith("Ben is Ann (2) now, shown as Ann, with 2 faces")
    assert "   2  Ann (2), shown as Ann" in faceops("people", "list")


def test_a_user_without_a_name_decides_without_one(faceops, monkeypatch):
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    faceops("people", "rename", "Ben", "Bo")
    assert [row["by"] for row in faceops.json("decisions", "list")] == [""]
