"""Archives from anywhere: whole or not at all, and never outside the folder."""

import gzip
import io
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.dataset.archives import ArchiveLimits, is_archive, unpack


def make_tar(path: Path, *entries: tuple[str, bytes, bytes]) -> Path:
    """Write a tgz of (name, type, content or link target)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content.decode()
                tar.addfile(info)
    return path


def make_zip(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


FILE = tarfile.REGTYPE


def test_tar_and_zip_are_unpacked_once(tmp_path: Path) -> None:
    tar = make_tar(tmp_path / "a.tgz", ("Ann/1.jpg", FILE, b"one"), ("Bob/2.jpg", FILE, b"two"))
    folder = unpack(tar, tmp_path / "out")
    assert (folder / "Ann" / "1.jpg").read_bytes() == b"one"
    assert (folder / "Bob" / "2.jpg").read_bytes() == b"two"
    (folder / "Ann" / "1.jpg").write_bytes(b"kept")
    unpack(tar, tmp_path / "out")
    assert (folder / "Ann" / "1.jpg").read_bytes() == b"kept"
    zipped = make_zip(tmp_path / "b.zip", **{"Ann/1.jpg": b"one"})
    assert (unpack(zipped, tmp_path / "out2") / "Ann" / "1.jpg").read_bytes() == b"one"
    assert is_archive(tar)
    assert is_archive(zipped)


@pytest.mark.parametrize("name", ["../out.jpg", "/tmp/out.jpg", "a/../../b", "..\\b", "C:\\b"])
def test_entries_outside_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    for archive in (
        make_tar(tmp_path / "a.tgz", ("ok.jpg", FILE, b"x"), (name, FILE, b"evil")),
        make_zip(tmp_path / "a.zip", **{"ok.jpg": b"x", name: b"evil"}),
    ):
        with pytest.raises(FaceOpsError, match="outside"):
            unpack(archive, tmp_path / "deep" / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tgz", "a.zip", "deep"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tgz", ("ok.jpg", FILE, b"x"), ("link", kind, b"ok.jpg"))
    with pytest.raises(FaceOpsError, match="link or a device"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(FaceOpsError, match="link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_limits_on_bytes_and_entries(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tgz", ("1", FILE, bytes(5000)), ("2", FILE, bytes(5000)))
    with pytest.raises(FaceOpsError, match="limit on bytes"):
        unpack(archive, tmp_path / "out", ArchiveLimits(max_bytes=9999))
    with pytest.raises(FaceOpsError, match="more than 1 entries"):
        unpack(archive, tmp_path / "out", ArchiveLimits(max_entries=1))
    assert unpack(archive, tmp_path / "out", ArchiveLimits(max_bytes=10_000)).is_dir()


def test_broken_archives_and_other_files_are_refused(tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "a.tgz", ("1", FILE, np_noise(50_000))).read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.tgz").write_text("no archive")
    with pytest.raises(FaceOpsError, match="broken"):
        unpack(tmp_path / "cut.tgz", tmp_path / "out")
    with pytest.raises(FaceOpsError, match="no tar, tgz or zip"):
        unpack(tmp_path / "text.tgz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def np_noise(size: int) -> bytes:
    """Return bytes that do not compress."""
    import numpy as np

    return np.random.default_rng(3).bytes(size)


@pytest.mark.parametrize("kind", [b"x", b"g", b"X", b"L", b"K"])
@pytest.mark.parametrize("first", [True, False])
def test_a_long_header_is_refused_unread(kind: bytes, first: bool, tmp_path: Path) -> None:
    bomb = tarfile.TarInfo("bomb")
    bomb.type, bomb.size = kind, 300_000_000
    file = tarfile.TarInfo("ok.jpg")
    headers = [bomb.tobuf()] if first else [file.tobuf(), bomb.tobuf()]
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as out:
        for header in headers:
            out.write(header)
        for _ in range(64):
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
def test_long_names_that_are_real_are_unpacked(form: int, tmp_path: Path) -> None:
    name = f"{'Ann' * 50}/{'x' * 150}.jpg"
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
        info = tarfile.TarInfo(name)
        info.size = 3
        tar.addfile(info, io.BytesIO(b"one"))
    assert (unpack(tmp_path / "a.tar", tmp_path / "out") / name).read_bytes() == b"one"
