"""Files and folders that this user may not read give reasons, not crashes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from faceops.photos.open_photo import PhotoError, open_photo
from faceops.photos.walk import walk_photos

NOBODY = 65534


def as_ordinary_user(folder: Path, check: Callable[[], bool]) -> bool:
    """Run `check` with `folder` as working folder; as root, in a child without root's rights."""
    folder.chmod(0o755)
    child = os.fork()
    if child == 0:
        passed = False
        try:
            os.chdir(folder)  # names are relative: the folders above may be closed
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            passed = check()
        finally:
            os._exit(0 if passed else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_photo_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (32, 32)).save(path)
    path.chmod(0)

    def check() -> bool:
        with pytest.raises(PhotoError) as caught:
            open_photo(Path("photo.jpg"))
        return caught.value.reason == "unreadable" and "permission" in str(caught.value)

    assert as_ordinary_user(tmp_path, check)


def test_a_folder_that_may_not_be_listed_is_itself_listed_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "b.jpg").write_bytes(b"x")
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "closed").chmod(0)

    def check() -> bool:
        with pytest.raises(PhotoError) as caught:
            open_photo(Path("closed"))
        listed = walk_photos(Path())
        return listed == [Path("a.jpg"), Path("closed")] and caught.value.reason == "unreadable"

    try:
        assert as_ordinary_user(tmp_path, check)
    finally:
        (tmp_path / "closed").chmod(0o755)
