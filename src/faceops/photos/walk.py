"""List the photos under a folder."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faceops.base.errors import UsageError, printable
from faceops.base.stores import Entry, is_url, split
from faceops.base.work import ordered_map
from faceops.photos.exclude import HIDDEN, IGNORE_FILE, ExcludeRules

SIDECAR = ".xmp"
BACKUPS = ("~", "_original", ".bak")  # what editors and exiftool add to the name of a copy
_METADATA = tuple(f"{SIDECAR}{copy}" for copy in ("", *BACKUPS))
_Folder = tuple[Path, ExcludeRules]  # and the rules for its entries
_LISTED_AT_ONCE = 16  # folders of a store
_NO_PATH = "//"  # the rule that skips what has no path: an empty name, "." or ".." in its key


def walk_photos(
    root: Path, exclude: Sequence[str] = (), skipped: dict[Path, str] | None = None
) -> list[Path]:
    """Return `photo_paths` as paths."""
    return list(map(Path, photo_paths(root, exclude, skipped)))


def photo_paths(
    root: Path, exclude: Sequence[str] = (), skipped: dict[Path, str] | None = None
) -> list[str]:
    """Return every file under `root`, sorted by its relative path.

    As text: a `Path` takes four times the memory, and most of the time of a walk.

    Files that are not images are listed too, so that they get a row with a reason; so are broken
    links and folders that may not be listed. Left out: hidden names (a leading dot), metadata
    beside photos (.xmp) and copies of it, what `ExcludeRules` skip, pipes, sockets and devices.
    Links to folders are followed, and each real folder is entered once, by its own name before any
    link to it: loops end.

    Args:
        exclude: gitignore patterns, relative to `root`, beside those of .faceopsignore files.
        skipped: gets the rule by which each file or folder is skipped, by its path.

    Raises:
        UsageError: `root` is not a folder, or may not be listed; a pattern is wrong.
        FaceOpsError: a .faceopsignore file cannot be read.
    """
    skipped = {} if skipped is None else skipped
    return _Walk(root, is_photo, skipped).files(ExcludeRules.of_options(root, exclude))


def walk_objects(
    root: Path,
    exclude: Sequence[str] = (),
    skipped: dict[Path, str] | None = None,
    with_patterns: bool = True,
) -> Iterator[tuple[Path, list[Entry]]]:
    """Yield each folder of a store below `root` with the objects in it, see `photo_paths`.

    Sidecars and copies of them are listed too. Folders are listed page by page, several at a time,
    and no object is asked for by itself. `with_patterns`: obey .faceopsignore files.

    Raises:
        UsageError, FaceOpsError: as `photo_paths`.
        ObjectStoreError: a folder cannot be listed: what was yielded is not all.
    """
    store, top = split(root)
    skipped = {} if skipped is None else skipped

    def listed(folder: _Folder) -> list[Entry]:
        name = folder[0].as_posix()[len(root.as_posix()) :]
        return sorted(store.folder(f"{top}{name}".strip("/")))

    level: list[_Folder] = [(root, ExcludeRules.of_options(root, exclude))]
    while level:
        below: list[_Folder] = []
        found = ordered_map(listed, level, min(len(level), _LISTED_AT_ONCE))
        for (folder, rules), entries in zip(level, found, strict=True):
            names = {entry.name for entry in entries if not entry.is_folder}
            if with_patterns and IGNORE_FILE in names:
                rules = rules.below(folder, root)
            rule_for, objects = rules.for_entries(folder), list[Entry]()
            for entry in entries:
                path = folder / entry.name
                if entry.name in ("", ".", ".."):
                    skipped[folder / ".."] = _NO_PATH
                elif rule := rule_for(entry.name, entry.is_folder):
                    skipped[path] = rule
                elif entry.is_folder and entry.name.startswith("."):
                    skipped[path] = HIDDEN
                elif entry.is_folder:
                    below.append((path, rules))
                elif not entry.name.startswith("."):
                    objects.append(entry)
            yield folder, objects
        level = below


def is_photo(name: str) -> bool:
    """Return whether `photo_paths` lists a file of that name, if no rule skips it."""
    return not (name.startswith(".") or name.lower().endswith(_METADATA))


def is_sidecar(name: str) -> bool:
    """Return whether a file of that name is metadata beside a photo."""
    return name.lower().endswith(SIDECAR)


def walk_files(root: Path, is_wanted: Callable[[str], bool]) -> list[Path]:
    """Return the files under `root` whose name is wanted, and folders that may not be listed.

    Order, folders and errors as of `walk_photos`, of a store `walk_objects`, but patterns of the
    user exclude nothing.
    """
    if is_url(root):
        walk = walk_objects(root, with_patterns=False)
        return [f / entry.name for f, found in walk for entry in found if is_wanted(entry.name)]
    return list(map(Path, _Walk(root, is_wanted, with_patterns=False).files(ExcludeRules())))


@dataclass
class _Walk:
    """One walk; `skipped` gets what rules skip, `with_patterns` also those of .faceopsignore."""

    root: Path
    is_wanted: Callable[[str], bool]
    skipped: dict[Path, str] = field(default_factory=dict)
    with_patterns: bool = True
    found: list[str] = field(default_factory=list)
    entered: set[tuple[int, int]] = field(default_factory=set)

    def files(self, rules: ExcludeRules) -> list[str]:
        if not self.root.is_dir():
            what = "is not a folder" if self.root.exists() else "does not exist"
            raise UsageError(f"{printable(self.root)} {what}; name a folder of photos.")
        if not os.access(self.root, os.R_OK | os.X_OK):
            raise UsageError(
                f"{printable(self.root)} may not be listed; give this user permission."
            )
        links = [(self.root, rules)]
        while links:
            links = sorted(self._walk_links(links), key=lambda link: link[0].as_posix())
        return sorted(self.found)  # all begin with the root

    def _walk_links(self, folders: list[_Folder]) -> list[_Folder]:
        """Walk `folders` without following links; return the links to folders found there."""
        links: list[_Folder] = []
        pending = folders[::-1]
        while pending:
            folder, rules = pending.pop()
            try:
                status = folder.stat()
                if (status.st_dev, status.st_ino) in self.entered:
                    continue
                self.entered.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                self.found.append(os.fspath(folder))  # gets its row when it is opened
                continue
            names = (entry.name for entry in listed)  # sorted
            first = next((name for name in names if name >= IGNORE_FILE), "")
            if first == IGNORE_FILE and self.with_patterns:
                rules = rules.below(folder, self.root)
            rule_for = rules.for_entries(folder)
            for entry in listed:
                name = entry.name
                is_folder = is_real = entry.is_dir(follow_symlinks=False)
                if not is_folder:
                    is_folder = entry.is_symlink() and (folder / name).is_dir()
                    if not is_folder and not self.is_wanted(name):
                        continue
                if rule := rule_for(name, is_folder):
                    self.skipped[folder / name] = rule
                elif is_folder and name.startswith("."):
                    self.skipped[folder / name] = HIDDEN
                elif is_folder:
                    (pending if is_real else links).append((folder / name, rules))
                elif _is_file_or_broken(entry):
                    self.found.append(entry.path)
        return links


def _is_file_or_broken(entry: "os.DirEntry[str]") -> bool:
    """Return whether it is a file, or a link that leads nowhere: to nothing, or to itself."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True  # gets its row when it is opened
