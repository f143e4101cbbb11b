"""A run that is killed goes on where it stopped, and ends with the rows of an undisturbed one."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.release.bundle import Bundle

RUN = """
import sys
from pathlib import Path
from faceops.gallery.store import Gallery
from faceops.identification import run
from faceops.identification.run import IdentifySettings, identify
from faceops.release.bundle import Bundle
run.GROUP = 4
photos, gallery, bundle, out = map(Path, sys.argv[1:])
identify(photos, Gallery.open(gallery), Bundle.load(bundle), out, IdentifySettings(threads=1))
"""


def kept(state: Path) -> int:
    """Return how many photos the store of a running process has committed."""
    if not state.is_file():
        return 0
    try:
        with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM photos").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet, or just being written
        return 0


@pytest.mark.slow
def test_a_killed_run_continues(
    synthetic_set: Path,
    gallery_dir: Path,
    sface_bundle: Path,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    sources = [
        *(synthetic_set / "album").glob("scene_*.jpg"),
        *(synthetic_set / "photos").glob("*/*"),
    ]
    for number, path in enumerate(sorted(sources)):
        os.link(path, album / f"{number:03d}.jpg")
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, (album, gallery_dir, sface_bundle, out))]
    )
    limit = time.monotonic() + 120
    while kept(out / "state.sqlite") < 8 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (out / "faces.csv").exists()

    monkeypatch.setattr("faceops.identification.run.GROUP", 4)
    gallery = Gallery.open(gallery_dir)
    summary = identify(album, gallery, bundle, out)
    assert summary.photos_reused >= 8
    assert summary.photos_opened + summary.photos_reused == len(sources)
    identify(album, gallery, bundle, tmp_path / "undisturbed")
    continued, undisturbed = (
        pq.read_table(folder / "faces.parquet").drop_columns("run_id").to_pylist()
        for folder in (out, tmp_path / "undisturbed")
    )
    assert continued == undisturbed
