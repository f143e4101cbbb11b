"""The folders that a user names: what each holds, and who may write into it.

They are compared by resolved path and by inode, and judged by what lies in them: a link, another
spelling on a file system that ignores case, or a folder that the command does not know of cannot
lead to files of another kind.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from itertools import permutations
from pathlib import Path

from faceops.base.errors import UsageError, printable
from faceops.photos.formats import FORMATS


@dataclass(frozen=True)
class Kind:
    """What a folder holds."""

    name: str  # as messages name it
    marks: tuple[str, ...] = ()  # files; a folder that has one of them is of this kind
    closed: bool = False  # nothing else is written into folders below it either


PHOTOS = Kind("photos")
GALLERY = Kind(
    "a gallery", ("gallery.json", "copy/gallery.json", "faces.copy.parquet"), closed=True
)
BUNDLE = Kind("a release bundle", ("embedder.onnx",), closed=True)
RESULTS = Kind("results of identify", ("state.sqlite", "faces.jsonl"))
DATA_SET = Kind("a data set", ("sources.json",))
EVALUATION = Kind("an evaluation", ("evaluation.json",))
SUSPICIONS = Kind("suspicious labels", ("suspicions.csv",))
EMBEDDINGS = Kind("stored embeddings")
SOURCE = Kind("photos to import")
_MARKED = (GALLERY, BUNDLE, RESULTS, DATA_SET, EVALUATION, SUSPICIONS)


class Use(Enum):
    """What a command does with a folder; CLEAN is a WRITE that removes what earlier runs wrote."""

    READ = "read"
    WRITE = "write"
    CLEAN = "clean"


@dataclass(frozen=True)
class Folder:
    """A folder that the user named; it need not exist."""

    path: Path
    kind: Kind
    use: Use = Use.READ

    @cached_property
    def real(self) -> Path:
        """Where it lies, or would be made: links, and `..` behind an absent folder, resolved."""
        return Path(os.path.realpath(self.path))

    @cached_property
    def status(self) -> os.stat_result | None:
        """Of the file or folder that exists there."""
        return _status(self.real)

    @property
    def is_folder(self) -> bool:
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)

    def lies_inside(self, other: "Folder") -> bool:
        """Return whether it is `other` or lies below it, by resolved path or by inode.

        The inode counts where a file system ignores case, or where a folder is mounted twice.
        """
        above = filter(None, map(_status, (self.real, *self.real.parents)))
        return self.real.is_relative_to(other.real) or any(
            os.path.samestat(each, other.status) for each in above if other.status
        )


def _status(path: Path) -> os.stat_result | None:
    """Return the status of what is at `path`; None if nothing is, or it may not be looked at."""
    try:
        return path.stat()
    except OSError:
        return None


def check_folders(folders: Sequence[Folder]) -> None:
    """Check the folders of one command, before anything is written.

    A folder that is written to must not be another one of `folders` or lie inside it, hold files of
    another kind, or lie inside a gallery or a release bundle. Its path has to be UTF-8, as have all
    others but those of photos, which are opened by their bytes.

    Raises UsageError: one of them is wrong.
    """
    for folder in folders:
        if folder.kind is not PHOTOS and folder.use is not Use.CLEAN:
            require_utf8(folder.path, folder.kind.name)
        if folder.use is not Use.READ and folder.status and not folder.is_folder:
            raise UsageError(f"{printable(folder.path)} is a file; name a folder.")
    for folder, other in permutations(folders, 2):
        if folder.use is Use.WRITE:
            _check_apart(folder, other)
    for folder in folders:
        if folder.use is not Use.READ:
            _check_content(folder)


def require_utf8(path: Path, what: str) -> None:
    """Refuse a path that is not UTF-8: Parquet files, JSON and servers cannot name it.

    Raises UsageError: it is not, or a link leads to a path that is not.
    """
    for name in (str(path), os.path.realpath(path)):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{printable(Path(name))} ({what}) is not a UTF-8 path; rename it."
            ) from None


def _check_apart(folder: Folder, other: Folder) -> None:
    """Refuse `folder`, which is written to, where it is `other` or lies inside it."""
    # Two folders that one command writes to may be one, unless one of them is the gallery.
    both_written = other.use is Use.WRITE and GALLERY in (folder.kind, other.kind)
    is_apart = other.use is Use.READ or both_written
    # `other` may also be absent, or one photo.
    if not is_apart or not other.is_folder or not folder.lies_inside(other):
        return
    path, what, of = printable(folder.path), folder.kind.name, other.kind.name
    if other.lies_inside(folder):
        raise UsageError(f"{path} cannot be the folder of {what} and of {of}; name two folders.")
    parent = printable(other.path)
    raise UsageError(f"{path} ({what}) lies inside {parent} ({of}); name a folder outside it.")


def _check_content(folder: Folder) -> None:
    """Refuse a folder with files of another kind, and one below a gallery or a bundle."""
    path, what = printable(folder.path), folder.kind.name
    found = _marks(folder.real)
    if folder.kind not in found and (photo := _find_photo(folder)):
        found[PHOTOS] = photo
    for kind, mark in found.items():
        if kind is not folder.kind:
            raise UsageError(f"{path} holds {kind.name} ({mark}); name another folder for {what}.")
    for parent in folder.real.parents:
        for kind, mark in _marks(parent).items():
            if kind.closed:
                raise UsageError(
                    f"{path} lies inside {printable(parent)}, which holds {kind.name} ({mark}); "
                    f"name another folder for {what}."
                )


def _marks(folder: Path) -> dict[Kind, str]:
    """Return the kinds of what `folder` holds, each with a file that shows it."""
    return {kind: mark for kind in _MARKED for mark in kind.marks if _status(folder / mark)}


_LOOKED_AT = 5000  # files, so that a check takes no time


def _find_photo(folder: Folder) -> str:
    """Return a photo in the folder or two levels below, by its suffix; "" if there is none.

    Hidden files do not count, nor do the photos/ of a data set where a data set is written.
    """
    suffixes = tuple(suffix for each in FORMATS for suffix in each.suffixes)
    looked_at = 0
    for parent, below, files in os.walk(folder.real):
        place = Path(parent).relative_to(folder.real)
        for name in files:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                return printable(place / name)
        looked_at += len(files)
        if looked_at > _LOOKED_AT:
            break
        own = "photos" if folder.kind is DATA_SET and not place.parts else None
        is_deep = len(place.parts) == 2
        below[:] = [] if is_deep else [each for each in below if each[0] != "." and each != own]
    return ""
