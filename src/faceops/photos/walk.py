"""The photos in folders, and what is skipped there.

System folders are skipped, and what the user excludes by patterns of gitignore: in files named
.faceopsignore, for the folder that they are in, and of the option --exclude, for the folder of the
photos. This module imports no NumPy, so that unchanged runs start fast.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from faceops.base.errors import FaceOpsError, UsageError, printable
from faceops.base.stores import Entry, is_url, read_object, shown, split
from faceops.base.work import ordered_map
from faceops.photos.folders import GALLERY, RESULTS

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

SIDECAR = ".xmp"
BACKUPS = ("~", "_original", ".bak")  # what editors and exiftool add to the name of a copy
_METADATA = tuple(f"{SIDECAR}{copy}" for copy in ("", *BACKUPS))
_NO_PATH = "//"  # the rule that skips what has no path: an empty name, "." or ".." in its key
_LISTED_AT_ONCE = 16  # folders of a store

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
# Folders that FaceOps wrote, whose crops and drawings are no photos, with what they hold together:
# one name could be another program's.
_OWN = (
    (GALLERY, {"gallery.json", "crops"}),
    (GALLERY, {"faces.copy.parquet", "crops"}),
    (RESULTS, {"state.sqlite", "runs"}),
    (RESULTS, {"faces.jsonl", "summary.json"}),
)


class _Pattern(NamedTuple):
    source: str  # what its rule is shown with: its file, or "" for an option
    start: int  # length of the path of the folder that it is for
    gitignore: "GitIgnoreSpecPattern"

    def matches(self, path: str) -> bool:
        """Return whether it matches `path` itself; a walk has matched the folders above.

        pathspec's own matching takes "!/folder" for all files in it, and "folder/**" for the
        folder.
        """
        path = path[self.start :]
        if str(self.gitignore.pattern).endswith("/**"):
            path = path.rstrip("/")
        found = self.gitignore.regex.match(path) if self.gitignore.regex else None
        above = found and found.groupdict().get("ps_d") and found.end("ps_d") < len(path)
        return found is not None and not above


@dataclass(frozen=True)
class ExcludeRules:
    """The rules for the entries of one folder; `reads_files`: those of .faceopsignore files too.

    The first pattern that matches decides, also that an entry is not skipped (`!pattern`).
    """

    patterns: tuple[_Pattern, ...] = ()
    reads_files: bool = True

    @classmethod
    def of_options(cls, root: Path, exclude: Sequence[str]) -> "ExcludeRules":
        """Return the rules of the option --exclude. Raises UsageError: a pattern is wrong."""
        return cls(_parse(exclude, root, "", "--exclude"))

    def own_folder(self, folder: Path, root: Path, names: set[str]) -> str | None:
        """Return the rule that skips a folder which FaceOps wrote, by the names in it, if any."""
        if folder == root or not self.reads_files:
            return None
        return next((kind.name for kind, held in _OWN if held <= names), None)

    def within(self, folder: Path, root: Path, names: Iterable[str]) -> "ExcludeRules":
        """Return the rules for `folder`, which has entries of these `names`.

        Raises UsageError: a pattern is wrong, or the file .faceopsignore is not UTF-8 text;
        FaceOpsError: that cannot be read.
        """
        if not self.reads_files or IGNORE_FILE not in names:
            return self
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
        own = _parse(lines, folder, f"{printable(file.relative_to(root))}: ", printable(file))
        # Patterns of options come first, then those of the nearest file.
        options = sum(not pattern.source for pattern in self.patterns)
        return ExcludeRules((*self.patterns[:options], *own, *self.patterns[options:]))

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
            path = prefix + name + "/" * is_folder
            for pattern in self.patterns:
                if pattern.matches(path):
                    rule = f"{pattern.source}{pattern.gitignore.pattern!s}"
                    return rule if pattern.gitignore.include else hidden
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


def _parse(lines: Sequence[str], folder: Path, source: str, file: str) -> tuple[_Pattern, ...]:
    """Return the patterns for `folder`, the last one first, as it decides."""
    if not lines:
        return ()
    # Only walks with patterns load it: 0.1 s.
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        patterns = [GitIgnoreSpecPattern(line) for line in reversed(lines)]
    except ValueError as error:
        raise UsageError(f"{file}: {error}; write patterns as in a .gitignore file.") from None
    start = len(_prefix(folder))
    return tuple(_Pattern(source, start, one) for one in patterns if one.include is not None)


def walk_photos(
    root: Path, exclude: Sequence[str] = (), skipped: dict[Path, str] | None = None
) -> list[Path]:
    """Return `photo_paths` as paths."""
    return list(map(Path, photo_paths(root, exclude, {} if skipped is None else skipped)))


def photo_paths(root: Path, exclude: Sequence[str], skipped: dict[Path, str]) -> list[str]:
    """Return every file under `root`, sorted by its relative path.

    As text: a `Path` takes four times the memory, and most of the time of a walk.

    Files that are not images are listed too, so that they get a row with a reason; so are broken
    links and folders that may not be listed. Left out: hidden names (a leading dot), metadata
    beside photos (.xmp) and copies of it, galleries and results of identify, pipes, sockets and
    devices, and what the gitignore patterns `exclude`, relative to `root`, and those of
    .faceopsignore files skip: `skipped` gets the rule by path. Links to folders are followed, and
    each real folder is entered once, by its own name before any link to it: loops end.

    Raises UsageError: `root` is not a folder, or may not be listed; a pattern is wrong;
    FaceOpsError: a .faceopsignore file cannot be read.
    """
    return _walk(root, is_photo, ExcludeRules.of_options(root, exclude), skipped)


def walk_files(root: Path, is_wanted: Callable[[str], bool]) -> list[Path]:
    """Return the files under `root` whose name is wanted, and folders that may not be listed.

    Order, folders and errors as of `photo_paths`, of a store `walk_objects`, but patterns of the
    user exclude nothing.
    """
    rules = ExcludeRules(reads_files=False)
    if is_url(root):
        walk = walk_objects(root, rules, {})
        return [f / entry.name for f, found in walk for entry in found if is_wanted(entry.name)]
    return list(map(Path, _walk(root, is_wanted, rules, {})))


def is_photo(name: str) -> bool:
    """Return whether `photo_paths` lists a file of that name, if no rule skips it."""
    return not (name.startswith(".") or name.lower().endswith(_METADATA))


def is_sidecar(name: str) -> bool:
    """Return whether a file of that name is metadata beside a photo."""
    return name.lower().endswith(SIDECAR)


def _walk(
    root: Path, is_wanted: Callable[[str], bool], rules: ExcludeRules, skipped: dict[Path, str]
) -> list[str]:
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise UsageError(f"{printable(root)} {what}; name a folder of photos.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise UsageError(f"{printable(root)} may not be listed; give this user permission.")
    found: list[str] = []
    entered: set[tuple[int, int]] = set()

    def entries_of(folder: Path) -> list["os.DirEntry[str]"]:
        """Return the entries of a folder, none of one that was entered before."""
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in entered:
                return []
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                return sorted(entries, key=attrgetter("name"))
        except OSError:
            found.append(os.fspath(folder))  # gets its row when it is opened
            return []

    def walk_links(
        links: Sequence[tuple[Path, ExcludeRules]],
    ) -> Iterator[tuple[Path, ExcludeRules]]:
        """Walk folders, with the rules for them; yield the links to folders in them."""
        pending = list(links[::-1])
        while pending:
            folder, rules = pending.pop()
            entries = entries_of(folder)
            names = {entry.name for entry in entries}
            if own := rules.own_folder(folder, root, names):
                skipped[folder] = own
                continue
            rules = rules.within(folder, root, names)
            rule_for = rules.for_entries(folder)
            for entry in entries:
                name = entry.name
                is_real = entry.is_dir(follow_symlinks=False)
                is_folder = is_real or (entry.is_symlink() and (folder / name).is_dir())
                if not is_folder and not is_wanted(name):
                    continue
                if rule := rule_for(name, is_folder):
                    skipped[folder / name] = rule
                elif is_real:
                    pending.append((folder / name, rules))
                elif is_folder:
                    yield folder / name, rules
                elif _is_file_or_broken(entry):
                    found.append(entry.path)

    links = [(root, rules)]
    while links:
        links = sorted(walk_links(links), key=lambda link: link[0].as_posix())
    return sorted(found)  # all begin with the root


def _is_file_or_broken(entry: "os.DirEntry[str]") -> bool:
    """Return whether it is a file, or a link that leads nowhere: to nothing, or to itself."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True  # gets its row when it is opened


