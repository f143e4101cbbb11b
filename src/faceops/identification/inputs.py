"""What an identification run is given: its settings and its photos.

This module imports no NumPy, as a run over an unchanged folder needs it.
"""

import hashlib
import os
import stat
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from faceops.base.errors import UsageError, printable
from faceops.base.stores import Entry, is_url, split
from faceops.base.work import DeviceChoice
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.identification.records.output_folder import KEEP_RUNS
from faceops.photos.folders import GALLERY, PHOTOS, RESULTS, Folder, Use, check_folders
from faceops.photos.formats import PhotoLimits
from faceops.photos.sidecar_places import mark
from faceops.photos.walk import ExcludeRules, is_photo, is_sidecar, photo_paths, walk_objects
from faceops.release.release_file import PrecisionChoice

DETAIL = 1280  # longest side, pixels, at which large photos are searched in tiles
MAX_DETAIL = 20_000  # pixels
MAX_THREADS = 256
_INT64 = 2**63 - 1  # SQLite's largest integer; inodes and odd times may have one bit more


@dataclass(frozen=True)
class IdentifySettings:
    """How a run finds and names faces, and what it keeps.

    Raises UsageError: a value is out of its range.
    """

    # Largest share of strangers that may be given a name, between 0 and 1; None for the release's
    # default
    budget: float | None = None
    annotate: bool = False  # also draw boxes and names on copies of the photos with faces
    xmp: bool = False  # also write face regions and names into sidecars beside the photos
    # Longest side in pixels at which photos larger than the detector's input are also searched in
    # tiles, for small faces; 0 searches photos as a whole only
    detail: int = DETAIL
    # Of the release's embedder; the gallery must have the same. A run replaces it by that of the
    # loaded release.
    precision: PrecisionChoice = "float32"
    # That finds and embeds faces. It does not decide the rows: what one device found in a photo is
    # not done again on another.
    device: DeviceChoice = "auto"
    # Store the aligned faces of opened photos, so that another release with the same alignment can
    # embed them without the photos
    keep_crops: bool = False
    keep_runs: int = KEEP_RUNS  # number of runs to keep in the output folder, including this one
    # Largest share of the photos, 0 to 1, that may fail for a reason outside their bytes (memory,
    # disk, share, permission): more end the run, and the earlier results stay. In small folders a
    # few may fail, see `allowed_failures`.
    max_failed_share: float = 0.1
    allow_empty: bool = False  # accept that all photos that an earlier run saw are gone
    recheck: bool = False  # compare the sha256 of every photo, also where the file looks unchanged
    threads: int | None = None  # that open photos and find faces; None: one per CPU, at most 8
    # Which photos are opened
    limits: PhotoLimits = PhotoLimits()  # noqa: RUF009  frozen
    exclude: Sequence[str] = ()  # gitignore patterns of what to skip, beside .faceopsignore files

    def __post_init__(self) -> None:
        if self.budget is not None and not 0 < self.budget < 1:
            raise UsageError(
                f"budget {self.budget:g} is wrong: give a share of strangers between 0 and 1, "
                "e.g. 0.01."
            )
        if not 0 <= self.max_failed_share <= 1:
            raise UsageError(
                f"max_failed_share {self.max_failed_share:g} is wrong: give a share from 0 to 1."
            )
        if not 0 <= self.detail <= MAX_DETAIL:
            raise UsageError(
                f"detail {self.detail} is wrong: give pixels from 0 to {MAX_DETAIL}, e.g. 1920."
            )
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise UsageError(f"threads {self.threads} is wrong: give 1 to {MAX_THREADS}.")
        if self.keep_runs < 1:
            raise UsageError(f"keep_runs {self.keep_runs} is wrong: give 1 or more.")

    def deciding(self) -> str:
        """Return the settings that decide a run's rows, as text for a digest."""
        rows = (self.budget, self.annotate, self.xmp, self.detail, self.precision, self.limits)
        return str(rows)


def require_photos(photos_dir: Path) -> None:
    """Raise a UsageError if the folder or photo does not exist."""
    if not is_url(photos_dir) and not photos_dir.exists():
        raise UsageError(
            f"{printable(photos_dir)} does not exist; name a folder of photos, or one photo."
        )


