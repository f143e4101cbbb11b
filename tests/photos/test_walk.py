"""Walking folders: everything once, in order, whatever the names and links; what is skipped."""

import os
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.photos.open_photo import PhotoError, open_photo
from faceops.photos.walk import walk_files, walk_photos

NOBODY = 65534


def files(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in walk_photos(root)]


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_files_are_sorted_by_their_posix_path(tmp_path):
    names = ["B.jpg", "a b.txt", "a.jpg", "a/b/c.jpg", "a/z.jpg", "b.jpg"]
    names += ["c\nd.jpg", 'say "cheese".jpg', "tom's.jpg", "写真/顔.png"]
    touch(tmp_path, *names[::-1], ".hidden.jpg", ".git/b.jpg", "c/.DS_Store", "a.jpg.xmp")
    touch(tmp_path, "a.jpg.XMP~", "a.jpg.xmp_original", "a.xmp.bak")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert files(tmp_path) == names
    (tmp_path / "y.jpg").symlink_to("a.jpg")
    (tmp_path / "z.jpg").symlink_to("nowhere")
    assert files(tmp_path) == [*names[:-1], "y.jpg", "z.jpg", names[-1]]


def test_a_name_that_is_not_utf8_comes_through_and_patterns_match_it(tmp_path):
    path = tmp_path / "caf\udce9.jpg"
    try:
        path.write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert walk_photos(tmp_path) == [path]
    (tmp_path / ".faceopsignore").write_bytes(b"caf\xe9.jpg\n")
    assert walk_photos(tmp_path) == []


def test_loops_of_links_end_and_a_linked_folder_is_entered_once_by_its_own_name_first(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    touch(tmp_path, "root/a/one.jpg", "root/b/two.jpg", "outside/far.jpg")
    touch(tmp_path, "outside/g/gallery.json", "outside/g/crops/aa/face.png")  # no photos
    touch(tmp_path, "root/out/state.sqlite", "root/out/runs/1/annotated/one.jpg")
    touch(tmp_path, "root/sent/faces.jsonl", "root/sent/summary.json", "root/sent/annotated/a.jpg")
    for link, target in (("a/up", root), ("a/across", root / "b"), ("b/across", root / "a")):
        (root / link).symlink_to(target)
    for link, target in (("0", root / "a"), ("link1", outside), ("link2", outside)):
        (root / link).symlink_to(target)
    shown, skipped = walk(root)
    assert shown == ["a/one.jpg", "b/two.jpg", "link1/far.jpg"]
    own = dict.fromkeys(("out", "sent"), "results of identify")
    assert skipped == {"link1/g": "a gallery", **own}
    assert "runs/1/annotated/one.jpg" in walk(root / "out")[0]  # named by the user


def test_a_path_that_is_not_a_folder_is_refused_in_a_sentence(tmp_path):
    touch(tmp_path, "file")
    for name in ("absent", "file"):
        with pytest.raises(UsageError, match="name a folder of photos"):
            walk_photos(tmp_path / name)


def test_unreadable_files_are_listed_with_a_reason(tmp_path):
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
def test_folders_of_systems_are_skipped_at_any_depth(folder, rule, tmp_path):
    touch(tmp_path, "a.jpg", f"{folder}/b.jpg", f"deep/{folder}/x/c.jpg", "deep/d.jpg")
    assert walk(tmp_path) == (["a.jpg", "deep/d.jpg"], {folder: rule, f"deep/{folder}": rule})
    assert walk(tmp_path / folder / "..")[0] == ["a.jpg", "deep/d.jpg"]
    assert walk(tmp_path / folder)[0] == ["b.jpg"]  # it is what the user named
    if rule != ".*":
        pattern = folder.replace("#", "\\#")
        assert len(walk(tmp_path, f"!{pattern}/")[0]) == 4


def test_of_a_photo_library_the_originals_are_walked(tmp_path):
    library = "Family.photoslibrary"
    names = [f"{library}/{name}" for name in ("originals/0/a.jpg", "resources/derivatives/a.jpg")]
    touch(tmp_path, *names, f"{library}/database/x.db", "old.aplibrary/Masters/b.jpg")
    photos, skipped = walk(tmp_path)
    assert photos == [names[0], "old.aplibrary/Masters/b.jpg"]
    assert set(skipped.values()) == {"*.photoslibrary"}


def test_patterns_of_options_and_files_have_the_semantics_of_gitignore(tmp_path):
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


def test_links_have_the_rules_of_the_folder_that_they_are_in(tmp_path):
    touch(tmp_path, "out/a.jpg", "out/b.png", "root/c.jpg")
    (tmp_path / "root/link").symlink_to(tmp_path / "out")
    (tmp_path / "root/other").symlink_to(tmp_path / "out")
    (tmp_path / "root/.faceopsignore").write_text("*.png\n/link\n")
    photos, skipped = walk(tmp_path / "root")
    assert photos == ["c.jpg", "other/a.jpg"] and sorted(skipped) == ["link", "other/b.png"]


def test_wrong_patterns_get_one_sentence(tmp_path):
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
