"""Output folders whose state knows the photos of `album`: runs into them open no photo."""

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.release.bundle import Bundle
from tests.conftest import link_album


@pytest.fixture(scope="session")
def known_photos(
    synthetic_set: Path, gallery: Gallery, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A state with the faces and crops of the photos of `album`, found under no path."""
    folder = tmp_path_factory.mktemp("known_photos")
    album = link_album(synthetic_set, folder / "album")
    identify(album, gallery, bundle, folder / "out", IdentifySettings(keep_crops=True))
    state = folder / "out" / "state.sqlite"
    with contextlib.closing(sqlite3.connect(state)) as db, db:
        for table in ("files", "unknown_faces", "unknown_given"):
            db.execute(f"DELETE FROM {table}")
    return state


@pytest.fixture
def out(known_photos: Path, tmp_path: Path) -> Path:
    """An output folder without results whose state knows the photos of `album`."""
    folder = tmp_path / "out"
    folder.mkdir()
    shutil.copyfile(known_photos, folder / "state.sqlite")
    return folder


@pytest.fixture
def own_gallery(gallery_dir: Path, tmp_path: Path) -> Path:
    """A copy of the gallery that lists no outputs of other tests."""
    ignored = shutil.ignore_patterns("outputs.jsonl")
    return Path(shutil.copytree(gallery_dir, tmp_path / "gallery", ignore=ignored))


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
