"""What lies in folders of photos: the photos, and their XMP sidecars.

This module imports no NumPy, so that unchanged runs start fast.
"""

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from faceops.base.errors import FaceOpsError, UsageError, printable
from faceops.base.stores import Entry, is_url, split
from faceops.base.work import ordered_map
from faceops.photos.folders import IGNORE_FILE, ExcludeRules

SIDECAR = ".xmp"
BACKUPS = ("~", "_original", ".bak")  # what editors and exiftool add to the name of a copy
_METADATA = tuple(f"{SIDECAR}{copy}" for copy in ("", *BACKUPS))
_NO_PATH = "//"  # the rule that skips what has no path: an empty name, "." or ".." in its key
_LISTED_AT_ONCE = 16  # folders of a store
_CACHED_FOLDERS = 16


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
    walk = _Walk(root, is_photo, {} if skipped is None else skipped)
    return walk.files(ExcludeRules.of_options(root, exclude))


def walk_files(root: Path, is_wanted: Callable[[str], bool]) -> list[Path]:
    """Return the files under `root` whose name is wanted, and folders that may not be listed.

    Order, folders and errors as of `photo_paths`, of a store `walk_objects`, but patterns of the
    user exclude nothing.
    """
    if is_url(root):
        walk = walk_objects(root, with_patterns=False)
        return [f / entry.name for f, found in walk for entry in found if is_wanted(entry.name)]
    return list(map(Path, _Walk(root, is_wanted, {}, with_patterns=False).files(ExcludeRules())))


def is_photo(name: str) -> bool:
    """Return whether `photo_paths` lists a file of that name, if no rule skips it."""
    return not (name.startswith(".") or name.lower().endswith(_METADATA))


def is_sidecar(name: str) -> bool:
    """Return whether a file of that name is metadata beside a photo."""
    return name.lower().endswith(SIDECAR)


class _Walk:
    """One walk; `skipped` gets what rules skip, `with_patterns` also those of .faceopsignore."""

    def __init__(
        self,
        root: Path,
        is_wanted: Callable[[str], bool],
        skipped: dict[Path, str],
        with_patterns: bool = True,
    ) -> None:
        self._root, self._is_wanted, self._skipped = root, is_wanted, skipped
        self._with_patterns = with_patterns
        self._found: list[str] = []
        self._entered: set[tuple[int, int]] = set()

    def files(self, rules: ExcludeRules) -> list[str]:
        if not self._root.is_dir():
            what = "is not a folder" if self._root.exists() else "does not exist"
            raise UsageError(f"{printable(self._root)} {what}; name a folder of photos.")
        if not os.access(self._root, os.R_OK | os.X_OK):
            raise UsageError(
                f"{printable(self._root)} may not be listed; give this user permission."
            )
        links = [(self._root, rules)]
        while links:
            links = sorted(self._walk_links(links), key=lambda link: link[0].as_posix())
        return sorted(self._found)  # all begin with the root

    def _walk_links(
        self, folders: Sequence[tuple[Path, ExcludeRules]]
    ) -> Iterator[tuple[Path, ExcludeRules]]:
        """Walk folders, with the rules for their entries; yield the links to folders in them."""
        pending = list(folders[::-1])
        while pending:
            folder, rules = pending.pop()
            try:
                status = folder.stat()
                if (status.st_dev, status.st_ino) in self._entered:
                    continue
                self._entered.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                self._found.append(os.fspath(folder))  # gets its row when it is opened
                continue
            if self._with_patterns and any(entry.name == IGNORE_FILE for entry in listed):
                rules = rules.below(folder, self._root)
            rule_for = rules.for_entries(folder)
            for entry in listed:
                name = entry.name
                is_folder = is_real = entry.is_dir(follow_symlinks=False)
                if not is_folder:
                    is_folder = entry.is_symlink() and (folder / name).is_dir()
                    if not is_folder and not self._is_wanted(name):
                        continue
                if rule := rule_for(name, is_folder):
                    self._skipped[folder / name] = rule
                elif is_real:
                    pending.append((folder / name, rules))
                elif is_folder:
                    yield folder / name, rules
                elif _is_file_or_broken(entry):
                    self._found.append(entry.path)


def _is_file_or_broken(entry: "os.DirEntry[str]") -> bool:
    """Return whether it is a file, or a link that leads nowhere: to nothing, or to itself."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True  # gets its row when it is opened


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

    def listed(one: tuple[Path, ExcludeRules]) -> list[Entry]:
        name = one[0].as_posix()[len(root.as_posix()) :]
        return sorted(store.folder(f"{top}{name}".strip("/")))

    level = [(root, ExcludeRules.of_options(root, exclude))]
    while level:
        below: list[tuple[Path, ExcludeRules]] = []
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
                elif entry.is_folder:
                    below.append((path, rules))
                elif not entry.name.startswith("."):
                    objects.append(entry)
            yield folder, objects
        level = below


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
