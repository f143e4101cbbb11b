"""The output folder: manifests, leftovers of killed runs, failed writes; its copy in a store."""

import hashlib
import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faceops.base import stores
from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.stores import ObjectStore, ObjectStoreError, place
from faceops.cli import main
from faceops.gallery.store import Gallery
from faceops.identification.forget.forget import forget_person, readmit
from faceops.identification.inputs import IdentifySettings
from faceops.identification.latest_run import latest_run
from faceops.identification.records.output_folder import (
    PUBLISHED,
    REPORT_PAGES,
    RUNS,
    copy_results,
    local_folder,
    publish,
    remove_old_runs,
    remove_report,
    results_folder,
    run_folder,
)
from faceops.identification.run import identify
from tests.object_store import CREDENTIALS, ObjectStoreServer

S3 = tuple[ObjectStoreServer, Any]
RUN, NEXT = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"


def checked_manifest(folder: Path) -> dict[str, str]:
    content: dict[str, str] = json.loads((folder / "manifest.json").read_text("utf-8"))
    files = content["files"]
    assert set(files) == {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    for name, entry in files.items():  # type: ignore[attr-defined]
        data = (folder / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return content


def test_every_file_of_a_run_is_in_its_manifest_also_after_forgetting(
    photos, own_gallery, bundle, known_out
):
    settings = IdentifySettings(budget=0.3, annotate=True)
    summary = identify(photos, Gallery.open(own_gallery), bundle, known_out, settings)
    folder = known_out / "runs" / summary.run_id
    before = checked_manifest(folder)
    assert before["run_id"] == summary.run_id
    assert before["contract_id"] == bundle.release.contract_id
    assert any(name.startswith("annotated/") for name in before["files"])
    forget_person(own_gallery, next(iter(summary.people)))
    assert checked_manifest(folder)["run_id"] == summary.run_id


def test_the_leftovers_of_a_killed_run_are_removed(tmp_path):
    killed = tmp_path / "runs" / ".unfinished-20260101T000000Z-aaaaaa"
    killed.mkdir(parents=True)
    (tmp_path / ".faces.csv.1.tmp").touch()
    with run_folder(tmp_path, "20260102T000000Z-aaaaaa") as folder:
        assert [path.name for path in tmp_path.rglob("*")] == ["runs", folder.name]
    with pytest.raises(KeyboardInterrupt), run_folder(tmp_path, "20260103T000000Z-aaaaaa"):
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["20260102T000000Z-aaaaaa"]


def test_the_oldest_runs_are_removed_and_never_the_latest(tmp_path):
    runs = [f"202601{day:02d}T000000Z-{day:06d}" for day in (1, 2, 3)]
    later = "29990101T000000Z-000000"  # by a wrong clock
    for name in (*runs, later, "my notes"):
        (tmp_path / "runs" / name).mkdir(parents=True)

    def left() -> set[str]:
        return {path.name for path in (tmp_path / "runs").iterdir()}

    remove_old_runs(tmp_path, 3, runs[2])
    assert left() == {runs[1], runs[2], later, "my notes"}
    remove_old_runs(tmp_path, 1, runs[2])
    assert left() == {runs[2], "my notes"}


def test_the_latest_report_is_at_the_top_with_its_pages(tmp_path):
    for run_id in ("1", "2", "3"):
        with run_folder(tmp_path, run_id) as run:
            for name in (*PUBLISHED, f"{REPORT_PAGES}/people-1.html"):
                (run / name).parent.mkdir(exist_ok=True)
                (run / name).write_text(run_id)
        publish(tmp_path, run_id)
        page = tmp_path / REPORT_PAGES / "people-1.html"
        assert page.read_text() == (tmp_path / "report.html").read_text() == run_id
        if run_id == "2":  # a copy in place of the link, as backups and exFAT have it
            (tmp_path / REPORT_PAGES).unlink()
            (tmp_path / REPORT_PAGES).mkdir()
            (tmp_path / f".{REPORT_PAGES}.tmp").mkdir()  # of a killed process
    assert not list(tmp_path.glob(".*"))
    assert remove_report(tmp_path)
    assert not page.exists() and (tmp_path / "runs/2" / REPORT_PAGES / "people-1.html").exists()
    assert not remove_report(tmp_path)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 4 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_results_and_galleries_that_could_not_be_written_leave_no_half_files(
    tmp_path, request, gallery_dir
):
    out, folder = tmp_path / "out", tmp_path / "gallery"
    with run_folder(out, "1") as run:
        for name in PUBLISHED:
            (run / name).write_bytes(b"x" * 10_000)
    gallery = Gallery.open(gallery_dir)
    request.getfixturevalue("small_files")
    with pytest.raises(OSError, match="too large"):
        publish(out, "1")
    with pytest.raises(FaceOpsError, match="cannot be written"):
        Gallery(folder, gallery.contract_id, gallery.embedding_size, gallery.faces).save()
    assert [path.name for path in out.iterdir()] == ["runs"]
    assert not [path for path in folder.rglob("*") if path.is_file()]


def publish_run(out: Path, run_id: str) -> None:
    """Write the files of a run into `out`."""
    run = out / RUNS / run_id
    (run / "report").mkdir(parents=True)
    for name in (*PUBLISHED, "manifest.json", "report/people.html"):
        (run / name).write_text(f"{name} of {run_id}", encoding="utf-8")
    publish(out, run_id)
    (out / "state.sqlite").write_bytes(b"embeddings")


def contents(store: ObjectStore) -> dict[str, bytes]:
    """Return all objects but the note of the copy."""
    names = (entry.name for entry in store.objects())
    return {name: store.read(name) for name in names if name != "mirror.json"}


@pytest.fixture
def copied_out(s3: S3, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An output folder with one run, to be copied to a bucket of this test's own."""
    bucket = request.node.name.replace("_", "-")[:60].strip("-")
    s3[1].mkdir(bucket)
    url = place(f"s3://{bucket}/2019")
    folder = results_folder(url, tmp_path, tmp_path / "out")
    publish_run(folder, RUN)
    return folder


def copy_of(out: Path) -> ObjectStore:
    """Return the store that `out` is copied to."""
    return ObjectStore.at(json.loads((out / "mirror.json").read_text())["url"])


def test_results_are_copied_summary_last_and_removed_runs_deleted(s3, copied_out):
    store = copy_of(copied_out)
    store.write("others.txt", b"stays")
    copy_results(copied_out)
    puts = [line.partition("/2019/")[2] for line in s3[0].requests(f"PUT {store.url[4:]}")]
    assert puts[-1] == "summary.json"
    assert puts.index(f"runs/{RUN}/report/people.html") < puts.index("report/people.html")
    found = contents(store)
    assert found["report/people.html"] == f"report/people.html of {RUN}".encode()
    assert "state.sqlite" not in found
    publish_run(copied_out, NEXT)
    shutil.rmtree(copied_out / RUNS / RUN)
    assert copy_results(copied_out) > 0
    after = contents(store)
    assert {name.split("/")[1] for name in after if name.startswith("runs/")} == {NEXT}
    assert after["faces.csv"] == f"faces.csv of {NEXT}".encode()
    assert after["others.txt"] == b"stays"
    assert copy_results(copied_out) == 0


def test_a_copy_that_was_cut_off_is_completed(s3, copied_out, monkeypatch):
    store = copy_of(copied_out)
    copy_results(copied_out)
    publish_run(copied_out, NEXT)
    s3[0].tell("refuse PUT .*unknown.csv")
    with pytest.raises(ObjectStoreError, match="cannot be written"):
        copy_results(copied_out)
    s3[0].tell("refuse")
    assert contents(store)["summary.json"] == f"summary.json of {RUN}".encode()
    monkeypatch.setattr(stores, "PATIENCE_S", 0.1)
    s3[0].tell("stop")
    with pytest.raises(ObjectStoreError, match="has not answered"):
        copy_results(copied_out)
    s3[0].tell("start")
    copy_results(copied_out)
    assert contents(store)["summary.json"] == f"summary.json of {NEXT}".encode()


def test_the_results_of_another_folder_are_not_replaced(copied_out, tmp_path):
    url = place(copy_of(copied_out).url)
    with pytest.raises(UsageError, match=rf"has the results of \S+:{copied_out}; name another"):
        results_folder(url, tmp_path, tmp_path / "other")
    copy_of(copied_out).delete("mirror.json")
    assert results_folder(url, tmp_path, tmp_path / "other") == tmp_path / "other"
    with pytest.raises(UsageError, match="has the results of"):
        copy_results(copied_out)


def test_wrong_places_are_refused(s3, tmp_path):
    photos = place("s3://bucket/2019")
    with pytest.raises(UsageError, match="lie in one another"):
        results_folder(place("s3://bucket/2019/found"), photos)
    with pytest.raises(UsageError, match="--state is for an --out that is a URL"):
        results_folder(tmp_path / "found", photos, tmp_path / "state")
    with pytest.raises(ObjectStoreError, match="The specified bucket does not exist"):
        results_folder(place("s3://no-bucket/found"), photos, tmp_path / "state")
    with pytest.raises(UsageError, match="is a copy for readers; name the folder"):
        latest_run(place("s3://bucket/found"))
    for command in (forget_person, readmit):
        with pytest.raises(UsageError, match="s3://bucket/found is a copy for readers; name the"):
            command(tmp_path, "somebody", (place("s3://bucket/found"),))
    assert local_folder(place("s3://bucket/found")) != local_folder(photos)


def test_the_command_copies_results_and_forgetting_cleans_the_copy(
    s3, album, own_gallery, sface_bundle, out, capfd, monkeypatch
):
    server, files = s3
    files.mkdir("archive")
    files.mkdir("results")
    files.put(f"{album}/", "archive/2019/", recursive=True)
    gallery = own_gallery
    command = ["identify", "s3://archive/2019", "--out", "s3://results/2019", "--state", str(out)]
    command += ["--gallery", str(gallery), "--bundle", str(sface_bundle)]
    assert main(command) == 0
    assert "the copy in s3://results/2019 is complete (" in capfd.readouterr().out
    store = ObjectStore.at("s3://results/2019")
    assert store.read("faces.csv") == (out / "faces.csv").read_bytes()
    store.delete("faces.csv")
    assert main(command) == 0
    assert "nothing has changed" in capfd.readouterr().out
    assert store.exists("faces.csv")
    person = next(iter(json.loads(store.read("summary.json"))["people"]))
    monkeypatch.setattr(stores, "PATIENCE_S", 0.1)
    server.tell("stop")
    done = forget_person(gallery, person)
    server.tell("start")
    assert not done.complete
    assert [f"the copy of {out}" in place for place in done.unreachable] == [True]
    assert any(person.encode() in content for content in contents(store).values())
    assert forget_person(gallery, person).complete
    assert not any(person.encode() in content for content in contents(store).values())
    with pytest.raises(FaceOpsError, match="is not in the gallery"):
        forget_person(gallery, person)
    assert main([*command[:3], "s3://no-bucket/x", *command[6:]]) == 1
    told = capfd.readouterr().err
    assert "s3://no-bucket/x" in told
    assert not [value for value in CREDENTIALS.values() if value in told]
