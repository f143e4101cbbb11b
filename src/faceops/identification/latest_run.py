"""The latest run into an output folder: its settings, and whether its results can be reused.

`reuse_if_unchanged` is called before a release, gallery or state is loaded, and this module imports
no NumPy: a nightly run over an unchanged folder costs little more than the walk over its files.
"""

import hashlib
import json
import os
import struct
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import faceops
from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import folder_lock, paths_shown_as, sha256_file
from faceops.base.stores import is_url
from faceops.gallery.outputs import remember_output
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.identification.inputs import (
    IdentifySettings,
    PhotoList,
    SourceFile,
    list_photos,
    source_file,
)
from faceops.identification.metrics import write_metrics
from faceops.identification.records import output_folder
from faceops.identification.summary import Summary, read_summary, write_summary
from faceops.photos.formats import decoder_id
from faceops.photos.sidecar_places import SidecarPlaces
from faceops.release.release_file import RELEASE_FILE, trusted_keys

if TYPE_CHECKING:
    from faceops.identification.engine.decide import NamedBlock
    from faceops.release.bundle import Bundle


_SETTINGS = (
    *("budget", "detail", "precision", "annotate", "xmp"),
    *("keep_crops", "keep_runs", "limits", "exclude"),
)


@dataclass(frozen=True, eq=False)
class LatestRun:
    """A finished run."""

    summary: Summary
    photos: Path  # the folder of photos, or the one photo, that it was given

    @property
    def root(self) -> Path:
        """The folder below which the paths of its records lie."""
        is_folder = is_url(self.photos) or self.photos.is_dir()
        return self.photos if is_folder else self.photos.parent

    def settings(self, threads: int | None = None) -> IdentifySettings:
        """Return the settings with which the next run decides as this one did."""
        return IdentifySettings(
            **{name: getattr(self.summary, name) for name in _SETTINGS}, threads=threads
        )


def latest_run(out: Path) -> LatestRun:
    """Return the run whose results are in `out`.

    Raises:
        UsageError: there are no results, or they are a copy in a store.
        FaceOpsError: their summary is damaged, or another version's.
    """
    output_folder.refuse_copies([out])
    try:
        summary = read_summary(out)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{out} holds no results; name the folder that faceops identify wrote to."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FaceOpsError(
            f"{out / output_folder.SUMMARY_FILE} cannot be used ({error}); run faceops identify "
            f"into {out} again."
        ) from None
    folder = summary.photos_folder
    found = paths_shown_as(Path("/"), folder.lstrip("/"))
    return LatestRun(summary, next(iter(found), Path(folder)))


ROWS_VERSION = 7  # raise it with every change of the rows that the same inputs give


@dataclass(frozen=True)
class UnloadedRelease:
    """A release that is not loaded: its folder, and name and note as in `Bundle`."""

    folder: Path
    name: str
    note: str = ""


def inputs_digest(
    gallery_stamp: str, release: "UnloadedRelease | Bundle", root: Path, settings: IdentifySettings
) -> str:
    """Return the sha256 of all that determines a run's rows except the photos below `root`.

    "" if `gallery_stamp` is "": the gallery is not as saved.
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
    if keys := trusted_keys():  # so that results from before they were named are not reused
        inputs["trusted_keys"] = [sha256_file(key) for key in keys]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


_STAMP = struct.Struct("<4q")  # of a `SourceFile`, as `PhotoBlock.stamps` has it
_NO_FILE = _STAMP.pack(-1, -1, -1, -1)


class FolderDigest:
    """The sha256 of the files of a run: each path with its `SourceFile`, in walk order.

    With `sidecars`, each photo's sidecar is included, as the run has written it; of photos in a
    store all sidecars, as they were `listed`.
    """

    def __init__(self, sidecars: bool, listed: PhotoList) -> None:
        self._paths, self._stamps = hashlib.sha256(), hashlib.sha256()
        self._sidecars = SidecarPlaces() if sidecars and listed.stamps is None else None
        self._stored = listed.sidecars if sidecars else 0

    def add_file(self, path: str, file: SourceFile | None) -> None:
        """Add the next photo's file; None if it is not a regular file."""
        self._add(path, _STAMP.pack(*file[1:]) if file else _NO_FILE)

    def add(self, named: "NamedBlock") -> None:
        """Add the next photos of a run, as they were when their faces were found."""
        content, size = named.photos.stamps.astype("<i8").tobytes(), _STAMP.size
        for place, path in enumerate(named.photos.paths):
            self._add(path, content[place * size : (place + 1) * size])

    def _add(self, path: str, stamp: bytes) -> None:
        self._paths.update(os.fsencode(path) + b"\0")
        self._stamps.update(stamp)
        if self._sidecars:
            sidecar = os.fspath(self._sidecars.of(Path(path)))
            found = source_file(sidecar)
            self._paths.update(os.fsencode(sidecar) + b"\0")
            self._stamps.update(_STAMP.pack(*found[1:]) if found else _NO_FILE)

    def hexdigest(self, changes: int = 0) -> str:
        """Return the digest so far, with the `changes` of sidecars in a store since."""
        stored = self._stored ^ changes
        digests = self._paths.digest() + self._stamps.digest()
        digests += stored.to_bytes(16, "big") if stored else b""
        return hashlib.sha256(digests).hexdigest()


