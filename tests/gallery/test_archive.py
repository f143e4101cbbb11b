"""A gallery is exported and imported byte for byte; damaged and hostile archives are refused."""

import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.cli import main
from faceops.gallery import faces_file
from faceops.gallery.archive import export_gallery, import_gallery
from faceops.gallery.decisions import Decisions
from faceops.gallery.people import rename
from faceops.gallery.storage import crop_path
from faceops.gallery.store import Gallery
from tests.gallery.gallery_files import CONTRACT, make_gallery, rewrite_as_format_2

PEOPLE = [("Zoë", 2), ("Ann Lee", 1), ("Ann Lee", 3)]


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_faces_are_written_and_read_in_blocks(tmp_path, monkeypatch):
    """One list of all values would end at 2**31, eight million faces of 256 numbers."""
    faces = make_gallery(tmp_path / "g", [("Ann", number) for number in range(5)]).faces
    monkeypatch.setattr(faces_file, "ROW_GROUP", 2)
    monkeypatch.setattr(faces_file, "_BLOCK", 1)
    path = tmp_path / "faces.parquet"
    path.write_bytes(faces_file.encode_faces(faces, {"contract_id": CONTRACT, "embedding_size": 8}))
    with pq.ParquetFile(path) as file:
        metadata = file.metadata
        assert [metadata.row_group(at).num_rows for at in range(3)] == [2, 2, 1]
    assert faces_file.parse_columns(path, {})[1].equals(faces.columns)
    np.testing.assert_array_equal(faces_file.parse_embeddings(path, 5, 8), faces.embeddings)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    make_gallery(tmp_path / "g", PEOPLE)
    export_gallery(tmp_path / "g", tmp_path / "a.tar")
    return tmp_path / "a.tar"


def test_equal_galleries_give_equal_archives_and_come_back_with_all_files(
    archive, tmp_path, capsys
):
    make_gallery(tmp_path / "other", PEOPLE)
    export_gallery(tmp_path / "other", tmp_path / "b.tar")
    assert archive.read_bytes() == (tmp_path / "b.tar").read_bytes()
    rename(tmp_path / "g", "Zoë", "Ada")
    (tmp_path / "g" / "outputs.jsonl").write_text('{"out": "/results"}\n')
    arguments = [str(archive), "--gallery"]
    assert main(["gallery", "export", *arguments, str(tmp_path / "g"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == archive.stat().st_size
    (tmp_path / "new").mkdir()
    assert main(["gallery", "import", *arguments, str(tmp_path / "new")]) == 0
    assert "2 people, 3 faces" in capsys.readouterr().out
    assert files_in(tmp_path / "new") == files_in(tmp_path / "g")
    assert Gallery.open(tmp_path / "new", CONTRACT).aliases == {"zoë": "Ada"}
    assert list(Decisions.load(tmp_path / "new").people().values()) == ["Ada"]
    assert main(["gallery", "import", *arguments, str(tmp_path / "new")]) == 2
    assert "is not empty; import into a new folder." in capsys.readouterr().err


def test_a_damaged_gallery_is_not_exported_over_the_archive(archive, tmp_path):
    before = archive.read_bytes()
    gallery = Gallery.open(tmp_path / "g")
    renamed = replace(gallery.faces[0], person="Ann\u200b Lee")
    replace(gallery, faces=(renamed, *list(gallery.faces)[1:])).save()
    with pytest.raises(FaceOpsError, match=r"'Ann\\u200b Lee' cannot be a person's name"):
        export_gallery(tmp_path / "g", archive)
    gallery.save()
    crop_path(tmp_path / "g", gallery.faces[1].crop_id).write_bytes(b"x")
    with pytest.raises(FaceOpsError, match=r"its SHA-256 differs.*see `faceops gallery check"):
        export_gallery(tmp_path / "g", archive)
    assert archive.read_bytes() == before and not list(tmp_path.glob(".*.tmp"))
    for inside in (tmp_path / "g" / "a.tar", tmp_path):
        with pytest.raises(UsageError, match="name a file elsewhere"):
            export_gallery(tmp_path / "g", inside)


def archived(folder: Path) -> dict[str, bytes]:
    """Return the files of the gallery as an archive has them."""
    rewritten = shutil.copytree(folder, folder.with_name("rewritten"))
    rewrite_as_format_2(rewritten)
    files = {name: content for name, content in files_in(rewritten).items() if "copy" not in name}
    shutil.rmtree(rewritten)
    return files


def bomb() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"person": ["a"] * 1_000_000}), buffer, compression="zstd")
    return buffer.getvalue()


