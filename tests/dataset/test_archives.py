"""Archives are unpacked as a whole or not at all, and never outside their folder."""

import gzip
import io
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.dataset import importer
from faceops.dataset.importer import is_archive, source_folder, unpack, without_credentials

FILE = tarfile.REGTYPE
Write = Callable[..., Path]


def write_tar(path: Path, *entries: tuple[str, bytes], kind: bytes = FILE) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "ok.jpg"
            info.size = len(content) if kind == FILE else 0
            tar.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, *entries: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


@pytest.fixture(params=[write_tar, write_zip], ids=["tar", "zip"])
def write(request: pytest.FixtureRequest) -> Write:
    """A function that writes an archive of (name, content) entries."""
    return request.param


def test_an_archive_is_unpacked_once(write, tmp_path):
    archive = write(tmp_path / "a", ("Ann/1.jpg", b"one"), ("Bob/2.jpg", b"two"))
    assert is_archive(archive)
    folder = unpack(archive, tmp_path / "out")
    assert (folder / "Bob" / "2.jpg").read_bytes() == b"two"
    (folder / "Ann" / "1.jpg").write_bytes(b"kept")
    unpack(archive, tmp_path / "out")
    assert (folder / "Ann" / "1.jpg").read_bytes() == b"kept"


def test_an_archive_changed_in_place_with_its_size_and_time_is_unpacked_anew(tmp_path):
    archive = tmp_path / "a.tar"
    for content in (b"one", b"two"):
        write_tar(archive, ("Ann/1.jpg", content))
        os.utime(archive, ns=(0, 0))
        with pytest.raises(KeyboardInterrupt), source_folder(str(archive), tmp_path / "w") as place:
            assert (place[0] / "Ann/1.jpg").read_bytes() == content
            raise KeyboardInterrupt  # what was unpacked is kept


@pytest.mark.parametrize("name", ["../out.jpg", "/tmp/out.jpg", "a/../../b", "..\\b"])
def test_entries_outside_the_folder_are_refused(write, name, tmp_path):
    archive = write(tmp_path / "a", ("ok.jpg", b"x"), (name, b"evil"))
    with pytest.raises(FaceOpsError, match="outside"):
        unpack(archive, tmp_path / "deep" / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "deep"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, "zip"]
)
def test_links_and_devices_are_refused(kind, tmp_path):
    if isinstance(kind, bytes):
        write_tar(tmp_path / "a", ("link", b""), kind=kind)
    else:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        with zipfile.ZipFile(tmp_path / "a", "w") as file:
            file.writestr(info, "/etc/passwd")
    with pytest.raises(FaceOpsError, match="link or a device"):
        unpack(tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bytes_and_entries_are_limited(write, tmp_path, monkeypatch):
    archive = write(tmp_path / "a", ("1", bytes(5000)), ("2", bytes(5000)))
    monkeypatch.setattr(importer, "MAX_BYTES", 9999)
    with pytest.raises(FaceOpsError, match="or 9,999 bytes"):
        unpack(archive, tmp_path / "out")
    monkeypatch.setattr(importer, "MAX_BYTES", 10_000)
    monkeypatch.setattr(importer, "MAX_ENTRIES", 1)
    with pytest.raises(FaceOpsError, match="limit of 1 entries"):
        unpack(archive, tmp_path / "out")
    monkeypatch.setattr(importer, "MAX_ENTRIES", 2)
    assert unpack(archive, tmp_path / "out").is_dir()


def test_broken_archives_and_other_files_are_refused(write, tmp_path):
    whole = write(tmp_path / "a", ("1", np.random.default_rng(3).bytes(50_000))).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FaceOpsError, match=r"broken|not a tar, tgz or zip"):
        unpack(tmp_path / "cut", tmp_path / "out")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(FaceOpsError, match="not a tar, tgz or zip"):
        unpack(tmp_path / "text", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [b"x", b"g", b"X", b"L", b"K"])
@pytest.mark.parametrize("first", [True, False])
def test_a_long_header_is_refused_before_it_is_read(kind, first, tmp_path):
    bomb = tarfile.TarInfo("bomb")
    bomb.type, bomb.size = kind, 300_000_000
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as out:
        if not first:
            out.write(tarfile.TarInfo("ok.jpg").tobuf())
        out.write(bomb.tobuf())
        for _ in range(16):
            out.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        assert is_archive(tmp_path / "a.tgz")
        with pytest.raises(FaceOpsError, match=r"a\.tgz has a header of 300000000 bytes"):
            unpack(tmp_path / "a.tgz", tmp_path / "out")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_of_ordinary_length_are_unpacked(form, tmp_path):
    (tmp_path / "photo").write_bytes(b"one")
    name = f"{'Ann' * 50}/{'x' * 150}.jpg"
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
        tar.add(tmp_path / "photo", name)
    assert (unpack(tmp_path / "a.tar", tmp_path / "out") / name).read_bytes() == b"one"


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("https://ann:secret@example.org:8443/a.tgz?token=x", "https://example.org:8443/a.tgz"),
        ("/home/ann/photos", "photos"),
        ("file:///home/ann/my%20photos.zip", "my photos.zip"),
    ],
)
def test_recorded_places_have_no_credentials(place, shown):
    assert without_credentials(place) == shown
