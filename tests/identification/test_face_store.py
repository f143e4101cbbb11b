"""The state: errors say what to do, failures are tried again, another release embeds crops."""

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.faces.quality import LengthScale
from faceops.gallery.reembed import reembed
from faceops.gallery.store import Gallery
from faceops.identification.engine.extract import FaceExtractor, extract_shard
from faceops.identification.forget.forget import forget_person
from faceops.identification.inputs import IdentifySettings, SourceFile, list_photos, source_file
from faceops.identification.run import identify
from faceops.identification.state import schema
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import FACE, Extraction, decode_crop, encode_crop
from faceops.identification.state.schema import Method
from faceops.photos.formats import PhotoLimits
from faceops.release.bundle import Bundle
from tests.conftest import copy_album
from tests.gallery.gallery_files import Killed
from tests.identification.columns import number_groups, photo
from tests.identification.conftest import (
    Run,
    as_of_schema_4,
    change_state,
    count,
    results_missing,
    rows_of,
)
from tests.photos.tiny_dng import dng
from tests.releases import without_raw_embedding

METHOD = Method("finder", "contract")
KEEP_CROPS = IdentifySettings(keep_crops=True)


def extraction(number: int) -> Extraction:
    draw = np.random.default_rng(number)
    crop = draw.integers(0, 256, (112, 112, 3), np.uint8)  # noise: a large picture
    found = photo(f"photo {number}", [0.9], np.ones((1, 128), np.float32))
    path = f"/photos/{number}.jpg"
    return Extraction(path, SourceFile(path, 1, 1, 1, 1), found, opened=True, crops={0: crop})


