"""A gallery is exported and imported byte for byte; damaged and hostile archives are refused."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.cli import main
from faceops.gallery.archive import export_gallery, import_gallery
from faceops.gallery.crops import crop_path
from faceops.gallery.people import rename
from faceops.gallery.store import Gallery
from tests.gallery.gallery_files import CONTRACT, make_gallery, rewrite_as_format_1

PEOPLE = [("Zoë", 2), ("Ann Lee", 1), ("Ann Lee", 3)]
Members = list[tuple[tarfile.TarInfo, bytes]]


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    make_gallery(tmp_path / "g", PEOPLE)
    export_gallery(tmp_path / "g", tmp_path / "a.tar")
    return tmp_path / "a.tar"


def test_equal_galleries_give_equal_archives_and_come_back_with_all_files(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rename(tmp_path / "g", "Zoë", "Ada")
    (tmp_path / "g" / "outputs.jsonl").write_text('{"out": "/results"}\n')
    other = make_gallery(tmp_path / "other", PEOPLE)
    assert other.people == ["Ann Lee", "Zoë"]
    export_gallery(tmp_path / "other", tmp_path / "b.tar")
    assert archive.read_bytes() == (tmp_path / "b.tar").read_bytes()
    arguments = [str(archive), "--gallery"]
    assert main(["gallery", "export", *arguments, str(tmp_path / "g"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == archive.stat().st_size
    (tmp_path / "new").mkdir()
    assert main(["gallery", "import", *arguments, str(tmp_path / "new")]) == 0
    assert "2 people, 3 faces" in capsys.readouterr().out
    assert files_in(tmp_path / "new") == files_in(tmp_path / "g")
    assert Gallery.open(tmp_path / "new", CONTRACT).aliases == {"zoë": "Ada"}
    assert main(["gallery", "import", *arguments, str(tmp_path / "new")]) == 2
    assert "is not empty; import into a new folder." in capsys.readouterr().err


def test_a_gallery_of_format_1_is_migrated_by_the_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make_gallery(tmp_path / "g", PEOPLE)
    files = rewrite_as_format_1(tmp_path / "g")
    export_gallery(tmp_path / "g", tmp_path / "a.tar")
    assert files_in(tmp_path / "g") == files
    gallery = import_gallery(tmp_path / "a.tar", tmp_path / "new")
    assert f"{tmp_path / 'new'}: migrated to gallery format 2" in capsys.readouterr().err
    assert [face.crop_id for face in gallery.faces] == [face.crop_id for face in before.faces]


def test_a_damaged_gallery_is_not_exported_over_the_archive(archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    face = Gallery.open(tmp_path / "g").faces[1]
    crop_path(tmp_path / "g", face.crop_id).write_bytes(b"x")
    with pytest.raises(FaceOpsError, match="faceops gallery repair"):
        export_gallery(tmp_path / "g", archive)
    assert archive.read_bytes() == before and not list(tmp_path.glob(".*.tmp"))
    for inside in (tmp_path / "g" / "a.tar", tmp_path):
        with pytest.raises(UsageError, match="name a file elsewhere"):
            export_gallery(tmp_path / "g", inside)


def add(members: Members, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
    members.insert(0, (member, content))


def change(members: Members, name: str, content: bytes) -> None:
    for place, (member, _) in enumerate(members):
        if member.name.startswith(name):
            member.size = len(content)
            members[place] = member, content


def bomb() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"person": ["a"] * 1_000_000}), buffer, compression="zstd")
    return buffer.getvalue()


HOSTILE: dict[str, Callable[[Members], None]] = {
    r"'\.\./x' is no file": lambda members: add(members, "../x"),
    "'/etc/x' is no file": lambda members: add(members, "/etc/x"),
    "'crops/ab/x.png' is no file": lambda members: add(members, "crops/ab/x.png"),
    "'a' is not a plain file": lambda members: add(members, "a", kind=tarfile.SYMTYPE),
    "'b' is not a plain file": lambda members: add(members, "b", kind=tarfile.LNKTYPE),
    "'c' is not a plain file": lambda members: add(members, "c", kind=tarfile.FIFOTYPE),
    "'crops' is not a plain file": lambda members: add(members, "crops", kind=tarfile.DIRTYPE),
    "'gallery.json' is there twice": lambda members: add(members, "gallery.json", b"{}"),
    "'x' is there twice, or after": lambda members: members.append((tarfile.TarInfo("x"), b"")),
    "it was cut off": lambda members: members.__delitem__(-1),
    "its manifest lists no files": lambda members: change(members, "manifest.json", b"[]"),
    "archive version 9": lambda members: change(
        members, "manifest.json", b'{"files": {}, "archive_version": 9}'
    ),
    "faces.parquet and 1 others are not": lambda members: change(members, "faces.parquet", b"x"),
    "cannot be imported": lambda members: change(members, "manifest.json", b"\xff{"),
}


@pytest.mark.parametrize("sentence", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    sentence: str, archive: Path, tmp_path: Path
) -> None:
    with tarfile.open(archive) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    HOSTILE[sentence](members)
    rewrite(archive, members)
    with pytest.raises(FaceOpsError, match=sentence):
        import_gallery(archive, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "g"]


def rewrite(archive: Path, members: Members) -> None:
    with tarfile.open(archive, "w") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))


def test_a_decompression_bomb_and_a_compressed_archive_are_refused(
    archive: Path, tmp_path: Path
) -> None:
    with tarfile.open(archive) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    change(members, "faces.parquet", bomb())
    manifest = json.loads(members[-1][1])
    manifest["files"]["faces.parquet"] = hashlib.sha256(bomb()).hexdigest()
    change(members, "manifest.json", json.dumps(manifest).encode())
    rewrite(archive, members)
    with pytest.raises(FaceOpsError, match="would expand to 1000000 rows"):
        import_gallery(archive, tmp_path / "new")
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("gallery.json"))
    with pytest.raises(FaceOpsError, match="cannot be imported"):
        import_gallery(archive, tmp_path / "new")


def test_every_cut_of_an_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    for size in range(0, len(content) - tarfile.RECORDSIZE, 5000):  # it ends with zeros
        archive.write_bytes(content[:size])
        with pytest.raises(FaceOpsError, match="cannot be imported"):
            import_gallery(archive, tmp_path / "new")
    shutil.rmtree(tmp_path / "g")
    archive.write_bytes(content)
    assert len(import_gallery(archive, tmp_path / "g").faces) == 3
