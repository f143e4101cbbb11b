"""Damage to a gallery is found and named, and repaired with all that can be kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceops.base.errors import DamageError, FaceOpsError, UsageError
from faceops.cli import main
from faceops.gallery import check
from faceops.gallery.check import check_gallery, repair_gallery
from faceops.gallery.crops import crop_path, store_png
from faceops.gallery.people import rename
from faceops.gallery.store import Gallery
from tests.gallery.gallery_files import make_face, make_gallery, rewrite_as_format_1

PEOPLE = [("Zoë", 2), ("Ann Lee", 1), ("Ann Lee", 3)]
Damage = Callable[[bytes], bytes]


def content_of(folder: Path) -> Any:
    gallery = Gallery.open(folder)
    rows = [{**vars(face), "embedding": face.embedding.tobytes()} for face in gallery.faces]
    return rows, gallery.statement()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_gallery(tmp_path / "g", PEOPLE)
    rename(tmp_path / "g", "Zoë", "Ada")
    return tmp_path / "g"


def damage(folder: Path, name: str, change: Damage) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


def flip(place: float) -> Damage:
    def flipped(content: bytes) -> bytes:
        at = int(len(content) * place)
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    return flipped


def zero_page(content: bytes) -> bytes:
    return content[:512] + bytes(512) + content[1024:]


DAMAGES: dict[str, Damage] = {
    "cut off": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "no longer Parquet": lambda content: b"\xff" * len(content),
    "page of zeros": zero_page,
    "embeddings": flip(0.12),
    "page": flip(0.3),
}


def test_a_sound_gallery_has_no_findings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_gallery(folder) == []
    assert main(["gallery", "check", "--gallery", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: sound\n"
    assert main(["gallery", "repair", "--gallery", str(folder)]) == 0
    assert "nothing to repair" in capsys.readouterr().out
    assert main(["gallery", "check", "--gallery", str(folder.parent)]) == 2


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", ["faces.parquet", "faces.copy.parquet", "gallery.json"])
def test_one_damaged_file_of_the_table_loses_nothing(
    kind: str, name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "gallery.json" and kind in ("embeddings", "page"):
        return
    before = content_of(folder)
    damage(folder, name, DAMAGES[kind])
    if name != "faces.copy.parquet":
        for command in (["people", "list"], ["people", "rename", "Ada", "Bo"]):
            assert main([*command, "--gallery", str(folder)]) == 1
            assert "`faceops gallery repair --gallery" in capsys.readouterr().err
    assert main(["gallery", "check", "--gallery", str(folder), "--json"]) == 1
    (report,) = json.loads(capsys.readouterr().out).values()
    assert [finding["lost"] for finding in report["findings"]] == ["nothing"]
    assert main(["gallery", "repair", "--gallery", str(folder)]) == 0
    assert content_of(folder) == before
    assert check_gallery(folder) == []
    (backup,) = folder.glob("damaged-*")
    assert [path.name for path in backup.iterdir()] == [name]


def test_every_flipped_byte_is_found_or_changes_nothing(folder: Path) -> None:
    before, raw = content_of(folder), (folder / "faces.parquet").read_bytes()
    (folder / "faces.copy.parquet").unlink()
    for place in range(0, len(raw), 29):
        damage(folder, "faces.parquet", lambda _, at=place: flip(at / len(raw) + 1e-9)(raw))  # type: ignore[misc]
        try:
            assert content_of(folder) == before
        except DamageError as error:
            assert "names and embeddings are lost, crops and photos are not" in str(error)


def test_without_a_whole_copy_the_loss_is_named_and_nothing_is_changed(folder: Path) -> None:
    for name in ("faces.parquet", "faces.copy.parquet"):
        damage(folder, name, DAMAGES["cut off"])
    assert {finding.lost for finding in check_gallery(folder)} == {"names and embeddings"}
    with pytest.raises(FaceOpsError, match=r"import an archive of `faceops gallery export`"):
        repair_gallery(folder)
    assert not list(folder.glob("damaged-*"))
    with pytest.raises(UsageError, match="is not a gallery"):
        check_gallery(folder.parent)


def test_a_lost_crop_costs_neither_name_nor_embedding(folder: Path) -> None:
    before = Gallery.open(folder)
    missing, changed, cut, _ = (
        crop_path(folder, face.crop_id) for face in [*before.faces, before.faces[0]]
    )
    missing.unlink()
    changed.write_bytes(changed.read_bytes() + b"x")
    cut.write_bytes(cut.read_bytes()[:500])
    store_png(folder, b"of no face")
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


def test_faces_that_cannot_be_used_are_named_and_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.open(folder)
    odd = [
        replace(make_face(folder, "Bo", 4), embedding=np.full(8, np.nan, np.float32)),
        replace(make_face(folder, "Cy", 5), embedding=np.zeros(8, np.float32)),
        make_face(folder, "Di", 6),
        make_face(folder, "Di", 6),
        make_face(folder, "E\u200bd", 7),
    ]
    gallery.with_faces(odd).with_aliases({"x": "Nobody"}).save()
    (folder / "outputs.jsonl").write_bytes(b'{"out": "/a"}\n\xff\n"/b"\n')
    found = [finding.what for finding in check_gallery(folder)]
    for what in ("embedding of Bo", "embedding of Cy", "Di (6.jpg) twice", "valid name", "outputs"):
        assert any(what in line for line in found), what
    repair = repair_gallery(folder)
    assert Gallery.open(folder).people == ["Ada", "Ann Lee", "Di", "E\u200bd"]
    assert len(Gallery.open(folder).faces) == 5
    assert (folder / "outputs.jsonl").read_text() == '{"out": "/a"}\n{"out": "/b"}\n'
    assert [one.what[:4] for one in repair.after if one.is_damage] == ["'E\\u"]
    monkeypatch.setattr(check, "is_valid_name", lambda name: True)
    assert [finding.is_damage for finding in check_gallery(folder)] == [False]


def test_a_gallery_of_format_1_is_checked_and_repaired(folder: Path) -> None:
    names = Gallery.open(folder).persons
    rewrite_as_format_1(folder)
    (folder / "faces.copy.parquet").unlink()
    assert check_gallery(folder) == []
    (folder / "gallery.json").unlink()
    with pytest.raises(FaceOpsError, match="faceops gallery repair"):
        Gallery.open(folder)
    assert repair_gallery(folder).after == []
    assert Gallery.open(folder).persons == names


def test_a_copy_that_a_killed_writer_left_behind_is_replaced_by_the_next(folder: Path) -> None:
    old = (folder / "faces.copy.parquet").read_bytes()
    rename(folder, "Ada", "Bo")
    (folder / "faces.copy.parquet").write_bytes(old)
    (finding,) = check_gallery(folder)
    assert not finding.is_damage and "older than faces.parquet" in finding.what
    rename(folder, "Bo", "Cy")
    assert check_gallery(folder) == []