def check_identify_folders(photos_dir: Path, out: Path, gallery: GalleryPlace) -> None:
    """Refuse wrong folders of a run, see `check_folders`.

    Raises UsageError: there are no photos, or a folder holds something else than it is named for.
    """
    require_photos(photos_dir)
    folders = [] if is_url(photos_dir) else [Folder(photos_dir, PHOTOS)]
    if (folder := storage_of(gallery).folder) is not None:
        folders.append(Folder(folder, GALLERY, Use.WRITE))
    check_folders([*folders, Folder(out, RESULTS, Use.WRITE)])


class SourceFile(NamedTuple):
    """A photo's file as it was when its faces were found.

    Programs can change a file and set its size and modification time back, but not its change time
    (ctime); another file under the same path has another inode. Moving a file and changing its
    permissions change the ctime too, and FAT and some network shares give new inodes at each mount:
    such a file is read again to compare its sha256, but its faces are not searched again.
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def source_file(path: str) -> SourceFile | None:
    """Return the file at `path` as it is now; None if it is not a regular file."""
    try:
        status = os.stat(path)  # noqa: PTH116  there are a million of them
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    modified, changed = status.st_mtime_ns & _INT64, status.st_ctime_ns & _INT64
    return SourceFile(path, status.st_size, modified, changed, status.st_ino & _INT64)


class PhotoList(NamedTuple):
    """The files of a run, sorted, or the objects in a store."""

    root: Path  # the absolute folder
    paths: list[str]
    skipped: dict[Path, str]  # the rule of each path that is skipped
    is_folder: bool = True  # whether all photos of `root` are listed, and not one alone
    stamps: "array[int] | None" = None  # of objects, four numbers each: those of their `SourceFile`
    sidecars: int = 0  # the `mark` of all sidecars in a store, combined by xor

    def part(self, start: int, stop: int) -> "PhotoList":
        """Return the photos from one place in `paths` to another."""
        stamps = self.stamps and self.stamps[4 * start : 4 * stop]
        return self._replace(paths=self.paths[start:stop], skipped={}, stamps=stamps)

    def file(self, path: str) -> SourceFile | None:
        """Return the file at `path` as it is now, the object as it was listed; None without one."""
        if self.stamps is None:
            return source_file(path)
        at = bisect_left(self.paths, path)
        if at == len(self.paths) or self.paths[at] != path:
            return None
        size, modified, changed, inode = self.stamps[4 * at : 4 * at + 4]
        return SourceFile(path, size, modified, changed, inode)


def list_photos(photos_dir: Path, exclude: Sequence[str] = ()) -> PhotoList:
    """Return the files below `photos_dir`, or just the one photo; `exclude` as of `walk_photos`.

    `photos_dir` may be a path into a store; errors as of `walk_objects`.
    """
    if is_url(photos_dir):
        return _list_objects(photos_dir, exclude)
    if photos_dir.is_dir():
        listed = PhotoList(photos_dir.resolve(), [], {})
        listed.paths.extend(photo_paths(listed.root, exclude, listed.skipped))
        return listed
    root = photos_dir.parent.resolve()
    return PhotoList(root, [os.fspath(root / photos_dir.name)], {}, is_folder=False)


def _list_objects(root: Path, exclude: Sequence[str]) -> PhotoList:
    paths, stamps, skipped = list[str](), list[tuple[int, ...]](), dict[Path, str]()
    sidecars = 0
    rules = ExcludeRules.of_options(root, exclude)
    for folder, entries in walk_objects(root, rules, skipped):
        photos = [entry for entry in entries if is_photo(entry.name)]
        paths += [f"{folder.as_posix()}/{entry.name}" for entry in photos]
        stamps += map(_stamp_of, photos)
        for entry in entries:
            if is_sidecar(entry.name):
                sidecars ^= mark(folder / entry.name, entry.version)
    is_folder = True
    if not paths and not skipped:
        store, name = split(root)
        if name and (one := store.entry(name)):  # not a folder but a photo
            is_folder, paths, stamps = False, [root.as_posix()], [_stamp_of(one)]
            root = root.parent
    order = sorted(range(len(paths)), key=paths.__getitem__)
    flat = array("q", (number for at in order for number in stamps[at]))
    return PhotoList(root, [paths[at] for at in order], skipped, is_folder, flat, sidecars)


def _stamp_of(entry: Entry) -> tuple[int, int, int, int]:
    """Return the numbers of the `SourceFile` of an object: its size, and a hash of its version.

    So an object that is stored again with the same content is unchanged.
    """
    digest = hashlib.sha256(entry.version.encode()).digest()
    first, second = (int.from_bytes(digest[at : at + 8], "big") & _INT64 for at in (0, 8))
    return entry.size, 0, first, second
