"""Walking folders: everything once, in order, whatever the names and links."""

import os
from pathlib import Path

import pytest

from faceops.base.errors import UsageError
from faceops.photos.open_photo import PhotoError, open_photo
from faceops.photos.walk import walk_photos

NOBODY = 65534


def files(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in walk_photos(root)]


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_files_are_sorted_by_their_posix_path(tmp_path: Path) -> None:
    names = ["B.jpg", "a b.txt", "a.jpg", "a/b/c.jpg", "a/z.jpg", "b.jpg"]
    names += ["c\nd.jpg", 'say "cheese".jpg', "tom's.jpg", "写真/顔.png"]
    touch(tmp_path, *names[::-1], ".hidden.jpg", ".git/b.jpg", "c/.DS_Store", "a.jpg.xmp")
    touch(tmp_path, "a.jpg.XMP~", "a.jpg.xmp_original", "a.xmp.bak")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert files(tmp_path) == names
    (tmp_path / "y.jpg").symlink_to("a.jpg")
    (tmp_path / "z.jpg").symlink_to("nowhere")
    assert files(tmp_path) == [*names[:-1], "y.jpg", "z.jpg", names[-1]]


def test_a_name_that_is_not_utf8_comes_through(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    try:
        Path(os.fsdecode(raw)).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert [os.fsencode(path) for path in walk_photos(tmp_path)] == [raw]


def test_loops_of_links_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/one.jpg", "b/two.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "across").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "across").symlink_to(tmp_path / "a")
    assert files(tmp_path) == ["a/one.jpg", "b/two.jpg"]


def test_a_linked_folder_is_entered_once_and_by_its_own_name_first(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    touch(outside, "far.jpg")
    root = tmp_path / "root"
    touch(root, "z/near.jpg")
    (root / "a").symlink_to(root / "z")
    (root / "link1").symlink_to(outside)
    (root / "link2").symlink_to(outside)
    assert files(root) == ["link1/far.jpg", "z/near.jpg"]


@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_path_that_is_not_a_folder_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UsageError, match="name a folder of photos"):
        walk_photos(tmp_path / name)


def test_unreadable_files_are_listed_with_a_reason(tmp_path: Path) -> None:
    """As root, the check runs in a child process without root's rights."""
    touch(tmp_path, "closed/b.jpg", "a.jpg")
    tmp_path.chmod(0o755)
    for name in ("closed", "a.jpg"):
        (tmp_path / name).chmod(0)
    child = os.fork()
    if child == 0:
        passed = False
        try:
            os.chdir(tmp_path)  # names are relative: the folders above may be closed
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            listed = walk_photos(Path())
            for path in listed:
                with pytest.raises(PhotoError, match=r"may not be .*give this user permission"):
                    open_photo(path)
            passed = listed == [Path("a.jpg"), Path("closed")]
        finally:
            os._exit(0 if passed else 1)
    (_, status) = os.waitpid(child, 0)
    (tmp_path / "closed").chmod(0o755)
    assert os.waitstatus_to_exitcode(status) == 0
