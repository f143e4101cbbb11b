"""Reuse the latest run's results if nothing has changed since.

Checked before a release, gallery or state is loaded: a nightly run over an unchanged folder costs
little more than the walk over its files.
"""

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import faceops
from faceops.base.files import sha256_file
from faceops.base.locks import folder_lock
from faceops.gallery.folder import gallery_stamp, remember_output
from faceops.identification.records.output_folder import (
    ANNOTATED,
    MANIFEST_FILE,
    PUBLISHED,
    RUNS,
    STATE_FILE,
    SUMMARY_FILE,
    listed_drawings,
    remove_old_runs,
)
from faceops.identification.settings import IdentifySettings
from faceops.identification.sidecars.place import SidecarPlaces
from faceops.identification.summary import Summary, read_summary, write_summary
from faceops.photos.formats import decoder_id
from faceops.photos.walk import walk_photos
from faceops.release.contract import RELEASE_FILE

if TYPE_CHECKING:  # loads ONNX Runtime
    from faceops.identification.engine.decide import NamedPhoto

ROWS_VERSION = 1  # raise it with every change of the rows that the same inputs give
NO_FILE = (-1, -1)  # size and time of what is no regular file


@dataclass(frozen=True)
class UnloadedRelease:
    """A release that is not loaded: its folder, and name and note as in `Bundle`."""

    folder: Path
    name: str
    note: str = ""


def list_photos(photos_dir: Path) -> tuple[Path, list[Path]]:
    """Return the absolute folder of the photos and the files below it; or just the one photo."""
    if photos_dir.is_dir():
        root = photos_dir.resolve()
        return root, walk_photos(root)
    root = photos_dir.parent.resolve()
    return root, [root / photos_dir.name]


def inputs_digest(
    gallery_stamp: str, release: UnloadedRelease, root: Path, settings: IdentifySettings
) -> str:
    """Return the sha256 of all that decides a run's rows but the photos; "" if unknown.

    Args:
        gallery_stamp: see `gallery.store.gallery_stamp`; "" if the gallery is not as saved.
        root: the folder of the photos.
    """
    if not gallery_stamp:
        return ""
    inputs = {
        "rows": [ROWS_VERSION, faceops.__version__],
        "decoder": decoder_id(),
        "gallery": gallery_stamp,
        "release": [release.name, sha256_file(release.folder / RELEASE_FILE)],
        "root": str(root),
        "settings": settings.deciding(),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


class FolderDigest:
    """The sha256 of the files of a run: paths, sizes and modification times, in walk order.

    With `sidecars`, each photo's sidecar is included, as the run has written it.
    """

    def __init__(self, sidecars: bool) -> None:
        self._digest = hashlib.sha256()
        self._sidecars = SidecarPlaces() if sidecars else None

    def add_file(self, path: Path, size: int, mtime_ns: int) -> None:
        """Add the next photo's file."""
        self._add(path, size, mtime_ns)
        if self._sidecars:
            sidecar = self._sidecars.of(path)
            self._add(sidecar, *_size_and_time(sidecar))

    def add(self, named: "NamedPhoto") -> None:
        """Add the next photo of a run, as it was when its faces were found."""
        file = named.file
        self.add_file(named.path, *((file.size, file.mtime_ns) if file else NO_FILE))

    def hexdigest(self) -> str:
        """Return the digest so far."""
        return self._digest.hexdigest()

    def _add(self, path: Path, size: int, mtime_ns: int) -> None:
        self._digest.update(os.fsencode(path) + f"\0{size}\0{mtime_ns}\0".encode())


def reuse_if_unchanged(
    photos_dir: Path, gallery: Path, release: UnloadedRelease, out: Path, settings: IdentifySettings
) -> Summary | None:
    """Return the summary of the latest run into `out` if a new run would write the same rows.

    None if anything changed or is damaged: the run itself then says what.

    Args:
        photos_dir: a folder of photos, or one photo.
        settings: with the budget and the precision of the release filled in.

    Raises:
        FaceOpsError: `out` is in use by another process or cannot be written.
    """
    if not (out / SUMMARY_FILE).is_file() or not (release.folder / RELEASE_FILE).is_file():
        return None
    root, paths = list_photos(photos_dir)
    digest = inputs_digest(gallery_stamp(gallery), release, root, settings)
    with folder_lock(out):
        latest = find_reusable_run(out, digest, paths)
        if latest is None:
            return None
        latest.known_to_gallery = remember_output(gallery, out, root if latest.xmp else None)
        latest.release_note = release.note
        return reuse_last_run(latest, out, settings)


def find_reusable_run(out: Path, digest: str, paths: Sequence[Path]) -> Summary | None:
    """Return the latest run into `out` if a new run would write the same rows, else None.

    Its `decided_by` is `digest`, and `paths` are its files by path, size and modification time. Its
    results are complete: record files, state, annotated copies, and sidecars as the run left them.
    The state alone is no sign: shards and interrupted runs fill it without writing results.
    """
    try:
        latest = read_summary(out)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # there is none, or another version's
    if not digest or latest.decided_by != digest:
        return None
    if latest.drop_at and datetime.now(UTC) >= datetime.fromisoformat(latest.drop_at):
        return None  # a run has to drop the data of missing photos
    results = (*PUBLISHED, STATE_FILE)
    if latest.sidecar_errors or not all((out / name).is_file() for name in results):
        return None
    if latest.annotate and not _drawings_exist(out, latest.run_id):
        return None
    files = FolderDigest(latest.xmp)
    for path in paths:
        files.add_file(path, *_size_and_time(path))
    return latest if files.hexdigest() == latest.saw else None


def reuse_last_run(latest: Summary, out: Path, settings: IdentifySettings) -> Summary:
    """Return `latest` as `unchanged`, checked now, and write that to `out`."""
    latest.keep_crops, latest.keep_runs = settings.keep_crops, settings.keep_runs
    remove_old_runs(out, settings.keep_runs, latest.run_id)
    latest.checked, latest.unchanged = datetime.now(UTC).isoformat(timespec="seconds"), True
    write_summary(latest, out)
    return latest


def _drawings_exist(out: Path, run_id: str) -> bool:
    run = out / RUNS / run_id
    if not (out / ANNOTATED).is_dir() or not (run / MANIFEST_FILE).is_file():
        return False
    return all(
        _size_and_time(out / name)[0] == entry["bytes"]
        for name, entry in listed_drawings(run).items()
    )


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return NO_FILE
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else NO_FILE