def write_archive(archive: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> None:
    """Write the files with their manifest, unless they have one; `more` come first."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = json.dumps({"archive_version": 1, "files": digests}).encode()
    with tarfile.open(archive, "w") as tar:
        for member in more:
            tar.addfile(member, io.BytesIO())
        for name, content in ({"manifest.json": manifest} | files).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


HOSTILE = {
    r"'\.\./x' is not a file of a gallery": ("../x", b""),
    r"'crops/ab/x\.png' is not a file of a gallery": ("crops/ab/x.png", b""),
    "list where a JSON object is expected": ("manifest.json", b"[]"),
    "it is nested too deeply": ("manifest.json", b"[" * 100_000),
    "is not the file that its": ("manifest.json", b'{"archive_version": 1, "files": []}'),
    "its version is 9, this faceops reads 1": ("manifest.json", b'{"archive_version": 9}'),
    "cannot convert": ("gallery.json", b'{"embedding_size": Infinity, "contract_id": "c"}'),
    "unknown line": ("outputs.jsonl", b'{"out": 1}'),
    r"decisions.sqlite is damaged \(file is not": ("decisions.sqlite", b"x" * 4096),
    "cannot be imported": ("faces.parquet", b"x"),
    "would expand to 1000000 rows": ("faces.parquet", bomb()),
}


@pytest.mark.parametrize("sentence", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(sentence, archive, tmp_path):
    name, content = HOSTILE[sentence]
    write_archive(archive, archived(tmp_path / "g") | {name: content})
    with pytest.raises(FaceOpsError, match=sentence):
        import_gallery(archive, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "g"]


def test_faces_that_check_finds_damaged_are_refused(archive, tmp_path):
    gallery = Gallery.open(tmp_path / "g")
    for change, sentence in (
        ({"person": "\u202eAnn"}, "cannot be a person's name"),
        ({"embedding": np.full(8, np.nan, np.float32)}, "the embedding of Ann Lee .* is damaged"),
        ({"crop_id": "../../../secret"}, "is missing"),
    ):
        replace(gallery, faces=(replace(gallery.faces[0], **change),)).save()
        write_archive(archive, archived(tmp_path / "g"))
        with pytest.raises(FaceOpsError, match=f"cannot be imported .*{sentence}"):
            import_gallery(archive, tmp_path / "new")


def test_links_doubles_and_compression_are_refused(archive, tmp_path):
    link, double = tarfile.TarInfo("outputs.jsonl"), tarfile.TarInfo("gallery.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for member, sentence in ((link, "is not a plain file"), (double, "File exists")):
        write_archive(archive, {"gallery.json": b"{}"}, member)
        with pytest.raises(FaceOpsError, match=sentence):
            import_gallery(archive, tmp_path / "new")
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(double)
    with pytest.raises(FaceOpsError, match="cannot be imported"):
        import_gallery(archive, tmp_path / "new")


def test_every_cut_of_an_archive_is_refused(archive, tmp_path):
    content = archive.read_bytes()
    for size in range(0, len(content) - tarfile.RECORDSIZE, 9000):  # it ends with zeros
        archive.write_bytes(content[:size])
        with pytest.raises(FaceOpsError, match="cannot be imported"):
            import_gallery(archive, tmp_path / "new")
