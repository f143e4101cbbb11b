"""System folders and what patterns match are skipped, and it is said by which rule."""

import os
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.photos.walk import walk_files, walk_photos
from tests.photos.test_walk import touch


def walk(root: Path, *exclude: str) -> tuple[list[str], dict[str, str]]:
    """Return the photos, and the rule of each skipped path."""
    skipped: dict[Path, str] = {}
    paths = walk_photos(root, exclude, skipped)
    return (
        [path.relative_to(root).as_posix() for path in paths],
        {path.relative_to(root).as_posix(): rule for path, rule in skipped.items()},
    )


@pytest.mark.parametrize(
    ("folder", "rule"),
    [
        ("@eaDir", "@eaDir"), ("#recycle", "#recycle"), ("$RECYCLE.BIN", "$RECYCLE.BIN"),
        ("$Recycle.Bin", "$Recycle.Bin"), ("System Volume Information",) * 2,
        ("__MACOSX", "__MACOSX"), (".Trash-1000", ".*"), (".thumbnails", ".*"),
        (".@__thumb", ".*"), ("@Recycle", "@Recycle"), ("lost+found", "lost+found"),
        ("My Catalog Previews.lrdata", "*.lrdata"),
    ],
)  # fmt: skip
def test_folders_of_systems_are_skipped_at_any_depth(
    folder: str, rule: str, tmp_path: Path
) -> None:
    touch(tmp_path, "a.jpg", f"{folder}/b.jpg", f"deep/{folder}/x/c.jpg", "deep/d.jpg")
    assert walk(tmp_path) == (["a.jpg", "deep/d.jpg"], {folder: rule, f"deep/{folder}": rule})
    assert walk(tmp_path / folder / "..")[0] == ["a.jpg", "deep/d.jpg"]
    assert walk(tmp_path / folder)[0] == ["b.jpg"]  # it is what the user named
    if rule != ".*":
        pattern = folder.replace("#", "\\#")
        assert len(walk(tmp_path, f"!{pattern}/")[0]) == 4


def test_of_a_photo_library_the_originals_are_walked(tmp_path: Path) -> None:
    library = "Family.photoslibrary"
    names = [f"{library}/{name}" for name in ("originals/0/a.jpg", "resources/derivatives/a.jpg")]
    touch(tmp_path, *names, f"{library}/database/x.db", "old.aplibrary/Masters/b.jpg")
    photos, skipped = walk(tmp_path)
    assert photos == [names[0], "old.aplibrary/Masters/b.jpg"]
    assert set(skipped.values()) == {"*.photoslibrary"}


def test_patterns_of_options_and_files_have_the_semantics_of_gitignore(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "keep.png", "b.jpg", "sub/c.png", "sub/d.jpg", "sub/private/e.jpg")
    touch(tmp_path, "sub/deeper/f.gif", "top/g.jpg", "sub/top/h.jpg", "Thumbs.db")
    (tmp_path / ".faceopsignore").write_bytes(
        b"\xef\xbb\xbf# pictures\r\n*.png\r\n!keep.png\r\n/top/\r\n"
    )
    (tmp_path / "sub/.faceopsignore").write_text("private/\n!c.png\n/d.jpg\n")
    photos, skipped = walk(tmp_path, "*.gif")
    assert photos == ["b.jpg", "keep.png", "sub/c.png", "sub/top/h.jpg"]
    assert skipped == {
        "Thumbs.db": "Thumbs.db",
        "a.png": ".faceopsignore: *.png",
        "top": ".faceopsignore: /top/",
        "sub/d.jpg": "sub/.faceopsignore: /d.jpg",
        "sub/private": "sub/.faceopsignore: private/",
        "sub/deeper/f.gif": "*.gif",
    }
    assert walk(tmp_path, "*", "!/sub", "!/sub/c.png")[0] == ["sub/c.png"]  # options come first
    everything = walk_files(tmp_path, lambda name: name.endswith((".png", ".jpg", ".gif")))
    assert len(everything) == 9


def test_links_have_the_rules_of_the_folder_that_they_are_in(tmp_path: Path) -> None:
    touch(tmp_path, "out/a.jpg", "out/b.png", "root/c.jpg")
    (tmp_path / "root/link").symlink_to(tmp_path / "out")
    (tmp_path / "root/other").symlink_to(tmp_path / "out")
    (tmp_path / "root/.faceopsignore").write_text("*.png\n/link\n")
    photos, skipped = walk(tmp_path / "root")
    assert photos == ["c.jpg", "other/a.jpg"] and sorted(skipped) == ["link", "other/b.png"]


def test_wrong_patterns_get_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--exclude: Invalid git pattern: '!'; write patterns as"):
        walk(tmp_path, "!")
    ignore = tmp_path / ".faceopsignore"
    ignore.write_bytes("*.png".encode("utf-16"))
    with pytest.raises(UsageError, match=r"faceopsignore is not UTF-8 text; save it"):
        walk(tmp_path)
    ignore.unlink()
    os.mkfifo(ignore)
    with pytest.raises(FaceOpsError, match=r"faceopsignore is not a file; remove it"):
        walk(tmp_path)


def test_names_that_are_no_text_match(tmp_path: Path) -> None:
    (tmp_path / ".faceopsignore").write_bytes(b"caf\xe9.jpg\n")
    try:
        (tmp_path / "caf\udce9.jpg").write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    touch(tmp_path, "a.jpg")
    assert walk(tmp_path)[0] == ["a.jpg"]
