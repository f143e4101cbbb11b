"""Damage to a gallery is found and named, and repaired with all that can be kept."""

import contextlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceops.base.errors import DamageError, FaceOpsError
from faceops.cli import main
from faceops.gallery import check
from faceops.gallery.check import check_gallery, repair_gallery
from faceops.gallery.journal import Action, Entry
from faceops.gallery.people import rename
from faceops.gallery.storage import crop_path, gallery_place, storage_of
from faceops.gallery.store import Gallery, open_or_create
from tests.gallery.gallery_files import (
    CONTRACT,
    SIZE,
    make_face,
    make_gallery,
    rewrite_as_format_1,
    rewrite_as_format_2,
    segment_of,
)

PEOPLE = [("Zoë", 2), ("Ann Lee", 1), ("Ann Lee", 3)]


def content_of(folder: Path) -> Any:
    gallery = Gallery.open(folder)
    rows = [{**vars(face), "embedding": face.embedding.tobytes()} for face in gallery.faces]
    return rows, gallery.statement()


def test_crops_of_no_face_are_noted_until_the_next_change(place, monkeypatch):
    make_gallery(place, PEOPLE)
    monkeypatch.setattr("faceops.gallery.postgres.storage._PENDING", 0)  # as in a long enrolment
    make_face(place, "Ben", 4)
    (finding,) = check_gallery(place)
    assert not finding.is_damage
    assert finding.what == f"1 crops in {place} belong to no face"
    rename(gallery_place(str(place)), "Zoë", "Ada")
    assert check_gallery(place) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_gallery(tmp_path / "g", PEOPLE)
    rename(tmp_path / "g", "Zoë", "Ada")
    return tmp_path / "g"


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def change(name: str, damage: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Return what damages a file of a gallery, "faces": its segment."""

    def changed(folder: Path) -> None:
        path = segment_of(folder) if name == "faces" else folder / name
        path.write_bytes(damage(path.read_bytes()))

    return changed


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": change("faces", lambda content: content[: len(content) // 2]),
    "emptied": change("faces", lambda content: b""),
    "zeros": change("faces", lambda old: old[:512] + bytes(512) + old[1024:]),
    "flipped": change("faces", lambda content: flip(content, len(content) // 3)),
    "statement": change("gallery.json", lambda content: content[: len(content) // 2]),
    "all but the copy": lambda folder: [
        path.unlink() for path in (segment_of(folder), folder / "gallery.json")
    ],
}


def test_a_sound_gallery_has_no_findings(folder, capsys):
    assert check_gallery(folder) == []
    assert main(["gallery", "check", "--gallery", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: sound\n"
    assert main(["gallery", "repair", "--gallery", str(folder)]) == 0
    assert "nothing to repair" in capsys.readouterr().out
    assert main(["gallery", "check", "--gallery", str(folder.parent)]) == 2


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_that_leaves_a_whole_table_loses_nothing(kind, folder, capsys):
    before = content_of(folder)
    DAMAGES[kind](folder)
    paths = [*folder.iterdir(), *(folder / "faces").iterdir()]
    damaged = {path.name: path.read_bytes() for path in paths if path.suffix}
    for command in (["people", "list"], ["people", "rename", "Ada", "Bo"]):
        assert main([*command, "--gallery", str(folder)]) == 1
        assert "`faceops gallery repair --gallery" in capsys.readouterr().err
    with pytest.raises(FaceOpsError, match="run `faceops gallery repair"):
        open_or_create(folder, CONTRACT, SIZE)  # no new gallery in its place
    assert main(["gallery", "check", "--gallery", str(folder), "--json"]) == 1
    (report,) = json.loads(capsys.readouterr().out).values()
    assert {finding["lost"] for finding in report["findings"]} == {"nothing"}
    assert main(["gallery", "repair", "--gallery", str(folder)]) == 0
    assert content_of(folder) == before
    assert check_gallery(folder) == []
    (backup,) = folder.glob("damaged-*")
    assert {path.name: path.read_bytes() for path in backup.iterdir()} == damaged


def test_flipped_bytes_are_found_or_change_nothing(folder):
    path = segment_of(folder)
    before, raw = content_of(folder), path.read_bytes()
    segment_of(folder, copy=True).unlink()
    for place in range(0, len(raw), 97):
        path.write_bytes(flip(raw, place))
        try:
            assert content_of(folder) == before
        except DamageError as error:
            assert "names and embeddings are lost, crops and photos are not" in str(error)


def test_without_a_whole_copy_the_loss_is_named_and_nothing_is_changed(folder):
    for path in (segment_of(folder), segment_of(folder, copy=True)):
        path.write_bytes(path.read_bytes()[:500])
    assert {finding.lost for finding in check_gallery(folder)} == {"names and embeddings"}
    with pytest.raises(FaceOpsError, match=r"import an archive of `faceops gallery export`"):
        repair_gallery(folder)
    assert not list(folder.glob("damaged-*"))


def test_a_lost_crop_costs_neither_name_nor_embedding(folder):
    before = Gallery.open(folder)
    missing, changed, cut = (crop_path(folder, face.crop_id) for face in before.faces)
    missing.unlink()
    changed.write_bytes(changed.read_bytes() + b"x")
    cut.write_bytes(cut.read_bytes()[:500])
    storage_of(folder).store_png(b"of no face")
    found = [str(finding) for finding in check_gallery(folder)]
    assert [line.split(":")[0] for line in found] == ["damage"] * 3 + ["note"]
    assert "is missing. Lost: the picture that a later release embeds" in found[0]
    repair = repair_gallery(folder)
    assert [finding.is_damage for finding in repair.after] == [False] * 3
    after = Gallery.open(folder)
    assert after.persons == before.persons
    np.testing.assert_array_equal(after.embeddings, before.embeddings)
    assert {face.crop_id for face in after.faces} == {""}
    assert repair.backup is not None and len(list(repair.backup.glob("*.png"))) == 2


def test_embeddings_names_and_output_folders_are_checked(folder):
    odd = [
        replace(make_face(folder, "Bo", 4), embedding=np.full(8, np.nan, np.float32)),
        replace(make_face(folder, "Cy", 5), embedding=np.zeros(8, np.float32)),
        make_face(folder, "E\u200bd", 7),
    ]
    Gallery.open(folder).with_faces(odd).save()
    (folder / "outputs.jsonl").write_bytes(b'{"out": "/a"}\n\xff\n' + b"[" * 100_000 + b'\n"/b"\n')
    found = [finding.what for finding in check_gallery(folder)]
    for what, line in zip(
        ("'E\\u200bd' cannot", "embedding of Bo", "embedding of Cy", "outputs"), found, strict=True
    ):
        assert what in line
    repair = repair_gallery(folder)
    assert Gallery.open(folder).people == ["Ada", "Ann Lee", "E\u200bd"]
    assert (folder / "outputs.jsonl").read_text() == '{"out": "/a"}\n"/b"\n'
    assert [finding.what[:4] for finding in repair.after if finding.is_damage] == ["'E\\u"]
    assert rename(folder, "E\u200bd", "Ed") == ("Ed", 1)
    assert check_gallery(folder) == []


def damage_page(content: bytes) -> bytes:
    """Overwrite an inner page of a large journal."""
    return content[:8192] + b"\xff" * 4096 + content[12288:]


@pytest.mark.parametrize(
    ("damage", "kept"), [(damage_page, 290), (lambda content: b"x" * 100 + content[100:], 300)]
)
def test_decisions_that_can_be_read_survive_a_damaged_journal(damage, kept, folder, capsys):
    moved = tuple((f"{number:064x}", (1.0, 2.0, 3.0, 4.0)) for number in range(40))
    entries = [Entry(Action.NAME, person=f"{n:04}", detail=f"Ann {n}") for n in range(300)]
    merge = Entry(Action.MERGE, person="0001", detail="0002", moved=moved)  # longer than a page
    storage_of(folder).journal().append([merge, *entries])
    before = storage_of(folder).journal().entries()
    change("decisions.sqlite", damage)(folder)
    with pytest.raises(DamageError, match=r"gallery repair --gallery .* keeps the decisions"):
        rename(folder, "Ada", "Bo")
    assert main(["gallery", "check", "--gallery", str(folder)]) == 1
    assert "decisions.sqlite is damaged" in capsys.readouterr().out
    assert repair_gallery(folder).after == []
    after = storage_of(folder).journal().entries()
    assert kept <= len(after) and {*after} <= {*before}
    assert Gallery.open(folder).people == ["Ada", "Ann Lee"]


def test_an_empty_journal_is_noted(folder):
    (folder / "decisions.sqlite").write_bytes(b"")
    (finding,) = check_gallery(folder)
    assert not finding.is_damage and "decisions.sqlite is empty" in finding.what


def test_a_journal_with_tables_of_others_is_damaged(folder):
    with contextlib.closing(sqlite3.connect(folder / "decisions.sqlite")) as db:
        db.execute("CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END")
    (finding,) = check_gallery(folder)
    assert "its tables are not those of a journal" in finding.what


@pytest.mark.parametrize("rewrite", [rewrite_as_format_1, rewrite_as_format_2])
@pytest.mark.parametrize("lost", ["faces.copy.parquet", "faces.parquet"])
def test_a_gallery_of_an_earlier_format_is_migrated_by_a_repair(folder, rewrite, lost):
    names = Gallery.open(folder).persons
    rewrite(folder)
    for name in (lost, "gallery.json"):
        (folder / name).unlink()
    assert repair_gallery(folder).after == []
    assert Gallery.open(folder).persons == names


def test_a_copy_that_a_killed_writer_left_behind_is_replaced_by_the_next(folder):
    copy = folder / "copy" / "gallery.json"
    old = copy.read_bytes()
    rename(folder, "Ada", "Bo")
    copy.write_bytes(old)
    (finding,) = check_gallery(folder)
    assert not finding.is_damage and "gallery.json has no copy, or an old one" in finding.what
    rename(folder, "Bo", "Cy")
    assert check_gallery(folder) == []


def test_a_gallery_that_changes_meanwhile_is_not_reported_as_damaged(folder, monkeypatch):
    load_crop = check.load_crop

    def forget_first(png: Callable[[str], bytes], crop_id: str) -> np.ndarray:
        gallery = Gallery.open(folder)
        gallery.without(np.array([face.crop_id == crop_id for face in gallery.faces], bool)).save()
        return load_crop(png, crop_id)

    monkeypatch.setattr(check, "load_crop", forget_first)
    with pytest.raises(FaceOpsError, match="was changed while it was checked; check it again"):
        check_gallery(folder)