def walk_objects(
    root: Path, rules: ExcludeRules, skipped: dict[Path, str]
) -> Iterator[tuple[Path, list[Entry]]]:
    """Yield each folder of a store below `root` with the objects in it, see `photo_paths`.

    Sidecars and copies of them are listed too. Folders are listed page by page, several at a time,
    and no object is asked for by itself.

    Raises as `photo_paths`, and ObjectStoreError: a folder cannot be listed: what was yielded is
    not all.
    """
    store, top = split(root)

    def listed(one: tuple[Path, ExcludeRules]) -> list[Entry]:
        name = one[0].as_posix()[len(root.as_posix()) :]
        return sorted(store.folder(f"{top}{name}".strip("/")))

    level = [(root, rules)]
    while level:
        below: list[tuple[Path, ExcludeRules]] = []
        found = ordered_map(listed, level, min(len(level), _LISTED_AT_ONCE))
        for (folder, rules), entries in zip(level, found, strict=True):
            if own := rules.own_folder(folder, root, {entry.name for entry in entries}):
                skipped[folder] = own
                continue
            rules = rules.within(folder, root, (e.name for e in entries if not e.is_folder))
            rule_for, objects = rules.for_entries(folder), list[Entry]()
            for entry in entries:
                path = folder / entry.name
                if entry.name in ("", ".", ".."):
                    skipped[folder / ".."] = _NO_PATH
                elif rule := rule_for(entry.name, entry.is_folder):
                    skipped[path] = rule
                elif entry.is_folder:
                    below.append((path, rules))
                elif not entry.name.startswith("."):
                    objects.append(entry)
            yield folder, objects
        level = below
