"""List the photos under a folder."""

import os
from collections.abc import Callable
from pathlib import Path

from faceops.base.errors import UsageError, printable

SIDECAR = ".xmp"


def walk_photos(root: Path) -> list[Path]:
    """Return every file under `root`, sorted by its relative POSIX path.

    Files that are not images are listed too, so that they get a row with a reason; so are broken
    links and folders that may not be listed. Left out: hidden names (a leading dot), metadata
    beside photos (.xmp), pipes, sockets and devices. Links to folders are followed, and each real
    folder is entered once, by its own name before any link to it: loops end.

    Raises:
        UsageError: `root` is not a folder, or may not be listed.
    """
    return walk_files(root, lambda name: not (name.startswith(".") or is_sidecar(name)))


def is_sidecar(name: str) -> bool:
    """Return whether a file of that name is metadata beside a photo."""
    return name.lower().endswith(SIDECAR)


def walk_files(root: Path, is_wanted: Callable[[str], bool]) -> list[Path]:
    """Return the files under `root` whose name is wanted, and folders that may not be listed.

    Order, folders and errors as of `walk_photos`.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise UsageError(f"{printable(root)} {what}; name a folder of photos.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise UsageError(f"{printable(root)} may not be listed; give this user permission.")
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    links = [root]
    while links:
        links = sorted(_walk_links(links, found, entered, is_wanted), key=Path.as_posix)
    return sorted(found, key=Path.as_posix)  # all begin with the root


def _walk_links(
    folders: list[Path],
    found: list[Path],
    entered: set[tuple[int, int]],
    is_wanted: Callable[[str], bool],
) -> list[Path]:
    """Walk `folders` without following links; return the links to folders found there."""
    links: list[Path] = []
    pending = folders[::-1]
    while pending:
        folder = pending.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            found.append(folder)  # gets its row when it is opened
            continue
        for entry in listed:
            path = folder / entry.name
            hidden = entry.name.startswith(".")
            if entry.is_dir(follow_symlinks=False):
                pending += [] if hidden else [path]
            elif entry.is_symlink() and path.is_dir():
                links += [] if hidden else [path]
            elif is_wanted(entry.name) and _is_file_or_broken(entry):
                found.append(path)
    return links


def _is_file_or_broken(entry: "os.DirEntry[str]") -> bool:
    """Return whether it is a file, or a link that leads nowhere: to nothing, or to itself."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True  # gets its row when it is opened
