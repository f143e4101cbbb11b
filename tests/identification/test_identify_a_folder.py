"""A run over a folder: every photo has its rows, and no photo is opened twice."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.locks import folder_lock
from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery, open_or_create
from faceops.identification.engine.extract import extract_shard
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.photos.walk import walk_photos
from faceops.release.bundle import Bundle


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "faces.parquet").to_pylist()
    return [{key: value for key, value in row.items() if key != "run_id"} for row in rows]


def test_every_photo_has_rows_and_broken_ones_a_reason(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    summary = identify(album, gallery, bundle, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    paths = [row["photo_path"] for row in rows]
    on_disk = sorted(path.relative_to(album).as_posix() for path in album.rglob("*.jpg"))
    assert sorted(set(paths)) == on_disk
    assert paths == sorted(paths)
    reasons = {row["photo_path"]: row["reason"] for row in rows if row["face_index"] is None}
    assert reasons == {
        "empty.jpg": "empty",
        "text.jpg": "not_a_photo",
        "truncated.jpg": "unreadable",
    }
    assert summary.identified == sum(row["decision"] == "identified" for row in rows) > 5
    assert {row["person"] for row in rows} <= {*gallery.people, None}
    for name in ("faces.csv", "faces.jsonl", "summary.json", "report.html"):
        top, kept = tmp_path / "out" / name, tmp_path / "out" / "runs" / summary.run_id / name
        assert top.read_bytes() == kept.read_bytes()


def test_a_second_run_opens_no_photo(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    first = identify(album, gallery, bundle, tmp_path / "out")
    before = rows_of(tmp_path / "out")
    (tmp_path / "out" / "faces.csv").unlink()  # so that there is something to do
    second = identify(album, gallery, bundle, tmp_path / "out")
    assert (first.photos_opened, first.photos_reused) == (11, 0)  # all but the empty file
    assert (second.photos_opened, second.photos_reused) == (0, 11)
    assert rows_of(tmp_path / "out") == before
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2


def test_where_nothing_has_changed_the_latest_results_stand(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = identify(album, gallery, bundle, out)
    kept = {path: path.read_bytes() for path in out.glob("faces.*")}
    second = identify(album, gallery, bundle, out)
    assert second.unchanged and not first.unchanged
    assert (second.run_id, second.people) == (first.run_id, first.people)
    assert {path: path.read_bytes() for path in out.glob("faces.*")} == kept
    assert len(list((out / "runs").iterdir())) == 1
    stored = json.loads((out / "summary.json").read_text("utf-8"))
    assert stored["unchanged"] and stored["checked"] >= stored["started"]


@pytest.mark.parametrize(
    "change", ["new", "gone", "touched", "other", "emptied", "budget", "people", "rows", "detail"]
)
def test_whatever_changes_is_seen(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path, change: str
) -> None:
    out, photo = tmp_path / "out", sorted((album / "scenes").iterdir())[3]
    identify(album, gallery, bundle, out)
    budget, detail = None, 1280
    if change == "new":
        (album / "new.jpg").write_bytes(b"")
    elif change == "gone":
        photo.unlink()
    elif change == "touched":
        os.utime(photo, ns=(1, 1))
    elif change == "other":
        photo.rename(album / "elsewhere.jpg")
    elif change == "emptied":
        photo.unlink()
        photo.write_bytes(b"")
    elif change == "budget":
        budget = 0.3
    elif change == "people":
        shutil.copytree(gallery.folder, tmp_path / "gallery")
        smaller = Gallery.open(tmp_path / "gallery")
        smaller.without(lambda face: face.person == gallery.people[0]).save()
        gallery = Gallery.open(tmp_path / "gallery")
    elif change == "rows":
        (out / "faces.parquet").unlink()
    else:
        detail = 0
    assert not identify(
        album, gallery, bundle, out, IdentifySettings(budget=budget, detail=detail)
    ).unchanged
    assert identify(
        album, gallery, bundle, out, IdentifySettings(budget=budget, detail=detail)
    ).unchanged


def test_the_summary_tells_where_the_time_went(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    first = identify(album, gallery, bundle, tmp_path / "out", IdentifySettings(threads=1))
    assert list(first.timings) == ["embed", "group", "look", "name", "write"]
    assert first.timings["look"] > first.timings["write"] > 0
    (tmp_path / "out" / "faces.csv").unlink()
    again = identify(album, gallery, bundle, tmp_path / "out", IdentifySettings(threads=1))
    assert again.timings["look"] < first.timings["look"]
    stored = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert stored["timings"] == again.timings


def test_only_changed_photos_are_opened(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    identify(album, gallery, bundle, tmp_path / "out")
    scenes = sorted((album / "scenes").iterdir())
    scenes[0].rename(album / "moved.jpg")
    scenes[1].unlink()
    with Image.open(scenes[2]) as image:
        pixels = image.convert("RGB")
    scenes[2].unlink()  # a hard link to the fixture's photo
    pixels.save(scenes[2], quality=80)
    summary = identify(album, gallery, bundle, tmp_path / "out")
    assert (summary.photos, summary.photos_opened) == (11, 1)
    paths = {row["photo_path"] for row in rows_of(tmp_path / "out")}
    assert "moved.jpg" in paths
    assert not paths & {"scenes/" + scenes[0].name, "scenes/" + scenes[1].name}


def test_a_changed_gallery_decides_again_without_opening(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    first = identify(album, gallery, bundle, tmp_path / "out")
    gone = sorted(first.people)[0]
    smaller = gallery.without(lambda face: face.person == gone)
    second = identify(album, smaller, bundle, tmp_path / "out")
    assert second.photos_opened == 0
    assert gone not in second.people
    assert gone not in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_one_photo_may_be_named(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    summary = identify(album / "orientation_6.jpg", gallery, bundle, tmp_path / "out")
    assert summary.photos == 1
    assert {row["photo_path"] for row in rows_of(tmp_path / "out")} == {"orientation_6.jpg"}


def test_threads_change_nothing(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    for threads in (1, 5):
        identify(
            album, gallery, bundle, tmp_path / f"out{threads}", IdentifySettings(threads=threads)
        )
    assert rows_of(tmp_path / "out1") == rows_of(tmp_path / "out5")


def test_annotated_photos_are_drawn_when_asked(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    # A name that Pillow's own font has no letters for, and one that the file system takes as bytes.
    os.link(sorted((album / "scenes").iterdir())[0], album / "名前 Ω.jpg")
    os.link(sorted((album / "scenes").iterdir())[0], os.fsencode(album) + b"/\xff.jpg")
    out = tmp_path / "out"
    summary = identify(album, gallery, bundle, out, IdentifySettings(annotate=True))
    with_faces = {row["photo_path"] for row in rows_of(out) if row["face_index"] is not None}
    drawn = list((out / "annotated").rglob("*.jpg"))
    assert len(drawn) == len(with_faces)
    assert (out / "runs" / summary.run_id / "annotated").is_dir()
    with Image.open(out / "annotated" / "orientation_6.jpg.jpg") as image:
        assert image.width > image.height  # upright, as its boxes are
    identify(album, gallery, bundle, out)
    assert not (out / "annotated").exists()


def test_an_output_folder_in_use_is_refused(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    with (
        folder_lock(tmp_path / "out"),
        pytest.raises(FaceOpsError, match=f"in use by another faceops process .pid {os.getpid()}"),
    ):
        identify(album, gallery, bundle, tmp_path / "out")
    assert identify(album, gallery, bundle, tmp_path / "out").photos == 12


def test_a_damaged_store_says_what_to_do(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "state.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(FaceOpsError, match=r"state\.sqlite cannot be used .*delete it"):
        identify(album, gallery, bundle, tmp_path / "out")


@pytest.mark.parametrize("budget", [0.0, 1.0, -1.0, float("nan")])
def test_a_budget_outside_its_range_is_refused(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path, budget: float
) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        identify(album, gallery, bundle, tmp_path / "out", IdentifySettings(budget=budget))


def test_folders_that_cannot_be_right_are_refused(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        identify(tmp_path / "none", gallery, bundle, tmp_path / "out")
    with pytest.raises(UsageError, match="inside the photos' folder"):
        identify(album, gallery, bundle, album / "out")
    with pytest.raises(UsageError, match="is a file"):
        identify(album, gallery, bundle, album / "empty.jpg")
    inside = open_or_create(album / "g", gallery.contract_id, gallery.embedding_size)
    with pytest.raises(UsageError, match="for the gallery"):
        identify(album, inside, bundle, tmp_path / "out")


def test_what_a_killed_run_left_is_removed(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    left = tmp_path / "out" / "runs" / ".unfinished-20260101T000000Z-aaaaaa"
    left.mkdir(parents=True)
    identify(album, gallery, bundle, tmp_path / "out")
    assert not left.exists()
    assert not list((tmp_path / "out").glob(".*.tmp"))
    shutil.rmtree(tmp_path / "out")


def test_what_a_shard_or_a_cut_off_run_has_seen_is_named_by_the_next_run(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    late = sorted((album / "scenes").iterdir())[0]
    late.rename(tmp_path / late.name)
    first = identify(album, gallery, bundle, out)
    (tmp_path / late.name).rename(late)
    root = album.resolve()
    assert extract_shard(walk_photos(root), bundle, out) == 1
    second = identify(album, gallery, bundle, out)
    assert not second.unchanged
    assert second.photos == first.photos + 1
    assert identify(album, gallery, bundle, out).unchanged


def test_a_link_that_leads_nowhere_does_not_make_a_folder_a_changed_one(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    (album / "dangling.jpg").symlink_to("nowhere")
    assert not identify(album, gallery, bundle, tmp_path / "out").unchanged
    assert identify(album, gallery, bundle, tmp_path / "out").unchanged
    (album / "nowhere").write_bytes(b"")
    assert not identify(album, gallery, bundle, tmp_path / "out").unchanged


def test_enrolling_the_same_again_changes_no_result(
    album: Path, synthetic_set: Path, bundle: Bundle, tmp_path: Path
) -> None:
    folder, out = tmp_path / "gallery", tmp_path / "out"
    for unchanged in (False, True):
        enrol(synthetic_set / "enrol", folder, bundle, prune=unchanged)
        assert identify(album, Gallery.open(folder), bundle, out).unchanged is unchanged


def test_fewer_runs_are_kept_also_where_nothing_has_changed(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        (out / "faces.csv").unlink(missing_ok=True)
        identify(album, gallery, bundle, out)
    assert len(list((out / "runs").iterdir())) == 2
    latest = identify(album, gallery, bundle, out, IdentifySettings(keep_runs=1))
    assert latest.unchanged and latest.keep_runs == 1
    assert [folder.name for folder in (out / "runs").iterdir()] == [latest.run_id]


def test_without_its_state_a_run_does_not_stand(
    album: Path, gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    identify(album, gallery, bundle, tmp_path / "out")
    (tmp_path / "out" / "state.sqlite").unlink()
    assert not identify(album, gallery, bundle, tmp_path / "out").unchanged
