"""Take a person out of the XMP sidecars below the photos' folders, and look whether they are."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track
from faceops.gallery.outputs import is_there
from faceops.gallery.person_name import valid_unicode
from faceops.identification.xmp_document import (
    MWG,
    OURS,
    XmpDocument,
    is_ours,
    text_field,
    text_of,
)
from faceops.identification.xmp_sidecar import MAX_BYTES, TEMPORARY, forget_person
from faceops.photos.walk import SIDECAR

IsPerson = Callable[[str], bool]


@dataclass
class ForgottenSidecars:
    """How many sidecars were looked into, and how many entries went.

    `found` are places where the person still is, or that could not be read to the end,
    `unreachable` folders that are not there or may not be listed.
    """

    files: int = 0
    entries: int = 0
    found: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)


def forget_sidecars(folders: Iterable[Path], is_person: IsPerson) -> ForgottenSidecars:
    """Remove what we wrote of the person from every sidecar below `folders`, then read them again.

    By content, not by the photos' names: a sidecar that was moved with its photo is cleaned too.
    Names that others wrote stay. Half-written sidecars of killed runs are removed.
    """
    done = ForgottenSidecars()
    for path in track(_sidecars_below(folders, done.unreachable), "search sidecars"):
        shown = valid_unicode(str(path))
        try:
            if path.name.endswith(TEMPORARY):
                path.unlink()
                continue
            done.files += 1
            if not _is_marked(path):
                continue
            done.entries += forget_person(path, is_person)
            if path.exists() and any(map(is_person, _our_names(path))):
                done.found.append(f"{shown}: the name, in a sidecar")
        except FaceOpsError as error:
            done.found.append(str(error))
        except (OSError, ValueError) as error:
            done.found.append(f"{shown}: cannot be read ({error}); look into it, or remove it")
    return done


def _is_marked(path: Path) -> bool:
    if path.stat().st_size > MAX_BYTES:
        return False  # we neither read nor write such a one
    return OURS.encode() in path.read_bytes()


def _our_names(path: Path) -> list[str]:
    document = XmpDocument(path.read_bytes())
    regions = [text_field(region, MWG, "Name") for region in document.regions() if is_ours(region)]
    return [*regions, *(text_of(item) for item in document.people(OURS))]


def _sidecars_below(folders: Iterable[Path], unreachable: list[str]) -> Iterator[Path]:
    """Yield the sidecars below `folders`, each once; links to folders are followed once too."""
    entered: set[tuple[int, int]] = set()

    def not_listed(error: OSError) -> None:
        unreachable.append(f"{valid_unicode(str(error.filename))} ({error.strerror})")

    for folder in folders:
        if not is_there(folder):
            unreachable.append(valid_unicode(str(folder)))
            continue
        for place, below, names in os.walk(folder, onerror=not_listed, followlinks=True):
            try:
                status = Path(place).stat()
            except OSError as error:
                not_listed(error)
                continue
            if (status.st_dev, status.st_ino) in entered:
                below.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            below.sort()
            for name in sorted(names):
                if name.lower().endswith((SIDECAR, TEMPORARY)):
                    path = Path(place, name)
                    if path.is_file():
                        yield path
