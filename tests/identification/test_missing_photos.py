"""Photos that come back cost nothing; data of photos that stay away are dropped."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.cli.identify import result_lines
from faceops.gallery.store import Gallery
from faceops.identification.forget.forget import forget_person
from faceops.identification.inputs import IdentifySettings
from faceops.identification.state.schema import GRACE
from faceops.identification.summary import read_summary
from tests.identification.conftest import change_state, count, stored_faces


def let_grace_pass(out: Path) -> None:
    """Let the grace period pass."""
    past = int(GRACE.total_seconds()) + 1
    change_state(out, f"UPDATE files SET gone_since=gone_since-{past}")
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    summary["drop_at"] = summary["started"]
    (out / "summary.json").write_text(json.dumps(summary), "utf-8")


def test_a_run_over_one_photo_finds_no_other_missing_and_a_folder_that_is_back_is_not_opened(run):
    first = run()
    one = run(photos=run.album / "orientation_6.jpg")
    assert (one.photos, one.vanished, one.photos_opened) == (1, 0, 0)
    assert {row["photo_path"] for row in run.rows()} == {"orientation_6.jpg"}
    again = run()
    assert (again.photos_opened, again.photos_reused) == (0, first.photos_reused)
    away = run.out.parent / "away"
    (run.album / "scenes").rename(away)
    without = run()
    assert (without.vanished, without.moved) == (8, 0)
    assert without.drop_at > without.started
    assert run.anew().vanished == 0  # counted once
    away.rename(run.album / "scenes")
    back = run()
    assert (back.photos_opened, back.photos_reused) == (0, first.photos_reused)
    assert back.drop_at == ""


def test_data_of_missing_photos_are_dropped_after_the_grace_period(run):
    first = run()
    shutil.rmtree(run.album / "scenes")
    run()
    assert run().unchanged
    assert stored_faces(run.out, forgotten=False) == first.faces
    let_grace_pass(run.out)
    later = run()
    assert (later.unchanged, later.photos_opened, later.drop_at) == (False, 0, "")
    assert stored_faces(run.out, forgotten=False) == later.faces < first.faces
    assert count(run.out, "files") == later.photos
    assert run().unchanged


def test_a_folder_within_is_part_of_the_folder_above(run):
    run(photos=run.album / "scenes")
    run()
    neighbour = run.album.with_name(run.album.name + "0")  # a common prefix, another folder
    neighbour.mkdir()
    os.link(run.album / "orientation_6.jpg", neighbour / "one.jpg")
    run(photos=neighbour)
    shutil.rmtree(run.album / "scenes")
    assert run().vanished == 8
    assert count(run.out, "files WHERE gone_since IS NULL") == 5


def test_a_folder_known_to_be_empty_is_accepted_and_a_suddenly_empty_one_refused(run):
    run()
    shutil.rmtree(run.album / "scenes")
    run()
    (run.album / "scenes").mkdir()
    # Its photos are known to be missing: an empty folder is expected.
    assert run(photos=run.album / "scenes").photos == 0
    for path in run.album.glob("*.jpg"):
        path.unlink()
    with pytest.raises(FaceOpsError, match="is the disk or share connected"):
        run()
    (run.album / "lost+found.txt").write_text("what an empty mount point may hold")
    with pytest.raises(FaceOpsError, match="none of the photos that the latest run saw"):
        run()
    assert run(allow_empty=True).vanished == 4
    assert run().unchanged


def test_a_renamed_photo_is_moved_not_vanished(run):
    run()
    one, other, *_ = sorted((run.album / "scenes").iterdir())
    one.rename(run.album / "renamed.jpg")
    other.unlink()
    (run.album / "empty.jpg").rename(run.album / "nothing.jpg")  # no bytes by which to know it
    summary = run()
    assert (summary.moved, summary.vanished, summary.photos_opened) == (1, 2, 0)
    assert "1 photos moved" in (run.out / "report.html").read_text("utf-8")
    assert any(
        "1 photos moved: found at a new path" in one for one in result_lines(summary, run.out)
    )


@pytest.mark.parametrize("how", ["no permission", "a link to a share that is away"])
def test_a_folder_that_cannot_be_listed_is_named_and_its_photos_are_kept(run, how, monkeypatch):
    scenes, share = run.album / "scenes", run.out.parent / "share"
    if how != "no permission":
        scenes.rename(share)
        scenes.symlink_to(share, target_is_directory=True)
    first = run()
    with monkeypatch.context() as patched:
        if how == "no permission":
            real = os.scandir
            patched.setattr(os, "scandir", lambda path: real(_refused(Path(path), scenes)))
        else:
            share.rename(run.out.parent / "elsewhere")
            with pytest.raises(FaceOpsError, match=r"of the first .* could not be read"):
                run()
        settings = IdentifySettings(max_failed_share=1)
        run(settings)
        without = run(settings)  # nor by a second run
    assert (without.photos, without.faces) == (first.photos + 1, first.faces)  # and the folder
    assert (without.vanished, without.unlisted) == (0, ["scenes"])
    assert (
        "scenes"
        in (run.out / "report.html").read_text("utf-8").split("Could not be listed")[1][:20]
    )
    assert read_summary(run.out).unlisted == ["scenes"]
    if how != "no permission":
        (run.out.parent / "elsewhere").rename(share)
    back = run()
    assert (back.photos_opened, back.photos_reused) == (0, first.photos_reused)


def _refused(path: Path, refused: Path) -> Path:
    if path == refused:
        raise PermissionError(13, "Permission denied")
    return path


def test_forgetting_somebody_drops_the_data_of_missing_photos(run, own_gallery):
    run = run._replace(gallery=Gallery.open(own_gallery))
    run()
    for path in sorted((run.album / "scenes").iterdir())[:4]:
        path.unlink()
    summary = run()
    assert stored_faces(run.out, forgotten=False) > summary.faces
    person, faces = summary.people.most_common(1)[0]
    assert forget_person(own_gallery, person).complete
    assert stored_faces(run.out, forgotten=False) == summary.faces - faces
    assert count(run.out, "pictures") == summary.faces - faces


def test_excluded_photos_leave_the_results_and_are_counted_apart_from_missing_ones(
    run, known_photos
):
    first = run()
    assert (first.skipped, first.excluded) == ({}, 0)
    names = sorted(path.name for path in run.album.iterdir())
    (run.album / names[0]).unlink()
    settings = IdentifySettings(exclude=[f"/{names[1]}", "/no such\udcff"])
    second = run(settings)
    assert (second.excluded, second.vanished, second.photos_opened) == (1, 1, 0)
    assert second.skipped == {f"/{names[1]}": 1} and second.drop_at
    assert not {names[0], names[1]} & {row["photo_path"] for row in run.rows()}
    assert read_summary(run.out) == second and second.exclude == settings.exclude
    # An exclusion of nothing, and a new system folder: nothing has changed.
    (run.album / "@eaDir").mkdir()
    again = run(replace(settings, exclude=settings.exclude[:1]))
    assert again.unchanged and again.skipped == {f"/{names[1]}": 1, "@eaDir": 1}
    (run.album / ".faceopsignore").write_text("*\n")
    with pytest.raises(FaceOpsError, match="do rules exclude all photos"):
        run()
    (run.album / ".faceopsignore").unlink()
    third = run()
    assert (third.photos_opened, third.photos) == (0, first.photos - 1)
