"""Photos that come back cost nothing; data of photos that stay away are dropped."""

import json
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.cli.identify import result_lines
from faceops.gallery.store import Gallery
from faceops.identification.forget.forget import forget_person
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.identification.state.presence import GRACE
from faceops.identification.summary import read_summary
from faceops.release.bundle import Bundle
from tests.identification.conftest import count, results_missing, rows_of, stored_faces


def let_grace_pass(out: Path) -> None:
    """Let the grace period pass."""
    past = int(GRACE.total_seconds()) + 1
    with sqlite3.connect(out / "state.sqlite") as db:
        db.execute("UPDATE files SET gone_since=gone_since-?", (past,))
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    summary["drop_at"] = summary["started"]
    (out / "summary.json").write_text(json.dumps(summary), "utf-8")


def test_a_run_over_one_photo_finds_no_other_missing(
    album: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    first = identify(album, gallery, bundle, out)
    one = identify(album / "orientation_6.jpg", gallery, bundle, out)
    assert (one.photos, one.vanished, one.photos_opened) == (1, 0, 0)
    assert {row["photo_path"] for row in rows_of(out)} == {"orientation_6.jpg"}
    again = identify(album, gallery, bundle, out)
    assert (again.photos_opened, again.photos_reused) == (0, first.photos_reused)


def test_a_folder_that_comes_back_is_not_opened_again(
    album: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    away = out.parent / "away"
    first = identify(album, gallery, bundle, out)
    (album / "scenes").rename(away)
    without = identify(album, gallery, bundle, out)
    assert (without.vanished, without.moved) == (8, 0)
    assert without.drop_at > without.started
    assert identify(album, gallery, bundle, results_missing(out)).vanished == 0  # counted once
    away.rename(album / "scenes")
    back = identify(album, gallery, bundle, out)
    assert (back.photos_opened, back.photos_reused) == (0, first.photos_reused)
    assert back.drop_at == ""


def test_data_of_missing_photos_are_dropped_after_the_grace_period(
    album: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    first = identify(album, gallery, bundle, out)
    shutil.rmtree(album / "scenes")
    identify(album, gallery, bundle, out)
    assert identify(album, gallery, bundle, out).unchanged
    assert stored_faces(out, forgotten=False) == first.faces
    let_grace_pass(out)
    later = identify(album, gallery, bundle, out)
    assert (later.unchanged, later.photos_opened, later.drop_at) == (False, 0, "")
    assert stored_faces(out, forgotten=False) == later.faces < first.faces
    assert count(out, "files") == later.photos
    assert identify(album, gallery, bundle, out).unchanged


def test_a_folder_within_is_part_of_the_folder_above(
    album: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    identify(album / "scenes", gallery, bundle, out)
    identify(album, gallery, bundle, out)
    neighbour = album.with_name(album.name + "0")  # a common prefix, another folder
    neighbour.mkdir()
    os.link(album / "orientation_6.jpg", neighbour / "one.jpg")
    identify(neighbour, gallery, bundle, out)
    shutil.rmtree(album / "scenes")
    assert identify(album, gallery, bundle, out).vanished == 8
    assert count(out, "files WHERE gone_since IS NULL") == 5


def test_a_folder_known_to_be_empty_is_accepted_and_a_suddenly_empty_one_refused(
    album: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    identify(album, gallery, bundle, out)
    shutil.rmtree(album / "scenes")
    identify(album, gallery, bundle, out)
    (album / "scenes").mkdir()
    # Its photos are known to be missing: an empty folder is expected.
    assert identify(album / "scenes", gallery, bundle, out).photos == 0
    for path in album.glob("*.jpg"):
        path.unlink()
    with pytest.raises(FaceOpsError, match="is the disk or share connected"):
        identify(album, gallery, bundle, out)
    (album / "lost+found.txt").write_text("what an empty mount point may hold")
    with pytest.raises(FaceOpsError, match="none of the photos that the latest run saw"):
        identify(album, gallery, bundle, out)
    assert identify(album, gallery, bundle, out, IdentifySettings(allow_empty=True)).vanished == 4
    assert identify(album, gallery, bundle, out).unchanged


def test_a_renamed_photo_is_moved_not_vanished(
    album: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    identify(album, gallery, bundle, out)
    one, other, *_ = sorted((album / "scenes").iterdir())
    one.rename(album / "renamed.jpg")
    other.unlink()
    (album / "empty.jpg").rename(album / "nothing.jpg")  # no bytes by which to know it
    summary = identify(album, gallery, bundle, out)
    assert (summary.moved, summary.vanished, summary.photos_opened) == (1, 2, 0)
    assert "1 photos moved" in (out / "report.html").read_text("utf-8")
    assert any("1 photos moved: found at a new path" in one for one in result_lines(summary, out))


@pytest.mark.parametrize("how", ["no permission", "a link to a share that is away"])
def test_a_folder_that_cannot_be_listed_is_named_and_its_photos_are_kept(
    how: str,
    album: Path,
    gallery: Gallery,
    bundle: Bundle,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenes, share = album / "scenes", out.parent / "share"
    if how != "no permission":
        scenes.rename(share)
        scenes.symlink_to(share, target_is_directory=True)
    first = identify(album, gallery, bundle, out)
    with monkeypatch.context() as patched:
        if how == "no permission":
            real = os.scandir
            patched.setattr(os, "scandir", lambda path: real(_refused(Path(path), scenes)))
        else:
            share.rename(out.parent / "elsewhere")
            with pytest.raises(FaceOpsError, match=r"of the first .* could not be read"):
                identify(album, gallery, bundle, out)
        settings = IdentifySettings(max_failed_share=1)
        identify(album, gallery, bundle, out, settings)
        without = identify(album, gallery, bundle, out, settings)  # nor by a second run
    assert (without.photos, without.faces) == (first.photos + 1, first.faces)  # and the folder
    assert (without.vanished, without.unlisted) == (0, ["scenes"])
    assert "scenes" in (out / "report.html").read_text("utf-8").split("Could not be listed")[1][:20]
    assert read_summary(out).unlisted == ["scenes"]
    if how != "no permission":
        (out.parent / "elsewhere").rename(share)
    back = identify(album, gallery, bundle, out)
    assert (back.photos_opened, back.photos_reused) == (0, first.photos_reused)


def _refused(path: Path, refused: Path) -> Path:
    if path == refused:
        raise PermissionError(13, "Permission denied")
    return path


def test_forgetting_somebody_drops_the_data_of_missing_photos(
    album: Path, own_gallery: Path, bundle: Bundle, out: Path
) -> None:
    own = own_gallery
    identify(album, Gallery.open(own), bundle, out)
    for path in sorted((album / "scenes").iterdir())[:4]:
        path.unlink()
    summary = identify(album, Gallery.open(own), bundle, out)
    assert stored_faces(out, forgotten=False) > summary.faces
    person, faces = summary.people.most_common(1)[0]
    assert forget_person(own, person).complete
    assert stored_faces(out, forgotten=False) == summary.faces - faces
    assert count(out, "pictures") == summary.faces - faces


def test_excluded_photos_leave_the_results_and_are_counted_apart_from_missing_ones(
    known_photos: Path, album: Path, gallery: Gallery, bundle: Bundle, out: Path
) -> None:
    first = identify(album, gallery, bundle, out)
    assert (first.skipped, first.excluded) == ({}, 0)
    names = sorted(path.name for path in album.iterdir())
    (album / names[0]).unlink()
    settings = IdentifySettings(exclude=[f"/{names[1]}", "/no such"])
    second = identify(album, gallery, bundle, out, settings)
    assert (second.excluded, second.vanished, second.photos_opened) == (1, 1, 0)
    assert second.skipped == {f"/{names[1]}": 1} and second.drop_at
    assert not {names[0], names[1]} & {row["photo_path"] for row in rows_of(out)}
    assert read_summary(out) == second and second.exclude == settings.exclude
    # An exclusion of nothing, and a new system folder: nothing has changed.
    (album / "@eaDir").mkdir()
    again = identify(album, gallery, bundle, out, replace(settings, exclude=settings.exclude[:1]))
    assert again.unchanged and again.skipped == {f"/{names[1]}": 1, "@eaDir": 1}
    (album / ".faceopsignore").write_text("*\n")
    with pytest.raises(FaceOpsError, match="do rules exclude all photos"):
        identify(album, gallery, bundle, out)
    (album / ".faceopsignore").unlink()
    third = identify(album, gallery, bundle, out)
    assert (third.photos_opened, third.photos) == (0, first.photos - 1)
