"""A full disk or a busy state is told as such: what earlier runs found is not to be deleted."""

import contextlib
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.gallery.store import Gallery
from faceops.identification.records.output_folder import PUBLISHED, publish, run_folder
from faceops.identification.state import schema
from faceops.identification.state.face_store import Extraction, FaceStore, SourceFile
from faceops.identification.state.found_photo import FoundFace, FoundPhoto
from faceops.identification.state.schema import Method
from faceops.identification.unknown.numbers import FaceKey, number_groups

METHOD = Method("finder", "contract")
PAGES = 30


def extraction(number: int) -> Extraction:
    face = FoundFace((0, 0, 50, 50), 0.9, 0.9, np.zeros(128, np.float32), b"picture" * 500)
    photo = FoundPhoto(f"photo {number}", None, (face,), (100, 100), 1)
    path = Path(f"/photos/{number}.jpg")
    return Extraction(path, SourceFile(path, 1, 1), photo, opened=True)


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite finds the disk full after so many pages."""
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        db = real(*arguments, **options)
        db.execute(f"PRAGMA max_page_count={PAGES}")
        return db

    monkeypatch.setattr(sqlite3, "connect", connect)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 4 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_told_and_what_was_kept_before_stays(tmp_path: Path) -> None:
    with contextlib.closing(FaceStore(tmp_path / "state.sqlite", METHOD)) as store:
        store.save([extraction(0)])
        with pytest.raises(FaceOpsError, match=r"is full\); free some space") as caught:
            store.save([extraction(number) for number in range(1, 100)])
        assert "delete" not in str(caught.value)
        assert list(store.load([f"photo {number}" for number in range(100)])) == ["photo 0"]
        store.save([extraction(1)])
        assert len(store.load(["photo 0", "photo 1"])) == 2


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_is_full_when_people_are_numbered_is_told(tmp_path: Path) -> None:
    groups = [[FaceKey("f" * 64, index) for index in range(5000)]]
    with pytest.raises(FaceOpsError, match="free some space"):
        number_groups(tmp_path / "state.sqlite", groups)
    assert number_groups(tmp_path / "state.sqlite", [[FaceKey("f", 0)]]) == [1]


def test_a_state_that_another_process_writes_to_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.sqlite"
    monkeypatch.setattr(schema, "BUSY_S", 0.05)
    with (
        contextlib.closing(FaceStore(path, METHOD)) as store,
        contextlib.closing(sqlite3.connect(path)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        for attempt in (
            lambda: store.save([extraction(0)]),
            lambda: FaceStore(path, METHOD),
            lambda: number_groups(path, [[FaceKey("f", 0)]]),
        ):
            with pytest.raises(FaceOpsError, match=r"is locked\); another process"):
                attempt()
        other.rollback()
        store.save([extraction(0)])


def test_only_a_damaged_state_is_to_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(FaceOpsError, match=r"not a database.*delete it"):
        FaceStore(path, METHOD)
    with pytest.raises(FaceOpsError, match=r"unable to open.*permission") as caught:
        FaceStore(tmp_path / "none" / "state.sqlite", METHOD)
    assert "delete" not in str(caught.value)


@pytest.mark.usefixtures("small_files")
def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    before = tmp_path / "before.txt"
    write_file(before, b"before")
    with pytest.raises(FaceOpsError, match="cannot be written"):
        write_file(before, b"x" * 10_000)
    assert before.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["before.txt"]


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
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("version", "column"), [(2, "embedding"), (3, "forgotten")])
def test_a_state_of_an_earlier_schema_keeps_only_the_places_of_forgotten_faces(
    tmp_path: Path, version: int, column: str
) -> None:
    path = tmp_path / "state.sqlite"
    values = {"embedding": (b"", b"vector"), "forgotten": (1, 0)}[column]
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE files (path, root, size, mtime_ns, photo_id)")
        db.execute(f"CREATE TABLE faces (photo_id, x, y, width, height, {column})")
        for photo_id, value in zip("ab", values, strict=True):
            db.execute("INSERT INTO faces VALUES (?, 1, 2, 30, 40, ?)", (photo_id, value))
        db.execute(f"PRAGMA user_version={version}")
    with contextlib.closing(FaceStore(path, METHOD)) as store:
        assert store.forgotten_places(["a", "b"]) == {"a": [(1, 2, 30, 40)]}
        store.save([extraction(0)])
        assert len(store.load(["photo 0"])) == 1
