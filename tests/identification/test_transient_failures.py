"""What failed for want of a disk, a permission or memory is tried again by the next run."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from faceops.gallery.store import Gallery
from faceops.identification.engine.extract import FaceExtractor
from faceops.identification.run import identify
from faceops.identification.settings import DETAIL
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.schema import method_of
from faceops.identification.summary import Timer
from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo
from faceops.release.bundle import Bundle


def reasons_of(out: Path) -> list[str | None]:
    rows = pq.read_table(out / "faces.parquet").to_pylist()
    return [row["reason"] for row in rows if row["face_index"] is None]


def photos_with_faces(out: Path) -> dict[str, bool]:
    rows = pq.read_table(out / "faces.parquet").to_pylist()
    return {row["photo_path"]: row["face_index"] is not None for row in rows}


def fail_once(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the next opening of a photo (not the hashing before it) end with `error`."""
    left, real = [error], os.open

    def opened(path: Any, *rest: Any, **options: Any) -> int:
        if left and str(path).endswith(".jpg"):
            raise left.pop()
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, "Input/output error"), "unreadable"),
        (OSError(errno.EMFILE, "Too many open files"), "unreadable"),
        (PermissionError(errno.EACCES, "Permission denied"), "unreadable"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "vanished"),
        (MemoryError(), "unreadable"),
    ],
)
def test_a_photo_that_failed_once_is_opened_by_the_next_run(
    error: BaseException,
    reason: str,
    album: Path,
    gallery: Gallery,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = album / "orientation_6.jpg"
    fail_once(monkeypatch, error)
    first = identify(photo, gallery, bundle, tmp_path / "out")
    assert reasons_of(tmp_path / "out") == [reason]
    assert (first.photos_opened, first.photos_reused) == (0, 0)
    second = identify(photo, gallery, bundle, tmp_path / "out")
    assert (second.photos_opened, second.faces > 0) == (1, True)
    assert identify(photo, gallery, bundle, tmp_path / "out").unchanged


def test_a_file_that_changed_while_it_was_opened_is_not_kept_under_its_old_bytes(
    album: Path,
    gallery: Gallery,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = tmp_path / "photo.jpg"
    good = (album / "orientation_6.jpg").read_bytes()
    photo.write_bytes(good)
    real = os.open

    def half_written(path: Any, *rest: Any, **options: Any) -> int:
        photo.write_bytes(good[:2000])
        return real(path, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", half_written)
        identify(photo, gallery, bundle, tmp_path / "out")
    assert reasons_of(tmp_path / "out") == ["unreadable"]
    photo.write_bytes(good)
    assert identify(photo, gallery, bundle, tmp_path / "out").faces > 0


def fail_once_at(monkeypatch: pytest.MonkeyPatch, method: str, photo: Path) -> None:
    """Let the next `method` of a path to `photo` end with an error of the disk."""
    left, real = [OSError(errno.EIO, "Input/output error")], getattr(Path, method)

    def fails(path: Path, *rest: Any, **options: Any) -> Any:
        if left and path.name == photo.name:
            raise left.pop()
        return real(path, *rest, **options)

    monkeypatch.setattr(Path, method, fails)


def test_a_photo_that_could_be_opened_though_not_hashed_is_kept(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, out = album / "orientation_6.jpg", tmp_path / "out"
    fail_once_at(monkeypatch, "open", photo)
    first = identify(album, gallery, bundle, out)
    assert photos_with_faces(out)[photo.name] is True
    assert "data:image/jpeg" in (out / "report.html").read_text("utf-8")
    (out / "summary.json").unlink()
    second = identify(album, gallery, bundle, out)
    assert (second.photos_opened, second.faces) == (0, first.faces)


def test_a_photo_that_was_not_there_at_first_is_kept_by_its_bytes(
    album: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = album / "orientation_6.jpg"
    method = method_of(bundle.release, PhotoLimits(), DETAIL)
    with contextlib.closing(FaceStore(tmp_path / "state.sqlite", method)) as store:
        looker = FaceExtractor(bundle, bundle.face_finder(), store, PhotoLimits(), Timer())
        fail_once_at(monkeypatch, "stat", photo)
        (first,) = looker.extract([photo])
        assert (first.file, first.opened, len(first.photo.faces) > 0) == (None, True, True)
        assert store.load([first.photo.photo_id or ""])
        (second,) = looker.extract([photo])
        assert (second.file is None, second.opened) == (False, False)


def test_broken_bytes_are_not_transient(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 100)
    for name, transient in (("broken.jpg", False), ("gone.jpg", True)):
        with pytest.raises(PhotoError) as caught:
            open_photo(tmp_path / name)
        assert caught.value.transient is transient
