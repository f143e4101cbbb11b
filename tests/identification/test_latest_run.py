"""If nothing has changed, the latest results are reused; any change is noticed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faceops.base.files import sha256_file
from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery
from faceops.identification.engine.extract import extract_shard
from faceops.identification.inputs import list_photos
from faceops.identification.run import identify


def test_an_unchanged_folder_keeps_the_latest_results(run):
    first = run()
    kept = {path: path.read_bytes() for path in run.out.glob("faces.*")}
    summary = run.out / "summary.json"  # with the names that an earlier version had
    text = summary.read_text("utf-8").replace('"inputs_sha256"', '"decided_by"')
    summary.write_text(text.replace('"files_sha256"', '"saw"'), "utf-8")
    second = run()
    assert second.unchanged and not first.unchanged
    assert (second.run_id, second.people) == (first.run_id, first.people)
    assert {path: path.read_bytes() for path in run.out.glob("faces.*")} == kept
    assert len(list((run.out / "runs").iterdir())) == 1
    stored = json.loads(summary.read_text("utf-8"))
    assert stored["unchanged"] and stored["checked"] >= stored["started"]


def other_face(photo: Path) -> None:
    """Put another photo into the file, padded to its size, with its modification time."""
    before = photo.stat()
    others = sorted(photo.parent.iterdir(), key=lambda path: path.stat().st_size)
    content = others[0].read_bytes() if others[0] != photo else others[-1].read_bytes()
    photo.write_bytes(content.ljust(before.st_size, b"\0")[: before.st_size])
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))


def same_again(photo: Path) -> None:
    """Replace the file by a copy with the same bytes, size and modification time."""
    shutil.copy2(photo, photo.with_suffix(".copy"))
    photo.with_suffix(".copy").replace(photo)


CHANGES: dict[str, Callable[[Path, Path], object]] = {  # of a photo of the album, and of `out`
    "a new file": lambda photo, out: photo.with_name("new.jpg").touch(),
    "a missing file": lambda photo, out: photo.unlink(),
    "another time": lambda photo, out: os.utime(photo, ns=(1, 1)),
    "another name": lambda photo, out: photo.rename(photo.with_name("elsewhere.jpg")),
    "other bytes": lambda photo, out: photo.write_bytes(b""),
    "a missing table": lambda photo, out: (out / "faces.parquet").unlink(),
    "a missing state": lambda photo, out: (out / "state.sqlite").unlink(),
}


def test_a_change_of_files_is_noticed(run):
    scenes = run.album / "scenes"
    for photo in sorted(scenes.iterdir())[3:]:
        photo.unlink()
    run(photos=scenes)
    for what, change in CHANGES.items():
        change(min(scenes.glob("scene*")), run.out)
        assert not run(photos=scenes).unchanged, what
        assert run(photos=scenes).unchanged, what


CHANGES_IN_PLACE: dict[str, tuple[Callable[[Path], object], int]] = {  # and photos opened for it
    "other bytes": (other_face, 1),
    "a copy": (same_again, 0),
    "other permissions": (lambda photo: photo.chmod(0o600), 0),
}


def test_a_file_of_equal_size_and_time_is_read_and_opened_only_if_its_bytes_are_new(run):
    scenes = run.out.parent / "scenes"
    scenes.mkdir()
    for photo in sorted((run.album / "scenes").iterdir())[:3]:
        shutil.copy2(photo, scenes)
    run(photos=scenes)
    photo = max(scenes.iterdir(), key=lambda path: path.stat().st_size)
    before = photo.stat()
    for what, (change, opened) in CHANGES_IN_PLACE.items():
        change(photo)
        now = photo.stat()
        assert (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        changed = run(photos=scenes)
        assert (changed.unchanged, changed.photos_opened) == (False, opened), what
        assert {row["photo_id"] for row in run.rows()} == set(map(sha256_file, scenes.iterdir()))
        assert run(photos=scenes).unchanged, what
    rechecked = run(recheck=True, photos=scenes)
    assert (rechecked.unchanged, rechecked.photos_opened, rechecked.photos_reused) == (False, 0, 3)
    assert run(photos=scenes).unchanged


def test_a_change_of_settings_is_noticed(run):
    photo = run.album / "orientation_6.jpg"
    run(photos=photo)
    for changed in ({"budget": 0.3}, {"detail": 0}, {"xmp": True}):
        again = run(photos=photo, **changed)
        assert (again.unchanged, again.photos_opened) == (False, "detail" in changed)
        assert again.photos_reembedded == 0
        assert run(photos=photo, **changed).unchanged


def test_a_change_of_the_gallery_is_noticed_and_enrolling_the_same_again_changes_nothing(
    album, synthetic_set, bundle, own_gallery, out
):
    photo = album / "orientation_6.jpg"
    identify(photo, Gallery.open(own_gallery), bundle, out)
    enrol(synthetic_set / "enrol", own_gallery, bundle, prune=True)
    assert identify(photo, Gallery.open(own_gallery), bundle, out).unchanged
    smaller = Gallery.open(own_gallery)
    smaller.without(
        np.array([face.person == smaller.people[0] for face in smaller.faces], bool)
    ).save()
    again = identify(photo, smaller, bundle, out)
    assert not again.unchanged and (again.photos_opened, again.gallery_people) == (0, 5)


def test_photos_of_a_shard_are_named_by_the_next_run(run):
    late = sorted((run.album / "scenes").iterdir())[0]
    late.rename(run.out.parent / late.name)
    first = run()
    (run.out.parent / late.name).rename(late)
    assert extract_shard(list_photos(run.album), run.bundle, run.out) == 1
    second = run()
    assert not second.unchanged
    assert second.photos == first.photos + 1
    assert run().unchanged


def test_a_broken_link_does_not_make_an_unchanged_folder_a_changed_one(run):
    (run.album / "dangling.jpg").symlink_to("nowhere")
    assert not run().unchanged
    assert run().unchanged
    (run.album / "nowhere").write_bytes(b"")
    assert not run().unchanged


def test_fewer_runs_are_kept_also_if_nothing_has_changed(run):
    for _ in range(2):
        run.anew()
    assert len(list((run.out / "runs").iterdir())) == 2
    latest = run(keep_runs=1)
    assert latest.unchanged and latest.keep_runs == 1
    assert [folder.name for folder in (run.out / "runs").iterdir()] == [latest.run_id]
    shutil.rmtree(run.out / "runs")  # with the pages of the report
    again = run()
    assert not again.unchanged and again.photos_opened == 0 and (run.out / "report").is_dir()
