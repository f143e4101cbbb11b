"""The path of a photo's XMP sidecar; imports no NumPy, so unchanged runs start fast."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from faceops.photos.walk import BACKUPS, SIDECAR, is_sidecar

_CACHED_FOLDERS = 16
_Names = dict[str, list[str]]  # file names that differ in case or Unicode form only


class _Listing(NamedTuple):
    photos: _Names  # all files but sidecars and backups, by their folded name
    stems: _Names  # the same by their folded stem: two where photo.jpg lies beside photo.cr2
    sidecars: _Names  # by what comes before .xmp, folded


class SidecarPlaces:
    """Finds the sidecars of photos; lists each folder once and keeps the listing.

    A sidecar is photo.jpg.xmp (digiKam, darktable). It is photo.xmp (Lightroom) if that exists,
    photo.jpg.xmp does not, and no other file in the folder could own it, as photo.cr2 or photo.png
    would. A photo without either gets photo.jpg.xmp. Names that differ only in case or Unicode form
    are one file on some disks and shares: PHOTO.JPG has the sidecar photo.jpg.xmp, unless there is
    another file photo.jpg.
    """

    def __init__(self) -> None:
        self._listing = lru_cache(_CACHED_FOLDERS)(_list)

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


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _list(folder: Path) -> _Listing:
    listing = _Listing(defaultdict(list), defaultdict(list), defaultdict(list))
    try:
        with os.scandir(folder) as entries:
            # With equal names before it, .xmp comes before .XMP.
            for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
                if is_sidecar(entry.name):
                    listing.sidecars[_folded(entry.name[: -len(SIDECAR)])].append(entry.name)
                elif not (entry.name.endswith(BACKUPS) or entry.is_dir(follow_symlinks=False)):
                    listing.photos[_folded(entry.name)].append(entry.name)
                    listing.stems[_folded(Path(entry.name).stem)].append(entry.name)
    except OSError:
        pass  # writing a sidecar reports what is wrong with the folder
    return listing
