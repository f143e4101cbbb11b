"""The folders that a user names: what each holds, who may write into it, and what is skipped in it.

They are compared by resolved path and by inode, and judged by what lies in them: a link, another
spelling on a file system that ignores case, or a folder that the command does not know of cannot
lead to files of another kind.

In folders of photos, system folders are skipped, and what the user excludes by patterns of
gitignore: in files named .faceopsignore, for the folder that they are in, and of the option
--exclude, for the folder of the photos.
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from faceops.base.errors import FaceOpsError, UsageError, printable
from faceops.base.stores import is_url, read_object, shown
from faceops.photos.formats import FORMATS

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern


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
        """Whether there is a folder now."""
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

    Raises:
        UsageError: one of them is wrong.
    """
    for folder in folders:
        if folder.kind is not PHOTOS and folder.use is not Use.CLEAN:
            require_utf8(folder.path, folder.kind.name)
        if folder.use is not Use.READ and folder.status and not folder.is_folder:
            raise UsageError(f"{printable(folder.path)} is a file; name a folder.")
    for folder in folders:
        for other in folders:
            if other is not folder and folder.use is Use.WRITE:
                _check_apart(folder, other)
    for folder in folders:
        if folder.use is not Use.READ:
            _check_content(folder)


def require_utf8(path: Path, what: str) -> None:
    """Refuse a path that is not UTF-8: Parquet files, JSON and servers cannot name it.

    Raises:
        UsageError: it is not, or a link leads to a path that is not.
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


IGNORE_FILE = ".faceopsignore"
_MAX_BYTES = 1_000_000  # of such a file in a store
HIDDEN = ".*"  # the rule that skips hidden folders
# What systems and programs keep beside photos: thumbnails, previews, deleted files, indexes. By
# name in lower case; hidden ones are skipped anyway.
SYSTEM_NAMES = frozenset(
    {
        *("@eadir", "#recycle", "#snapshot", "@tmp"),  # Synology
        *("@recycle", "@recently-snapshot", "@__thumb"),  # QNAP
        *("$recycle.bin", "system volume information"),  # Windows
        *("__macosx", "lost+found"),
    }
)
SYSTEM_FILES = frozenset({"Thumbs.db", "thumbs.db", "desktop.ini", "Desktop.ini"})
SYSTEM_SUFFIXES = (".lrdata", ".lrcat-data")  # Lightroom's previews
# Of a library of Apple's programs, only the folders of originals hold the user's photos.
LIBRARY_SUFFIXES = (".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary")
ORIGINALS = ("originals", "masters")


@dataclass(frozen=True)
class ExcludeRules:
    """The rules for the entries of one folder."""

    # Where they come from, the length of the path of their folder, and the patterns. The first that
    # matches decides, also that an entry is not skipped (`!pattern`).
    patterns: tuple[tuple[str, int, "list[GitIgnoreSpecPattern]"], ...] = ()

    @classmethod
    def of_options(cls, root: Path, exclude: Sequence[str]) -> "ExcludeRules":
        """Return the rules of the option --exclude. Raises UsageError: a pattern is wrong."""
        if not exclude:
            return cls()
        return cls((("", len(_prefix(root)), _parse(exclude, "--exclude")),))

    def below(self, folder: Path, root: Path) -> "ExcludeRules":
        """Return the rules with those of the file .faceopsignore in `folder`.

        Raises:
            UsageError: a pattern is wrong, or the file is not UTF-8 text.
            FaceOpsError: it cannot be read.
        """
        file = folder / IGNORE_FILE
        if file.exists() and not file.is_file():  # reading a pipe would wait for a writer
            raise FaceOpsError(f"{printable(file)} is not a file; remove it.")
        try:
            content = read_object(file, _MAX_BYTES) if is_url(file) else file.read_bytes()
        except OSError as error:
            raise FaceOpsError(
                f"{printable(shown(file))} cannot be read ({error.strerror or error}); give this "
                "user permission."
            ) from None
        if b"\0" in content:
            raise UsageError(f"{printable(file)} is not UTF-8 text; save it as UTF-8.")
        # As names that are not UTF-8 are decoded, so that patterns match them.
        lines = content.decode("utf-8-sig", "surrogateescape").splitlines()
        name = printable(file.relative_to(root))
        own = (f"{name}: ", len(_prefix(folder)), _parse(lines, printable(file)))
        # Patterns of options come first, then those of the nearest file.
        options = sum(source == "" for source, _, _ in self.patterns)
        return ExcludeRules((*self.patterns[:options], own, *self.patterns[options:]))

    def for_entries(self, folder: Path) -> Callable[[str, bool], str | None]:
        """Return a function that returns the rule which skips an entry of `folder`, or None.

        It takes the entry's name and whether that is a folder.
        """
        prefix = _prefix(folder)
        is_library = folder.suffix.lower() in LIBRARY_SUFFIXES
        is_plain = not self.patterns and not is_library

        def rule_for(name: str, is_folder: bool) -> str | None:
            if is_plain and not is_folder:  # most files
                return name if name in SYSTEM_FILES else None
            hidden = HIDDEN if is_folder and name.startswith(".") else None
            for source, start, patterns in self.patterns:
                path = prefix[start:] + name + "/" * is_folder
                for pattern in patterns:
                    if _matches(pattern, path):
                        return f"{source}{pattern.pattern!s}" if pattern.include else hidden
            lower = name.lower()
            if lower in SYSTEM_NAMES or name in SYSTEM_FILES:
                return name
            if lower.endswith(SYSTEM_SUFFIXES):
                return f"*{Path(name).suffix}"
            return f"*{folder.suffix}" if is_library and lower not in ORIGINALS else hidden

        return rule_for


def _prefix(folder: Path) -> str:
    """Return what the paths of entries of `folder` start with."""
    shown = folder.as_posix()
    return "" if shown == "." else shown.rstrip("/") + "/"


def _matches(pattern: "GitIgnoreSpecPattern", path: str) -> bool:
    """Return whether `pattern` matches `path` itself; a walk has matched the folders above.

    pathspec's own matching takes "!/folder" for all files in it, and "folder/**" for the folder.
    """
    if str(pattern.pattern).endswith("/**"):
        path = path.rstrip("/")
    found = pattern.regex.match(path) if pattern.regex else None
    above = found and found.groupdict().get("ps_d") and found.end("ps_d") < len(path)
    return found is not None and not above


def _parse(lines: Sequence[str], source: str) -> "list[GitIgnoreSpecPattern]":
    """Return the patterns, the last one first, as it decides."""
    # Only walks with patterns load it: 0.1 s.
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        patterns = [GitIgnoreSpecPattern(line) for line in lines]
    except ValueError as error:
        raise UsageError(f"{source}: {error}; write patterns as in a .gitignore file.") from None
    return [pattern for pattern in reversed(patterns) if pattern.include is not None]
