"""Where the XMP sidecar of a photo is, in a folder or in a store."""

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from faceops.base.errors import FaceOpsError
from faceops.base.stores import is_url, split
from faceops.photos.walk import BACKUPS, SIDECAR, is_sidecar

_CACHED_FOLDERS = 16
_Names = dict[str, list[str]]  # file names that differ in case or Unicode form only


class _Listing(NamedTuple):
    photos: _Names  # all files but sidecars and backups, by their folded name
    stems: _Names  # the same by their folded stem: two where photo.jpg lies beside photo.cr2
    sidecars: _Names  # by what comes before .xmp, folded
    versions: dict[str, str]  # of sidecars in a store, and of copies of them


class _Folder:
    """A folder, listed once, also if several threads wait for it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, Lock()
        self._found: _Listing | FaceOpsError | None = None

    def listing(self) -> _Listing:
        with self._lock:
            if self._found is None:
                try:
                    self._found = _list(self._folder)
                except FaceOpsError as error:  # else each of them would wait as long
                    self._found = error
        if isinstance(self._found, FaceOpsError):
            raise self._found
        return self._found


class SidecarPlaces:
    """Finds the sidecars of photos; lists each folder once and keeps the listing.

    A sidecar is photo.jpg.xmp (digiKam, darktable). It is photo.xmp (Lightroom) if that exists,
    photo.jpg.xmp does not, and no other file in the folder could own it, as photo.cr2 or photo.png
    would. A photo without either gets photo.jpg.xmp. Names that differ only in case or Unicode form
    are one file on some disks and shares: PHOTO.JPG has the sidecar photo.jpg.xmp, unless there is
    another file photo.jpg. Threads may share it.
    """

    def __init__(self) -> None:
        self._folders = lru_cache(_CACHED_FOLDERS)(_Folder)
        self._lock = Lock()
        self.changes = 0  # the `mark` of what `replace` replaced and wrote, combined by xor

    def _listing(self, folder: Path) -> _Listing:
        with self._lock:
            known = self._folders(folder)
        return known.listing()

    def of(self, photo: Path) -> Path:
        """Return where the sidecar of `photo` is, or would be written."""
        listing = self._listing(photo.parent)
        name, stem = _folded(photo.name), _folded(photo.stem)
        own, shared = listing.sidecars.get(name, []), listing.sidecars.get(stem, [])
        if len(listing.photos.get(name, [])) > 1:
            own = [each for each in own if each[: -len(SIDECAR)] == photo.name]
        if len(listing.stems.get(stem, [])) > 1:
            shared = []
        for found, before in ((own, photo.name), (shared, photo.stem)):
            if found:
                exact = (each for each in found if each[: -len(SIDECAR)] == before)
                return photo.with_name(next(exact, found[0]))
        return photo.with_name(photo.name + SIDECAR)

    def is_in_use(self, sidecar: Path, photos: Collection[Path]) -> bool:
        """Return whether `sidecar` is that of one of `photos`."""
        before = sidecar.name[: -len(SIDECAR)]
        if sidecar.name.endswith(SIDECAR) and sidecar.with_name(before) in photos:
            return True  # most of them, without listing the folder
        listing, stem = self._listing(sidecar.parent), _folded(before)
        names = {*listing.photos.get(stem, ()), *listing.stems.get(stem, ())}
        beside = (sidecar.with_name(name) for name in names)
        return any(photo in photos and self.of(photo) == sidecar for photo in beside)

    def version(self, sidecar: Path) -> str:
        """Return the version of a sidecar in a store as its folder was listed, "" for none."""
        return self._listing(sidecar.parent).versions.get(sidecar.name, "")

    def replace(self, sidecar: Path, content: bytes, version: str) -> None:
        """Write a sidecar in a store, or without content delete it, if it has `version` still.

        Raises: as `ObjectStore.write`.
        """
        store, name = split(sidecar)
        if content:
            written = store.write(name, content, replaces=version) or "unknown"
        else:
            written = ""
            store.delete(name, replaces=version)
        self._listing(sidecar.parent).versions[sidecar.name] = written
        with self._lock:
            self.changes ^= mark(sidecar, version) ^ mark(sidecar, written)


def mark(sidecar: Path, version: str) -> int:
    """Return a number of 128 bits for a version of a sidecar, 0 for none."""
    text = os.fsencode(sidecar) + b"\0" + version.encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:16], "big") if version else 0


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _list(folder: Path) -> _Listing:
    listing = _Listing(defaultdict(list), defaultdict(list), defaultdict(list), {})
    if is_url(folder):
        store, name = split(folder)
        found = [entry for entry in store.folder(name) if not entry.is_folder]
        names = [entry.name for entry in found]
        for entry in found:
            if SIDECAR in entry.name.lower():
                listing.versions[entry.name] = entry.version
    else:
        names = []
        with suppress(OSError), os.scandir(folder) as entries:  # writing one reports what is wrong
            for one in entries:
                if is_sidecar(one.name) or not one.is_dir(follow_symlinks=False):
                    names.append(one.name)
    # With equal names before it, .xmp comes before .XMP.
    for name in sorted(names, reverse=True):
        if is_sidecar(name):
            listing.sidecars[_folded(name[: -len(SIDECAR)])].append(name)
        elif not name.endswith(BACKUPS):
            listing.photos[_folded(name)].append(name)
            listing.stems[_folded(Path(name).stem)].append(name)
    return listing