def reuse_if_unchanged(
    photos_dir: Path,
    gallery: GalleryPlace,
    release: UnloadedRelease,
    out: Path,
    settings: IdentifySettings,
) -> Summary | None:
    """Return the summary of the latest run into `out` if a new run would write the same rows.

    None if anything changed or is damaged: the run itself then says what. `settings` have the
    budget and the precision of the release filled in.

    Raises FaceOpsError: `out` is in use by another process or cannot be written.
    """
    if (
        settings.recheck
        or not (out / output_folder.SUMMARY_FILE).is_file()
        or not (release.folder / RELEASE_FILE).is_file()
    ):
        return None
    listed = list_photos(photos_dir, settings.exclude)
    digest = inputs_digest(storage_of(gallery).stamp(), release, listed.root, settings)
    with folder_lock(out):
        latest = find_reusable_run(out, digest, listed)
        if latest is None:
            return None
        latest.known_to_gallery = remember_output(gallery, out, listed.root if latest.xmp else None)
        latest.release_note = release.note
        return reuse_last_run(latest, out, settings)


def find_reusable_run(out: Path, digest: str, listed: PhotoList) -> Summary | None:
    """Return the latest run into `out` if a new run would write the same rows, else None.

    Its `inputs_sha256` is `digest`, and `listed` are its files, unchanged by their `SourceFile`.
    Its results are complete: record files, state, annotated copies, and sidecars as it left them.
    The state alone does not show it: shards and interrupted runs fill it without writing results.
    """
    try:
        latest = read_summary(out)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # there is none, or another version's
    results = (*output_folder.PUBLISHED, output_folder.STATE_FILE)
    if (
        not digest
        or latest.inputs_sha256 != digest
        or latest.sidecar_errors
        or not all((out / name).is_file() for name in results)
        or not (out / output_folder.REPORT_PAGES).is_dir()
    ):
        return None
    if latest.drop_at and datetime.now(UTC) >= datetime.fromisoformat(latest.drop_at):
        return None  # a run has to drop the data of missing photos
    if latest.annotate and not _drawings_exist(out, latest.run_id):
        return None
    if latest.letters_not_drawn:
        from faceops.identification.records.label_fonts import find_font  # loads Pillow

        if any(map(find_font, latest.letters_not_drawn.values())):
            return None  # a font was installed since
    if latest.xmp and listed.stamps is not None and not listed.is_folder:
        return None  # its sidecar was not listed
    files = FolderDigest(latest.xmp, listed)
    latest.skipped = Counter(listed.skipped.values())
    for path in listed.paths:
        files.add_file(path, listed.file(path))
    return latest if files.hexdigest() == latest.files_sha256 else None


def reuse_last_run(latest: Summary, out: Path, settings: IdentifySettings) -> Summary:
    """Return `latest` as `unchanged`, checked now, and write that to `out`."""
    latest.keep_crops, latest.keep_runs = settings.keep_crops, settings.keep_runs
    latest.exclude = list(settings.exclude)
    output_folder.remove_old_runs(out, settings.keep_runs, latest.run_id)
    latest.checked, latest.unchanged = datetime.now(UTC).isoformat(timespec="seconds"), True
    write_summary(latest, out)
    write_metrics(latest, out)
    return latest


def _drawings_exist(out: Path, run_id: str) -> bool:
    run = out / output_folder.RUNS / run_id
    manifest = run / output_folder.MANIFEST_FILE
    if not ((out / output_folder.ANNOTATED).is_dir() and manifest.is_file()):
        return False
    copies = output_folder.listed_drawings(run).items()
    found = ((source_file(str(out / name)), entry["bytes"]) for name, entry in copies)
    return all(file is not None and file.size == size for file, size in found)
