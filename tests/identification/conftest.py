"""Output folders whose state knows the photos of `album`: runs into them open no photo."""

import contextlib
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from faceops.gallery.store import Gallery
from faceops.identification.inputs import IdentifySettings
from faceops.identification.run import identify
from faceops.identification.state.photo_block import FACE
from faceops.identification.summary import Summary
from faceops.release.bundle import Bundle
from tests.conftest import copy_album, made_once


def identified_once(gallery_dir: Path, photos: Path, bundle: Bundle, **settings: Any) -> None:
    """Identify `photos` into out/ beside them, whose state then knows their faces under no path."""
    folder = photos.parent
    # A copy notes the output folder: forgetting somebody of the gallery would clean it.
    gallery = Gallery.open(shutil.copytree(gallery_dir, folder / "gallery"))
    identify(photos, gallery, bundle, folder / "out", IdentifySettings(**settings))
    tables = ("files", "unknown_faces", "unknown_given")
    change_state(folder / "out", *(f"DELETE FROM {table}" for table in tables))


def with_state(state: Path, folder: Path) -> Path:
    """Make an output folder without results that has a copy of `state`."""
    folder.mkdir()
    shutil.copyfile(state, folder / "state.sqlite")
    return folder


@pytest.fixture(scope="session")
def known_photos(
    synthetic_set: Path, gallery_dir: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A state with the faces and crops of the photos of `album`, found under no path."""

    def make(folder: Path) -> None:
        album = copy_album(synthetic_set, folder / "album")
        identified_once(gallery_dir, album, bundle, keep_crops=True)

    return made_once(tmp_path_factory, "known_photos", make) / "out" / "state.sqlite"


@pytest.fixture(scope="session")
def known_faces(
    synthetic_set: Path, gallery_dir: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A state with the faces of the photos in `photos`, found under no path."""

    def make(folder: Path) -> None:
        identified_once(gallery_dir, copy_portraits(synthetic_set, folder / "photos"), bundle)

    return made_once(tmp_path_factory, "known_faces", make) / "out" / "state.sqlite"


@pytest.fixture
def known_out(known_faces: Path, tmp_path: Path) -> Path:
    """An output folder without results whose state knows the faces of `photos`."""
    return with_state(known_faces, tmp_path / "out")


@pytest.fixture
def out(known_photos: Path, tmp_path: Path) -> Path:
    """An output folder without results whose state knows the photos of `album`."""
    return with_state(known_photos, tmp_path / "out")


@pytest.fixture
def own_gallery(gallery_dir: Path, tmp_path: Path) -> Path:
    """A copy of the gallery that lists no outputs of other tests."""
    ignored = shutil.ignore_patterns("outputs.jsonl")
    return Path(shutil.copytree(gallery_dir, tmp_path / "gallery", ignore=ignored))


@pytest.fixture
def photos(synthetic_set: Path, tmp_path: Path) -> Path:
    """A folder of three photos of enrolled people."""
    return copy_portraits(synthetic_set, tmp_path / "photos")


def copy_portraits(synthetic_set: Path, folder: Path) -> Path:
    """Copy three photos of enrolled people to a new folder."""
    folder.mkdir()
    for number, path in enumerate(sorted((synthetic_set / "enrol").glob("*/*"))[1:9:3]):
        shutil.copyfile(path, folder / f"{number}.jpg")
    return folder


LENIENT = IdentifySettings(budget=0.2, threads=1)


class Run(NamedTuple):
    """An album, who is enrolled, a release, and an output folder whose state knows the photos."""

    album: Path
    gallery: Gallery
    bundle: Bundle
    out: Path
    settings: IdentifySettings = IdentifySettings()

    def __call__(
        self, settings: IdentifySettings | None = None, photos: Path | None = None, **given: Any
    ) -> Summary:
        """Identify the album or other photos, with other settings or some changed."""
        settings = settings or replace(self.settings, **given)
        return identify(photos or self.album, self.gallery, self.bundle, self.out, settings)

    def anew(self, *settings: IdentifySettings, **given: Any) -> Summary:
        """Identify although nothing has changed."""
        results_missing(self.out)
        return self(*settings, **given)

    def rows(self) -> list[dict[str, Any]]:
        """Return the records without their run."""
        return rows_of(self.out)


@pytest.fixture
def run(album: Path, gallery: Gallery, bundle: Bundle, out: Path) -> Run:
    """Runs over the album."""
    return Run(album, gallery, bundle, out)


@pytest.fixture(scope="session")
def portraits_template(
    synthetic_set: Path, gallery_dir: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("portraits") / "now"
    (folder / "album").mkdir(parents=True)
    for person in sorted((synthetic_set / "enrol").iterdir())[:4]:
        for path in person.iterdir():
            shutil.copy2(path, folder / "album")
    ignored = shutil.ignore_patterns("outputs.jsonl")
    shutil.copytree(gallery_dir, folder / "gallery", ignore=ignored)
    gallery = Gallery.open(folder / "gallery")
    left = np.array([face.person in gallery.people[:2] for face in gallery.faces], bool)
    identify(folder / "album", gallery.without(left).save(), bundle, folder / "out", LENIENT)
    return Path(shutil.copytree(folder, folder.with_name("template"), symlinks=True))


@pytest.fixture
def portraits(portraits_template: Path, bundle: Bundle) -> Run:
    """An album of four people, whose first two are not enrolled, and the output of a run.

    Restored at the same path for each test, since results state absolute paths.
    """
    folder = portraits_template.with_name("now")
    shutil.rmtree(folder)
    shutil.copytree(portraits_template, folder, symlinks=True)
    gallery = Gallery.open(folder / "gallery")
    return Run(folder / "album", gallery, bundle, folder / "out", LENIENT)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Return the records in `out` without their run."""
    return list(pq.read_table(out / "faces.parquet").drop_columns("run_id").to_pylist())


def count(out: Path, what: str) -> int:
    """Return the number of rows of a table of the state, or of such a condition."""
    with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as db:
        return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def results_missing(out: Path) -> Path:
    """Remove a result, so that the next run does not reuse the latest one."""
    (out / "faces.csv").unlink(missing_ok=True)
    return out


def stored_faces(out: Path, *, forgotten: bool) -> int:
    """Return the number of faces in the state, of all finders, that are forgotten or not."""
    with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as db:
        arrays = [np.frombuffer(faces, FACE) for (faces,) in db.execute("SELECT faces FROM photos")]
    return int(sum((faces["forgotten"] == forgotten).sum() for faces in arrays))


def change_state(out: Path, *statements: str) -> None:
    """Execute statements on the state."""
    with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as db, db:
        for statement in statements:
            db.execute(statement)


def as_of_schema_4(out: Path) -> None:
    """Bring the state back to the tables of an earlier version, with a row for each face."""
    of_face = "photo_id TEXT, finder TEXT, face_index INTEGER"
    of_photo = "photo_id, finder, reason, decoder, width, height, orientation"
    keys, faces, embedded = {}, [], []
    with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as db, db:
        pictures = {(row[0], row[1]): row[2:] for row in db.execute("SELECT * FROM pictures")}
        for photo, *key, content in db.execute("SELECT id, photo_id, finder, faces FROM photos"):
            keys[photo] = key
            for index, (box, *rest) in enumerate(np.frombuffer(content, FACE).tolist()):
                picture = pictures.get((photo, index), (b"", None))
                faces.append((*key, index, *box, *rest, *picture))
        for photo, contract, content in db.execute("SELECT * FROM embeddings"):
            rows = enumerate(np.frombuffer(content, "<f4").reshape(-1, 128))
            embedded += [
                (*keys[photo], at, contract, row.tobytes()) for at, row in rows if row.any()
            ]
        for statement in (
            *(f"DROP TABLE {table}" for table in ("embeddings", "lengths", "pictures")),
            f"CREATE TABLE faces ({of_face}, x REAL, y REAL, width REAL, height REAL, "
            "detector_score REAL, quality REAL, forgotten INTEGER, thumbnail BLOB, crop BLOB, "
            "PRIMARY KEY (photo_id, finder, face_index))",
            f"CREATE TABLE embeddings ({of_face}, contract TEXT, embedding BLOB, "
            "PRIMARY KEY (photo_id, finder, face_index, contract)) WITHOUT ROWID",
            f"CREATE TABLE kept AS SELECT {of_photo} FROM photos",
            "DROP TABLE photos",
            "ALTER TABLE kept RENAME TO photos",
            *(f"ALTER TABLE files DROP {column}" for column in ("ctime_ns", "inode")),
            "PRAGMA user_version=4",
        ):
            db.execute(statement)
        db.executemany(f"INSERT INTO faces VALUES ({','.join('?' * 12)})", faces)
        db.executemany("INSERT INTO embeddings VALUES (?, ?, ?, ?, ?)", embedded)
