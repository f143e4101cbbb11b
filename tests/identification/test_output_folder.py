"""The output folder: runs with manifests, leftovers of killed runs, failed writes."""

import hashlib
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.gallery.store import Gallery
from faceops.identification.forget.forget import forget_person
from faceops.identification.records.output_folder import (
    PUBLISHED,
    REPORT_PAGES,
    publish,
    remove_old_runs,
    remove_report,
    run_folder,
)
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.release.bundle import Bundle


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
    album: Path, own_gallery: Path, bundle: Bundle, out: Path
) -> None:
    settings = IdentifySettings(budget=0.3, annotate=True)
    summary = identify(album, Gallery.open(own_gallery), bundle, out, settings)
    folder = out / "runs" / summary.run_id
    before = checked_manifest(folder)
    assert before["run_id"] == summary.run_id
    assert before["contract_id"] == bundle.release.contract_id
    assert any(name.startswith("annotated/") for name in before["files"])
    forget_person(own_gallery, next(iter(summary.people)))
    assert checked_manifest(folder)["run_id"] == summary.run_id


def test_the_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    killed = tmp_path / "runs" / ".unfinished-20260101T000000Z-aaaaaa"
    killed.mkdir(parents=True)
    (tmp_path / ".faces.csv.1.tmp").touch()
    with run_folder(tmp_path, "20260102T000000Z-aaaaaa") as folder:
        assert [path.name for path in tmp_path.rglob("*")] == ["runs", folder.name]
    with pytest.raises(KeyboardInterrupt), run_folder(tmp_path, "20260103T000000Z-aaaaaa"):
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["20260102T000000Z-aaaaaa"]


def test_the_oldest_runs_are_removed_and_never_the_latest(tmp_path: Path) -> None:
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


def test_the_latest_report_is_at_the_top_with_its_pages(tmp_path: Path) -> None:
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
    tmp_path: Path, request: pytest.FixtureRequest, gallery_dir: Path
) -> None:
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
