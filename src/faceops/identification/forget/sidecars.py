"""Remove a person from the sidecars that FaceOps wrote beside photos."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track
from faceops.gallery.folder import has_content
from faceops.gallery.names import valid_unicode
from faceops.identification.forget.output_folder import IsPerson
from faceops.identification.sidecars.sidecars import (
    MAX_BYTES,
    TEMPORARY,
    names_of_ours,
    remove_person,
)
from faceops.identification.sidecars.xmp import OURS
from faceops.photos.walk import SIDECAR

_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")  # those of XMP
_MARKS = [OURS.encode(encoding) for encoding in _ENCODINGS]


@dataclass
class ForgottenSidecars:
    """How many sidecars were searched, and how many entries were removed.

    Attributes:
        found: sidecars that still name the person, or that could not be read.
        unreachable: folders that do not exist, are empty or may not be listed.
    """

    files: int = 0
    entries: int = 0
    found: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)


def forget_in_sidecars(folders: Iterable[Path], is_person: IsPerson) -> ForgottenSidecars:
    """Remove what FaceOps wrote of the person from every sidecar below `folders`.

    Every sidecar is parsed, in whatever encoding, and read again after it was changed; so sidecars
    that were moved with their photos are cleaned too. Names that others wrote stay. Half-written
    sidecars of killed runs are deleted.
    """
    done = ForgottenSidecars()
    for path in track(_sidecars_below(folders, done.unreachable), "search sidecars"):
        shown = valid_unicode(str(path))
        try:
            if path.name.endswith(TEMPORARY):
                path.unlink()
                continue
            done.files += 1
            if _names_person(path, is_person):
                done.entries += remove_person(path, is_person)
                if path.exists() and _names_person(path, is_person):
                    done.found.append(f"{shown}: the name, in a sidecar")
        except FaceOpsError as error:
            done.found.append(str(error))
        except (OSError, ValueError) as error:
            done.found.append(f"{shown}: cannot be read ({error}); inspect it, or remove it")
    return done


def _names_person(path: Path, is_person: IsPerson) -> bool:
    if path.stat().st_size > MAX_BYTES:
        return False
    content = path.read_bytes()
    try:
        return any(map(is_person, names_of_ours(content)))
    except ValueError:
        if any(mark in content for mark in _MARKS):
            raise
        return False  # a damaged file that FaceOps never wrote into


def _sidecars_below(folders: Iterable[Path], unreachable: list[str]) -> Iterator[Path]:
    """Yield the sidecars below `folders`, each once; links to folders are followed once too."""
    entered: set[tuple[int, int]] = set()

    def not_listed(error: OSError) -> None:
        unreachable.append(f"{valid_unicode(str(error.filename))} ({error.strerror})")

    for folder in folders:
        if not has_content(folder):
            unreachable.append(valid_unicode(str(folder)))
            continue
        for parent, below, names in os.walk(folder, onerror=not_listed, followlinks=True):
            try:
                status = Path(parent).stat()
            except OSError as error:
                not_listed(error)
                continue
            if (status.st_dev, status.st_ino) in entered:
                below.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            below.sort()
            for name in sorted(names):
                path = Path(parent, name)
                if name.lower().endswith((SIDECAR, TEMPORARY)) and path.is_file():
                    yield path
