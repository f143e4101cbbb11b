"""Photos that cannot be read for lack of memory, a disk or a share never replace better results."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.faces.detector import Detector
from faceops.identification.inputs import IdentifySettings
from faceops.identification.run import identify
from faceops.identification.summary import read_summary
from faceops.release.bundle import Bundle, Embedded
from tests.identification.conftest import rows_of

# In children of one process with the release loaded, whose address space may grow by so many MiB.
WITH_LITTLE_MEMORY = """
import os, resource, signal, sys
from pathlib import Path
from faceops.base.errors import FaceOpsError
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.identification.inputs import IdentifySettings
from faceops.release.bundle import Bundle, Embedded
import PIL.Image, pyarrow.parquet, pyarrow.json, faiss
album, gallery, bundle, out = map(Path, sys.argv[1:5])
PIL.Image.init()
gallery, bundle = Gallery.open(gallery), Bundle.load(bundle)
for limit in sys.argv[5:]:
    if not os.fork():
        signal.alarm(60)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bytes_ = pages * resource.getpagesize() + (int(limit) << 20)
        resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))
        try:
            identify(album, gallery, bundle, out / limit, IdentifySettings(detail=0, threads=2))
            os._exit(0)
        except FaceOpsError as error:
            print(error, file=sys.stderr)
            os._exit(1)
    print(limit, os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
LIMITS = ("0", "140", "1500")


@pytest.mark.slow
def test_with_little_memory_a_run_ends_with_its_results_or_one_sentence_and_keeps_better_ones(
    run, gallery_dir, sface_bundle
):
    before = run()
    for limit in LIMITS:  # of another detail: the run has to open every photo again
        shutil.copytree(run.out, run.out.parent / "limited" / limit, symlinks=True)
    paths = map(str, (run.album, gallery_dir, sface_bundle, run.out.parent / "limited"))
    command = [sys.executable, "-c", WITH_LITTLE_MEMORY, *paths, *LIMITS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    codes = dict(line.split() for line in done.stdout.splitlines())
    assert "Traceback" not in done.stderr
    assert (codes["0"], codes["1500"]) == ("1", "0") and codes["140"] in ("0", "1"), done.stderr
    whole = rows_of(run.out.parent / "limited" / "1500")
    without_faces = {row["photo_path"]: row["reason"] for row in whole if row["face_index"] is None}
    for limit, code in codes.items():
        result = read_summary(run.out.parent / "limited" / limit)
        if code == "1":
            assert result == before
            continue
        assert len(result.failures) <= (0 if limit == "1500" else 4)
        rows = rows_of(run.out.parent / "limited" / limit)
        assert without_faces == {
            row["photo_path"]: row["reason"] for row in rows if row["face_index"] is None
        }


def no_memory(*_: object, **options: object) -> None:
    raise MemoryError


def test_a_group_that_memory_does_not_suffice_for_is_done_photo_by_photo(
    run, tmp_path, monkeypatch
):
    for path in sorted((run.album / "scenes").iterdir())[4:]:
        path.unlink()
    run(photos=run.album / "scenes")
    embed, sizes = Bundle.embed, []

    def only_small(self: Bundle, crops: np.ndarray) -> Embedded:
        sizes.append(len(crops))
        if len(crops) > 5:
            raise RuntimeError("bad allocation")
        return embed(self, crops)

    monkeypatch.setattr(Bundle, "embed", only_small)
    summary = identify(run.album / "scenes", run.gallery, run.bundle, tmp_path / "short")
    assert sizes[0] > 5 >= max(sizes[1:])
    assert summary.failures == []
    usual, short = run.rows(), rows_of(tmp_path / "short")
    for column in ("photo_path", "face_index", "person", "decision", "x", "quality"):
        assert [row[column] for row in short] == [row[column] for row in usual]


def test_photos_that_fail_keep_their_rows_are_counted_and_tried_again(run, monkeypatch):
    run()
    before = run.rows()
    scenes = sorted((run.album.resolve() / "scenes").iterdir())
    real, away = os.stat, set(map(str, scenes[:3]))

    def stat(path: Any, **options: Any) -> os.stat_result:
        if str(path) in away:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    summary = run()
    assert run.rows() == before
    assert len(summary.failures) == 3 and "Input/output error" in summary.failures[0]
    assert (summary.vanished, summary.moved) == (0, 0)
    away.clear()
    again = run()
    assert (again.unchanged, again.failures, again.photos_opened) == (False, [], 0)
    assert run().unchanged


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EIO])
def test_a_share_that_vanishes_during_a_run_ends_it_and_keeps_the_results(run, error, monkeypatch):
    run()
    kept = {path.name: path.read_bytes() for path in run.out.iterdir() if path.is_file()}
    real, seen, photos = os.stat, set(), set(map(str, run.album.resolve().rglob("*.jpg")))

    def stat(path: Any, **options: Any) -> os.stat_result:
        if str(path) in photos:
            seen.add(str(path))
        if str(path) in photos and len(seen) > 6:
            raise OSError(error, os.strerror(error))
        return real(path, **options)

    settings = IdentifySettings(recheck=True)
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        before = set(threading.enumerate())
        with pytest.raises(FaceOpsError, match=r"7 of the first 12 .* such as: .*stay") as caught:
            run(settings)
        # The error is alive, and no thread works on for the run, which has given up its lock.
        assert caught.value is not None and set(threading.enumerate()) <= before
    for name in kept.keys() - {"state.sqlite"}:
        assert (run.out / name).read_bytes() == kept[name]
    assert run().unchanged


def test_the_first_run_too_ends_when_no_photo_can_be_opened(
    album, gallery, bundle, tmp_path, monkeypatch
):
    photo, out = album / "orientation_6.jpg", tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(Detector, "search_at", no_memory)
        with pytest.raises(FaceOpsError, match=r"1 of the first 1 photos .*lacks memory"):
            identify(photo, gallery, bundle, out)
    assert not (out / "summary.json").exists()
    assert identify(photo, gallery, bundle, out).faces > 0


def test_the_faces_of_another_finder_are_kept_for_a_photo_that_fails(run, monkeypatch):
    first = run()
    photos = sorted(path for path in (run.album / "scenes").iterdir())
    for path in photos[4:]:
        path.unlink()
    monkeypatch.setattr(Detector, "search_at", no_memory)
    settings = IdentifySettings(detail=0, max_failed_share=1)
    summary = run.anew(settings, photos=run.album / "scenes")
    assert len(summary.failures) == 4 and 0 < summary.faces < first.faces
    assert summary.reasons.keys().isdisjoint({"unreadable", "vanished"})
    stored = json.loads((run.out / "summary.json").read_text("utf-8"))
    assert stored["failures"] == summary.failures
