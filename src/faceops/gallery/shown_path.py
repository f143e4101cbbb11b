"""From a path as it is stored and shown back to the files that it means.

`valid_unicode` writes a byte that is not UTF-8 as a backslash code, and a name may hold a backslash
of its own: only the disk can tell which is meant, and it may hold both.
"""

from pathlib import Path

from faceops.gallery.person_name import valid_unicode


def paths_shown_as(folder: Path, shown: str) -> list[Path]:
    """Return what exists below `folder` under a path that is shown as `shown` (with /).

    Folders are listed only for parts with a backslash. What may not be listed counts as absent.
    """
    found = [folder]
    for part in Path(shown).parts:
        if "\\" in part:
            found = [path for parent in found for path in _entries(parent, part)]
        else:
            found = [parent / part for parent in found]
    return [path for path in found if path.exists()]


def _entries(folder: Path, shown: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if valid_unicode(path.name) == shown)
    except OSError:
        return []
