"""Has anything changed since the latest run? If not, its results stand, and nothing is redone.

It is asked before models, gallery or state are loaded, so this module loads neither NumPy nor
ONNX Runtime: a nightly run over an unchanged folder costs the walk over its files.
"""

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import faceops
from faceops.base.files import sha256_file
from faceops.base.locks import folder_lock
from faceops.gallery.outputs import remember_output
from faceops.gallery.store import gallery_stamp
from faceops.identification.records.output_folder import (
    ANNOTATED,
    PUBLISHED,
    RUNS,
    STATE_FILE,
    remove_old_runs,
)
from faceops.identification.settings import IdentifySettings
from faceops.identification.sidecars.sidecars import Sidecars
from faceops.identification.summary import (
    MANIFEST_FILE,
    Summary,
    read_summary,
    stated_drawings,
    write_summary,
)
from faceops.photos.formats import decoder_id
from faceops.photos.walk import walk_photos
from faceops.release.contract import RELEASE_FILE

if TYPE_CHECKING:
    from faceops.identification.engine.engine import NamedPhoto

# Raise it with every change of the rows that the same inputs give.
ROWS_VERSION = 1
NO_FILE = (-1, -1)  # size and time of what is none, or is gone


def decided_by(
    gallery: str, bundle: Path, release: str, root: Path, settings: IdentifySettings
) -> str:
    """Return the sha256 of all that decides a run's rows, apart from the photos; "" if unknown.

    Args:
        gallery: its stamp, see `gallery_stamp`; "" of a gallery that is not as it was saved.
        bundle: the release's folder; `release` is the name that the rows give it.
        root: the folder that the photos lie in.
    """
    if not gallery:
        return ""
    stated = {
        "rows": [ROWS_VERSION, faceops.__version__],
        "decoder": decoder_id(),
        "gallery": gallery,
        "release": [release, sha256_file(bundle / RELEASE_FILE)],
        "root": str(root),
        "settings": settings.deciding(),
    }
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


class FolderDigest:
    """The sha256 of the files that a run looked at: paths, sizes and modification times.

    With `sidecars` each photo's sidecar is among them, as it is when the photo is taken in: the run
    has brought it up to date by then.
    """

    def __init__(self, sidecars: bool) -> None:
        self._digest = hashlib.sha256()
        self._sidecars = Sidecars() if sidecars else None

    def add(self, path: Path, size: int, mtime_ns: int) -> None:
        """Take in the next photo, in the order of the walk."""
        self._add(path, size, mtime_ns)
        if self._sidecars:
            sidecar = self._sidecars.of(path)
            self._add(sidecar, *_size_and_time(sidecar))

    def _add(self, path: Path, size: int, mtime_ns: int) -> None:
        self._digest.update(os.fsencode(path) + f"\0{size}\0{mtime_ns}\0".encode())

    def add_named(self, named: "NamedPhoto") -> None:
        """Take in the next photo of a run as it was when it was looked at."""
        file = named.file
        self.add(named.path, *((file.size, file.mtime_ns) if file else NO_FILE))

    def hexdigest(self) -> str:
        """Return the digest so far."""
        return self._digest.hexdigest()


def standing_results(
    photos_dir: Path,
    gallery: Path,
    bundle: Path,
    out: Path,
    release: str,
    settings: IdentifySettings,
    note: str,
) -> Summary | None:
    """Return the summary of the latest run into `out` if a new one would write the same rows.

    It then says `unchanged`, and when that was found, in `out` too. Where anything is not as it
    should be the answer is None: the run itself says what.

    Args:
        photos_dir: a folder of photos, or one photo.
        bundle: the release's folder; `release` is the name that the rows give it.
        note: of the release, see `Bundle`.
        settings: with the budget and the precision of the release filled in.

    Raises:
        FaceOpsError: `out` is in use by another process or cannot be written.
    """
    if not (out / PUBLISHED[-1]).is_file() or not (bundle / RELEASE_FILE).is_file():
        return None
    root, paths = photos_below(photos_dir)
    stamp = decided_by(gallery_stamp(gallery), bundle, release, root, settings)
    with folder_lock(out):
        latest = run_that_stands(out, stamp, paths)
        if latest is None:
            return None
        known = remember_output(gallery, out, root if latest.xmp else None)
        return still_stands(latest, out, known, note, settings)


def photos_below(photos_dir: Path) -> tuple[Path, list[Path]]:
    """Return the folder that the photos lie in, absolute, and the files; of one photo just it."""
    if photos_dir.is_dir():
        root = photos_dir.resolve()
        return root, walk_photos(root)
    root = photos_dir.parent.resolve()
    return root, [root / photos_dir.name]


def run_that_stands(out: Path, stamp: str, paths: Sequence[Path]) -> Summary | None:
    """Return the latest run into `out` if a new one would write the same rows, else None.

    That is so when its `decided_by` is `stamp`, its files are all there, and `paths` are the
    files that this very run looked at, by path, size and modification time. What it wrote beside
    its rows must be there too: sidecars as it left them, none that failed, and all drawn copies.
    What the state knows does not count: shards and runs that were cut short fill it without any
    results.
    """
    try:
        latest = read_summary(out)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # there is none, or another version's
    if not stamp or latest.decided_by != stamp:
        return None
    if latest.drop_at and datetime.now(UTC) >= datetime.fromisoformat(latest.drop_at):
        return None  # a run drops what is kept of photos that are gone for long
    files_of_it = (*PUBLISHED, STATE_FILE)
    if latest.sidecar_errors or not all((out / name).is_file() for name in files_of_it):
        return None
    if latest.annotate and not _drawings_are_there(out, latest.run_id):
        return None
    files = FolderDigest(latest.xmp)
    for path in paths:
        files.add(path, *_size_and_time(path))
    return latest if files.hexdigest() == latest.saw else None


def still_stands(
    latest: Summary, out: Path, known_to_gallery: bool, note: str, settings: IdentifySettings
) -> Summary:
    """Return `latest` as of now, and note in `out` that nothing has changed since."""
    latest.known_to_gallery, latest.release_note = known_to_gallery, note
    latest.keep_crops, latest.keep_runs = settings.keep_crops, settings.keep_runs
    remove_old_runs(out, settings.keep_runs, latest.run_id)
    latest.checked, latest.unchanged = datetime.now(UTC).isoformat(timespec="seconds"), True
    write_summary(latest, out)
    return latest


def _drawings_are_there(out: Path, run_id: str) -> bool:
    if not (out / ANNOTATED).is_dir() or not (out / RUNS / run_id / MANIFEST_FILE).is_file():
        return False
    stated = stated_drawings(out / RUNS / run_id)
    return all(_size_and_time(out / name)[0] == entry["bytes"] for name, entry in stated.items())


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return NO_FILE
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else NO_FILE
