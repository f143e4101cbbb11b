"""The path of a photo's XMP sidecar; imports no NumPy, so unchanged runs start fast."""

import os
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from faceops.photos.walk import SIDECAR

_CACHED_FOLDERS = 16


class _Listing(NamedTuple):
    stems: Counter[str]  # of all files but sidecars: 2 where photo.jpg lies beside photo.cr2
    sidecars: dict[str, str]  # file names by what comes before .xmp


class SidecarPlaces:
    """Finds the sidecars of photos; lists each folder once and keeps the listing.

    A sidecar is photo.jpg.xmp (digiKam, darktable). It is photo.xmp (Lightroom) if that exists,
    photo.jpg.xmp does not, and no other file in the folder could own it, as photo.cr2 or photo.png
    would. A photo without either gets photo.jpg.xmp. The suffix may be in capitals.
    """

    def __init__(self) -> None:
        self._listing = lru_cache(_CACHED_FOLDERS)(_list)

    def of(self, photo: Path) -> Path:
        """Return where the sidecar of `photo` is, or would be written."""
        stems, sidecars = self._listing(photo.parent)
        name = sidecars.get(photo.name)
        if name is None and stems[photo.stem] <= 1:
            name = sidecars.get(photo.stem)
        return photo.with_name(name or photo.name + SIDECAR)


def _list(folder: Path) -> _Listing:
    stems: Counter[str] = Counter()
    sidecars: dict[str, str] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.lower().endswith(SIDECAR):
                    stems[Path(entry.name).stem] += not entry.is_dir(follow_symlinks=False)
                elif entry.name.endswith(SIDECAR):
                    sidecars[entry.name[: -len(SIDECAR)]] = entry.name
                else:
                    sidecars.setdefault(entry.name[: -len(SIDECAR)], entry.name)
    except OSError:
        pass  # writing a sidecar reports what is wrong with the folder
    return _Listing(stems, sidecars)
