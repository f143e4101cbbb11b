"""Runs over photos in an S3 server: the rows of the same local photos, and nothing read twice."""

import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.stores import ObjectStoreError, place
from faceops.gallery.store import Gallery
from faceops.identification.inputs import IdentifySettings
from faceops.identification.run import identify
from faceops.photos.walk import is_photo, walk_files
from faceops.release.bundle import Bundle
from tests.identification.conftest import Run, rows_of
from tests.object_store import ObjectStoreServer

S3 = tuple[ObjectStoreServer, Any]


@pytest.fixture
def bucket(s3: S3, album: Path, request: pytest.FixtureRequest) -> str:
    """A bucket of this test's own, with the album below 2019/."""
    name = request.node.name.replace("_", "-")[:60].strip("-")
    s3[1].mkdir(name)
    s3[1].put(f"{album}/", f"{name}/2019/", recursive=True)
    return name


@pytest.fixture
def run(bucket: str, gallery: Gallery, bundle: Bundle, out: Path) -> Run:
    """Runs over the bucket's photos, whose faces are known."""
    return Run(place(f"s3://{bucket}/2019"), gallery, bundle, out)


def gets(server: ObjectStoreServer, bucket: str) -> list[str]:
    """Return which photos were downloaded so far."""
    return [line.rpartition("/")[2] for line in server.requests(rf"GET /{bucket}/\w")]


def test_the_rows_are_those_of_local_photos_and_each_is_downloaded_once(
    s3, bucket, run, album, gallery, bundle, tmp_path
):
    identify(album, gallery, bundle, tmp_path / "local", IdentifySettings(annotate=True))
    run = run._replace(out=tmp_path / "found")  # each photo is opened
    summary = run(annotate=True)
    assert summary.photos_folder == f"s3://{bucket}/2019"
    assert run.rows() == rows_of(tmp_path / "local")
    csv = [(tmp_path / name / "faces.csv").read_text().split() for name in ("found", "local")]
    first, second = ([line.partition(",")[2] for line in lines] for lines in csv)
    assert first == second
    assert f"s3://{bucket}/2019" in (tmp_path / "found/report.html").read_text(encoding="utf-8")
    assert not s3[0].requests(rf"HEAD /{bucket}/")
    before = len(gets(s3[0], bucket))
    assert run(annotate=True).unchanged
    assert len(gets(s3[0], bucket)) == before


def test_only_what_was_changed_is_read_and_what_was_deleted_vanishes(
    s3, bucket, run, album, tmp_path
):
    server, files = s3
    assert run().photos == 12
    assert sorted(gets(server, bucket)) == sorted(
        path.name for path in album.rglob("*") if path.is_file() and path.stat().st_size
    )
    scenes = sorted((album / "scenes").iterdir())
    files.put(str(scenes[1]), f"{bucket}/2019/scenes/{scenes[0].name}")
    files.put(str(scenes[2]), f"{bucket}/2019/scenes/{scenes[2].name}")  # the same content
    files.rm(f"{bucket}/2019/scenes/{scenes[3].name}")
    before = len(gets(server, bucket))
    summary = run()
    assert gets(server, bucket)[before:] == [scenes[0].name]
    assert (summary.photos, summary.photos_opened, summary.vanished) == (11, 0, 1)
    found = run.rows()
    first, second = (
        [row["photo_id"] for row in found if row["photo_path"] == f"scenes/{scene.name}"]
        for scene in scenes[:2]
    )
    assert first == second


def test_a_listing_that_fails_publishes_nothing(s3, bucket, run, tmp_path):
    run()
    before = run.rows()
    s3[0].tell(f"refuse GET /{bucket}.*continuation-token")
    try:
        with pytest.raises(ObjectStoreError, match=r"cannot be listed \(Access Denied\)"):
            run()
    finally:
        s3[0].tell("refuse")
    assert run.rows() == before
    assert run().unchanged


def test_photos_that_are_all_gone_are_not_deleted_ones(s3, bucket, run):
    with pytest.raises(FaceOpsError, match="has no photos; check its name"):
        run(photos=place(f"s3://{bucket}/2018"))
    run()
    s3[1].rm(f"{bucket}/2019", recursive=True)
    with pytest.raises(FaceOpsError, match=f"s3://{bucket}/2019 has none of the photos that the"):
        run()
    assert run(allow_empty=True).vanished == 12


def test_a_server_that_stops_during_a_run_loses_nothing(s3, bucket, run, album, tmp_path):
    run(photos=album)
    rows, run = run.rows(), run._replace(out=tmp_path / "found")  # each photo is opened
    server = s3[0]

    def stop_and_start() -> None:
        while len(gets(server, bucket)) < 3:
            time.sleep(0.02)
        server.tell("stop")
        time.sleep(2)
        server.tell("start")

    stopped = Thread(target=stop_and_start)
    stopped.start()
    assert not run(threads=1).failures
    stopped.join()
    assert run.rows() == rows


def test_ignore_files_and_patterns_apply_to_objects_and_one_photo_may_be_named(
    s3, bucket, run, album
):
    files = s3[1]
    files.pipe(f"{bucket}/2019/scenes/.faceopsignore", b"*_001.jpg\n")
    files.pipe(f"{bucket}/2019/.hidden.jpg", b"x")
    files.pipe(f"{bucket}/2019/a//b.jpg", b"x")
    files.pipe(f"{bucket}/2019/a.jpg.xmp", b"x")
    for name in ("gallery.json", "crops/aa/face.png"):
        files.pipe(f"{bucket}/2019/gallery/{name}", b"x")
    summary = run(exclude=["text.jpg"])
    assert summary.photos == 10
    assert summary.skipped == {
        "scenes/.faceopsignore: *_001.jpg": 1,
        "text.jpg": 1,
        "//": 1,
        "a gallery": 1,
    }
    crop = place(f"s3://{bucket}/2019/gallery/crops/aa/face.png")
    assert crop in walk_files(place(f"s3://{bucket}/2019"), is_photo)  # what forget has to clean
    scene = max((album / "scenes").iterdir()).name
    assert run(photos=place(f"s3://{bucket}/2019/scenes/{scene}")).photos == 1
    assert {row["photo_path"] for row in run.rows()} == {scene}
