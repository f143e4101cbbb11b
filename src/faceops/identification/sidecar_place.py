"""Which file is a photo's sidecar."""

import os
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

SUFFIX = ".xmp"
_FOLDERS = 16  # whose listings are kept


class _Listing(NamedTuple):
    stems: Counter[str]  # of all files but sidecars: 2 where photo.jpg lies beside photo.cr2
    sidecars: dict[str, str]  # names by what comes before .xmp


class Sidecars:
    """Finds the sidecars of photos; each folder is listed once, and that listing is used on.

    A sidecar is photo.jpg.xmp (digiKam, darktable). It is photo.xmp (Lightroom) where that is
    there, photo.jpg.xmp is not, and no other file in the folder could be meant by it, as photo.cr2
    or photo.png would be. A photo without either gets photo.jpg.xmp. Endings may be in capitals.
    """

    def __init__(self) -> None:
        self._listing = lru_cache(_FOLDERS)(_list)

    def of(self, photo: Path) -> Path:
        """Return where the sidecar of `photo` is, or would be."""
        stems, sidecars = self._listing(photo.parent)
        name = sidecars.get(photo.name)
        if name is None and stems[photo.stem] <= 1:
            name = sidecars.get(photo.stem)
        return photo.with_name(name or photo.name + SUFFIX)

    def any_of(self, photo: Path) -> list[Path]:
        """Return every file that is or was the sidecar of `photo`: what is one changes."""
        _, sidecars = self._listing(photo.parent)
        stated = dict.fromkeys((photo.name, photo.stem))
        return [photo.with_name(sidecars[name]) for name in stated if name in sidecars]


def _list(folder: Path) -> _Listing:
    stems: Counter[str] = Counter()
    sidecars: dict[str, str] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.lower().endswith(SUFFIX):
                    stems[Path(entry.name).stem] += not entry.is_dir(follow_symlinks=False)
                elif entry.name.endswith(SUFFIX):
                    sidecars[entry.name[: -len(SUFFIX)]] = entry.name
                else:
                    sidecars.setdefault(entry.name[: -len(SUFFIX)], entry.name)
    except OSError:
        pass  # writing says what is wrong with the folder
    return _Listing(stems, sidecars)