@pytest.fixture
def few(run: Run) -> Run:
    """Runs over three scenes and the other photos of the album."""
    for path in sorted((run.album / "scenes").iterdir())[3:]:
        path.unlink()
    return run


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaceStore]:
    with contextlib.closing(FaceStore(tmp_path / "state.sqlite", METHOD)) as opened:
        yield opened


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite finds the disk full after 30 pages."""
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        db = real(*arguments, **options)
        db.execute("PRAGMA max_page_count=30")
        return db

    monkeypatch.setattr(sqlite3, "connect", connect)


@pytest.mark.usefixtures("small_disk")
def test_on_a_full_disk_stored_photos_stay_and_the_advice_is_to_free_space(store, tmp_path):
    store.save([extraction(0)])
    with pytest.raises(FaceOpsError, match=r"is full\); free some space") as caught:
        store.save([extraction(number) for number in range(1, 100)])
    assert "delete" not in str(caught.value)
    assert list(store.load([f"photo {number}" for number in range(100)])) == ["photo 0"]
    store.save([extraction(1)])
    assert len(store.load(["photo 0", "photo 1"])) == 2
    with pytest.raises(FaceOpsError, match="free some space"):
        number_groups(tmp_path / "state.sqlite", [[("f" * 64, n) for n in range(5000)]])


def test_a_state_that_another_process_writes_to_is_waited_for(store, tmp_path, monkeypatch):
    path = tmp_path / "state.sqlite"
    monkeypatch.setattr(schema, "BUSY_S", 0.05)
    with (
        contextlib.closing(FaceStore(path, METHOD)) as impatient,
        contextlib.closing(sqlite3.connect(path)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        for attempt in (
            lambda: impatient.save([extraction(0)]),
            lambda: FaceStore(path, METHOD),
            lambda: number_groups(path, [[("f", 0)]]),
        ):
            with pytest.raises(FaceOpsError, match=r"is locked\); another process"):
                attempt()
        other.rollback()
        impatient.save([extraction(0)])


def test_only_a_damaged_state_is_to_be_repaired(tmp_path):
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(FaceOpsError, match=r"not a database.*gallery repair --out"):
        FaceStore(path, METHOD)
    with pytest.raises(FaceOpsError, match=r"unable to open.*permission") as caught:
        FaceStore(tmp_path / "none" / "state.sqlite", METHOD)
    assert "repair" not in str(caught.value)


def test_a_state_of_schema_4_is_migrated_and_only_photos_without_a_clear_face_are_opened(
    run, own_gallery, capsys
):
    run = run._replace(gallery=Gallery.open(own_gallery))
    forget_person(own_gallery, run().people.most_common(1)[0][0])
    first = run()
    assert first.reasons["forgotten"] > 0
    rows, pictures = run.rows(), count(run.out, "pictures")
    as_of_schema_4(run.out)
    again = run.anew()
    scores: dict[str, float] = {}
    for row in (*rows, *(migrated := run.rows())):  # lengths are not in these versions
        del row["quality"]
        score = row["detector_score"] or 0
        scores[row["photo_path"]] = max(scores.get(row["photo_path"], 0), score)
    assert migrated == rows and count(run.out, "pictures") == pictures
    assert count(run.out, "pictures WHERE crop NOT NULL") == pictures
    weak = sum(0 < score < 0.9 for score in scores.values())
    assert weak < len(with_faces(rows)) / 2 and not first.photos_turned
    weak += 1  # one was unreadable, perhaps for lack of memory
    assert (again.photos_opened, again.photos_reused) == (weak, first.photos_reused - weak)
    assert count(run.out, "files WHERE ctime_ns IS NOT NULL") == first.photos
    assert "another version" not in capsys.readouterr().err
    assert run().unchanged


def test_a_time_or_inode_beyond_the_range_of_sqlite_is_stored(store, monkeypatch):
    status = SimpleNamespace(st_mode=stat.S_IFREG, st_size=1, st_mtime_ns=10**19, st_ctime_ns=-1)
    status.st_ino = 2**64 - 2  # as some FUSE file systems give
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", lambda _: status)
        file = source_file("/photos/photo.jpg")
    assert file is not None
    store.save([replace(extraction(0), path=file.path, file=file)])
    assert store.find_unchanged([file]) == [("photo 0", True)]


def test_only_the_three_methods_used_last_are_kept(tmp_path):
    for number in (0, 1, 2, 3, 0):
        method = Method(f"finder {number}", "contract")
        with contextlib.closing(FaceStore(tmp_path / "state.sqlite", method)) as store:
            store.save([extraction(0)])
            store.drop_old_methods()
    for table in ("methods", "photos"):
        assert count(tmp_path, f"(SELECT DISTINCT finder FROM {table})") == 3
    assert count(tmp_path, "embeddings") == count(tmp_path, "pictures") == 3


def test_a_stored_crop_is_lossless():
    crop = np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)
    read = decode_crop(encode_crop(crop))
    assert read is not None and np.array_equal(read, crop)
    assert decode_crop(encode_crop(crop)[:900]) is None
    assert decode_crop(os.urandom(50)) is None


def fail(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, *errors: Exception) -> None:
    """Let the next calls of `method` for orientation_6.jpg raise `errors`, one each."""
    left, real = list(errors), getattr(owner, method)

    def fails(path: Any, *rest: Any, **options: Any) -> Any:
        if left and str(path).endswith("orientation_6.jpg"):
            raise left.pop()
        return real(path, *rest, **options)

    monkeypatch.setattr(owner, method, fails)


@pytest.mark.parametrize(
    ("error", "reason", "is_failure"),
    [
        (OSError(errno.EIO, "Input/output error"), "unreadable", True),
        (PermissionError(errno.EACCES, "Permission denied"), "unreadable", False),
        (FileNotFoundError(errno.ENOENT, "No such file"), "vanished", False),
        (MemoryError(), "unreadable", True),
    ],
)
def test_a_photo_that_failed_is_opened_by_the_next_run(
    error, reason, is_failure, album, gallery, bundle, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    photos = [photo for photo in album.iterdir() if photo.suffix == ".jpg"]
    shutil.rmtree(album / "scenes")
    times = 1 + is_failure  # a shortage is tried again alone
    fail(monkeypatch, os, "open", *[error] * times)  # opens photos
    if isinstance(error, OSError):
        fail(monkeypatch, Path, "open", *[error] * times)  # hashes them
    first = identify(album, gallery, bundle, out)
    reasons = {row["photo_path"]: row["reason"] for row in rows_of(out)}
    assert reasons["orientation_6.jpg"] == reason
    assert (first.photos_opened, len(first.failures)) == (len(photos) - 2, is_failure)
    second = identify(album, gallery, bundle, out)
    assert (second.photos_opened, second.faces > 0, second.failures) == (1, True, [])
    assert identify(album, gallery, bundle, out).unchanged


def test_a_file_that_changed_while_it_was_opened_is_not_stored_under_its_old_bytes(
    album, gallery, bundle, tmp_path, monkeypatch
):
    photo, out = tmp_path / "photo.jpg", tmp_path / "out"
    good = (album / "orientation_6.jpg").read_bytes()
    photo.write_bytes(good)
    real = os.open

    def half_written(path: Any, *rest: Any, **options: Any) -> int:
        photo.write_bytes(good[:2000])
        return real(path, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", half_written)
        identify(photo, gallery, bundle, out)
    assert [row["reason"] for row in rows_of(out)] == ["unreadable"]
    photo.write_bytes(good)
    assert identify(photo, gallery, bundle, out).faces > 0


def test_a_photo_that_could_be_opened_though_not_hashed_is_stored(
    album, gallery, bundle, tmp_path, monkeypatch
):
    photo, out = album / "orientation_6.jpg", tmp_path / "out"
    fail(monkeypatch, Path, "open", OSError(errno.EIO, "Input/output error"))
    first = identify(photo, gallery, bundle, out)
    assert first.faces > 0 and "data:image/webp" in (out / "report.html").read_text("utf-8")
    second = identify(photo, gallery, bundle, results_missing(out))
    assert (second.photos_opened, second.faces) == (0, first.faces)


def test_a_photo_that_was_missing_at_first_is_stored_by_its_bytes(
    album, bundle, tmp_path, monkeypatch
):
    photos, out = list_photos(album / "orientation_6.jpg"), tmp_path / "out"
    fail(monkeypatch, os, "stat", OSError(errno.EIO, "Input/output error"))
    assert extract_shard(photos, bundle, out) == 1
    assert (count(out, "photos"), count(out, "files")) == (1, 0)
    assert (extract_shard(photos, bundle, out), count(out, "files")) == (0, 1)


def test_quality_is_that_after_embedding_by_the_release_of_the_run(run):
    def qualities(release: Bundle) -> np.ndarray:
        assert (
            identify(run.album, run.gallery, release, results_missing(run.out)).photos_opened == 0
        )
        return np.array([row["quality"] for row in run.rows() if row["quality"] is not None])

    def with_scale(scale: LengthScale | None) -> Bundle:
        thresholds = run.bundle.release.thresholds.model_copy(update={"length_scale": scale})
        return replace(
            run.bundle, release=run.bundle.release.model_copy(update={"thresholds": thresholds})
        )

    scale = run.bundle.release.thresholds.length_scale
    assert scale is not None
    other = LengthScale(low=1.2 * scale.low, median=1.2 * scale.median)
    of_photos, after, lower = map(qualities, (with_scale(None), run.bundle, with_scale(other)))
    share = after**2 / of_photos
    assert (share > 0).all() and (share < 1).all() and share.std() > 0.05
    assert (lower < after).all()
    np.testing.assert_array_equal(qualities(run.bundle), after)


def test_embeddings_without_lengths_are_made_again_by_a_release_that_tells_them(few, tmp_path):
    """The contract is the same, and a run has one measure of quality."""
    older = Bundle.load(without_raw_embedding(few.bundle.folder, tmp_path / "older"))
    assert older.release.contract_id == few.bundle.release.contract_id

    def qualities(release: Bundle) -> list[float | None]:
        assert (
            identify(few.album, few.gallery, release, results_missing(few.out)).photos_opened == 0
        )
        return [row["quality"] for row in few.rows()]

    after = qualities(few.bundle)
    change_state(few.out, "DELETE FROM embeddings", "DELETE FROM lengths")
    assert qualities(older) != after  # crops are embedded, of which no lengths are told
    assert qualities(few.bundle) == after


def test_photos_whose_quality_was_measured_otherwise_are_opened_again(few, monkeypatch):
    first = few()
    rows = few.rows()
    monkeypatch.setattr("faceops.identification.state.schema.QUALITY_VERSION", 1)
    again = few.anew()
    assert first.photos_opened == 0 < again.photos_opened and few.rows() == rows
    assert few.anew().photos_opened == 0


def test_a_raised_limit_opens_photos_that_were_too_large_and_no_others(bundle, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    Image.new("RGB", (400, 300)).save(folder / "large.png")
    Image.new("RGB", (60, 50)).save(folder / "small.png")
    (folder / "broken.png").write_bytes((folder / "small.png").read_bytes()[:60])

    def opened(max_pixels: int) -> int:
        settings = IdentifySettings(detail=0, limits=PhotoLimits(max_pixels=max_pixels))
        return extract_shard(list_photos(folder), bundle, out, settings)

    assert [opened(100_000), opened(100_000)] == [3, 0]
    assert count(out, "photos WHERE reason='too_large'") == 1
    assert [opened(200_000), opened(100_000)] == [1, 0]
    assert count(out, "photos WHERE reason='no_face'") == 2


def test_panoramas_of_a_state_that_was_searched_without_segments_are_opened_again(bundle, tmp_path):
    Image.new("RGB", (400, 50)).save(tmp_path / "wide.png")
    Image.new("RGB", (400, 300)).save(tmp_path / "usual.png")
    photos, out = list_photos(tmp_path), tmp_path / "out"
    assert [extract_shard(photos, bundle, out), extract_shard(photos, bundle, out)] == [2, 0]
    change_state(out, "UPDATE photos SET decoder=NULL")  # as earlier versions stored them
    assert [extract_shard(photos, bundle, out), extract_shard(photos, bundle, out)] == [1, 0]


def test_raw_photos_of_a_state_that_has_the_faces_of_their_thumbnails_are_opened_again(
    bundle, tmp_path
):
    pytest.importorskip("rawpy", reason="needs the extra raw")
    (tmp_path / "photo.dng").write_bytes(dng(np.zeros((40, 60, 3), np.uint8)))
    photos, out = list_photos(tmp_path), tmp_path / "out"
    assert extract_shard(photos, bundle, out) == 1
    # As a migrated state of schema 4.
    change_state(out, "UPDATE photos SET orientation=NULL, width=6, height=4")
    change_state(out, "UPDATE files SET ctime_ns=NULL")
    assert [extract_shard(photos, bundle, out), extract_shard(photos, bundle, out)] == [1, 0]
    assert count(out, "photos WHERE width=60") == 1


# The model changed: faces with stored crops are embedded again, and no photo is opened.


@pytest.fixture(scope="session")
def new(next_bundle: Path) -> Bundle:
    """The next release: another embedder, the same crops."""
    return Bundle.load(next_bundle)


@pytest.fixture(scope="session")
def new_gallery(gallery_dir: Path, new: Bundle, tmp_path_factory: Any) -> Gallery:
    """The gallery under the next release."""
    folder = shutil.copytree(gallery_dir, tmp_path_factory.mktemp("new_gallery") / "gallery")
    reembed(folder, new)
    return Gallery.open(folder)


@pytest.fixture
def next_run(run: Run, new_gallery: Gallery, new: Bundle) -> Run:
    """Runs of the next release with that gallery."""
    return run._replace(gallery=new_gallery, bundle=new)


@pytest.fixture(scope="session")
def new_rows(
    synthetic_set: Path, new_gallery: Gallery, new: Bundle, tmp_path_factory: Any
) -> list[dict[str, Any]]:
    """The rows of a run of the next release that opened every photo of `album`."""
    folder = tmp_path_factory.mktemp("new_rows")
    identify(copy_album(synthetic_set, folder / "album"), new_gallery, new, folder / "out")
    return rows_of(folder / "out")


def with_faces(rows: list[dict[str, Any]]) -> set[str]:
    return {row["photo_path"] for row in rows if row["face_index"] is not None}


def set_crops(out: Path, crop: bytes | None, where: str = "TRUE") -> None:
    with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as db, db:
        db.execute(f"UPDATE pictures SET crop=? WHERE {where}", (crop,))


def test_stored_crops_are_embedded_by_the_next_release_and_going_back_embeds_nothing(
    run, next_run, new_rows
):
    run()
    rows = run.rows()
    again = next_run()
    assert (again.photos_opened, again.photos_reused) == (0, 11)
    assert again.photos_reembedded == len(with_faces(new_rows)) > 5
    assert run.rows() == new_rows
    assert next_run.anew().photos_reembedded == 0
    back = run()
    assert (back.photos_opened, back.photos_reembedded) == (0, 0)
    assert run.rows() == rows


def test_without_stored_crops_only_photos_with_faces_are_opened(run, next_run, new_rows):
    set_crops(run.out, None)
    again = next_run(KEEP_CROPS)
    assert (again.photos_opened, again.photos_reembedded) == (len(with_faces(new_rows)), 0)
    assert run.rows() == new_rows
    assert count(run.out, "pictures WHERE crop IS NULL") == 0
    back = run()
    assert (back.photos_opened, back.photos_reembedded) == (0, 0)


def test_a_photo_with_a_damaged_crop_is_opened(next_run, new_rows):
    photo = next(row["photo_id"] for row in new_rows if row["face_index"] == 1)
    of_photo = f"photo IN (SELECT id FROM photos WHERE photo_id='{photo}')"
    set_crops(next_run.out, b"RIFFhalf", f"{of_photo} AND face_index=1")
    assert next_run().photos_opened == 1
    assert next_run.rows() == new_rows


def test_an_interrupted_run_continues_to_embed(next_run, new_rows, monkeypatch):
    monkeypatch.setattr("faceops.identification.engine.extract.GROUP", 4)
    groups, extract = [], FaceExtractor.extract

    def killed(extractor: FaceExtractor, paths: list[Path]) -> Any:
        groups.append(paths)
        if len(groups) == 3:
            raise Killed
        return extract(extractor, paths)

    with monkeypatch.context() as patched:
        patched.setattr(FaceExtractor, "extract", killed)
        with pytest.raises(Killed):
            next_run(threads=1)
    assert count(next_run.out, "(SELECT DISTINCT contract FROM embeddings)") == 2
    again = next_run()
    assert again.photos_opened == 0
    assert 0 < again.photos_reembedded < len(with_faces(new_rows))
    assert next_run.rows() == new_rows


@pytest.mark.slow
@pytest.mark.parametrize("crops", [True, False])
def test_a_forgotten_person_stays_forgotten_under_the_next_release(few, own_gallery, new, crops):
    out, few = few.out, few._replace(gallery=Gallery.open(own_gallery))
    if not crops:
        set_crops(out, None)
    first = few()
    person = first.people.most_common(1)[0][0]
    with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as db:
        before = {crop for (crop,) in db.execute("SELECT crop FROM pictures")}
    done = forget_person(own_gallery, person)
    assert done.complete and done.proof.found == []
    removed = set(done.outputs[0].secrets) & before
    assert len(removed) == (first.people[person] if crops else 0)
    content = (out / "state.sqlite").read_bytes()
    assert not [crop for crop in removed if crop[:40] in content or crop[-40:] in content]
    reembed(own_gallery, new)
    later = few._replace(gallery=Gallery.open(own_gallery), bundle=new)
    forgotten = count(out, "forgotten_places")
    again = later()
    assert again.reasons["forgotten"] == forgotten > 0 and person not in again.people
    assert (again.photos_opened == 0) == crops
    # Not even if another finder finds them.
    other = later(detail=0)
    assert other.photos_opened > 0 and other.reasons["forgotten"] == forgotten
    with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as db:
        found = db.execute("SELECT id, faces FROM photos").fetchall()
        pictured = set(db.execute("SELECT photo, face_index FROM pictures"))
        matrices = {
            table: db.execute(f"SELECT photo, {table} FROM {table}").fetchall()
            for table in ("embeddings", "lengths")
        }
    gone = {number: np.frombuffer(faces, FACE)["forgotten"] for number, faces in found}
    assert not [face for face in pictured if gone[face[0]][face[1]]]
    for table, nothing in (("embeddings", 0), ("lengths", np.nan)):
        for number, content in matrices[table]:
            rows = np.frombuffer(content, "<f4").reshape(len(gone[number]), -1)
            np.testing.assert_array_equal(rows[gone[number]], nothing)


def test_shards_embed_stored_crops_too(next_run):
    assert extract_shard(list_photos(next_run.album), next_run.bundle, next_run.out) == 0
    summary = next_run()
    assert (summary.photos_opened, summary.photos_reembedded) == (0, 0)
