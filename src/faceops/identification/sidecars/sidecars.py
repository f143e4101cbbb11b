"""XMP sidecars: face regions and names beside a photo, as digiKam and Lightroom read them.

Regions follow the Metadata Working Group (see `xmp_regions`), names are also in IPTC's
PersonInImage. What others wrote into a sidecar stays; what we wrote is marked, so that a later run
brings it up to date.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path
from faceops.identification.sidecars.xmp import (
    IPTC,
    MWG,
    OURS,
    Area,
    XmpDocument,
    area_of,
    is_ours,
    overlap,
    stored_area,
    text_field,
    text_of,
)
from faceops.identification.summary import Summary
from faceops.photos.open_photo import printable
from faceops.photos.pixels import SIDEWAYS

if TYPE_CHECKING:  # loads ONNX Runtime, which an unchanged run does without
    from faceops.identification.engine.decide import NamedPhoto

SAME_FACE = 0.5  # overlap from which somebody's region is of our face
MAX_BYTES = 10_000_000
TEMPORARY = ".faceops-tmp"  # ends the name of a sidecar that is being written


@dataclass(frozen=True)
class NamedRegion:
    """A face with a name; `box` is x, y, width, height in pixels of the upright photo."""

    box: tuple[float, float, float, float]
    person: str


def write_sidecar(
    path: Path, regions: Sequence[NamedRegion], size: tuple[int, int], orientation: int
) -> bool:
    """Bring the sidecar at `path` up to date with `regions`; return whether it changed.

    A face that somebody else has drawn a region around keeps that one alone. Without regions no
    sidecar is made, and one that then says nothing is removed.

    Args:
        path: see `sidecar_place`.
        size: width and height of the upright photo in pixels.
        orientation: EXIF's, 1 to 8.

    Raises:
        FaceOpsError: the sidecar is broken, or cannot be read or written; it stays as it was.
    """
    document = _read(path)
    if document is None:
        if not regions:
            return False
        document = XmpDocument()
    others = [area for r in document.regions() if not is_ours(r) if (area := area_of(r))]
    wanted = [
        (_xml_text(region.person), area)
        for region in regions
        if (area := stored_area(region.box, size, orientation)) is not None
        and not any(overlap(area, other) >= SAME_FACE for other in others)
    ]
    before = [(text_field(r, MWG, "Name"), area_of(r)) for r in document.regions() if is_ours(r)]
    if before == [(name, _rounded(area)) for name, area in wanted]:
        return False
    _remove_ours(document, lambda _: True)
    stored_size = size[::-1] if orientation in SIDEWAYS else size
    for name, area in wanted:
        document.add_region(name, area, stored_size)
    theirs = {text_of(item) for item in document.people(IPTC)}
    for name in dict.fromkeys(name for name, _ in wanted):
        if name not in theirs:
            document.add_person(name)
    _write(path, document)
    return True


def forget_person(sidecar: Path, is_person: Callable[[str], bool]) -> int:
    """Remove what we wrote of a person into `sidecar`; return how many entries went.

    Raises:
        FaceOpsError: as `write_sidecar`.
    """
    document = _read(sidecar)
    removed = _remove_ours(document, is_person) if document else 0
    if document and removed:
        _write(sidecar, document)
    return removed


def _remove_ours(document: XmpDocument, is_meant: Callable[[str], bool]) -> int:
    regions = [
        region
        for region in document.regions()
        if is_ours(region) and is_meant(text_field(region, MWG, "Name"))
    ]
    added = [item for item in document.people(OURS) if is_meant(text_of(item))]
    names = [text_of(item) for item in added]
    listed = []
    for item in document.people(IPTC):
        if text_of(item) in names:
            names.remove(text_of(item))  # one of ours each: a second one is somebody else's
            listed.append(item)
    for item in (*regions, *added, *listed):
        document.remove(item)
    document.drop_empty_regions()
    return len(regions) + len(listed)


def _rounded(area: Area) -> Area:
    return Area(*(float(f"{value:.6f}") for value in area))


def _xml_text(name: str) -> str:
    """Return `name` on one line, without characters that XML 1.0 cannot hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def _read(path: Path) -> XmpDocument | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES / 1e6:g} megabytes")
        return XmpDocument(path.read_bytes())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return None
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    raise FaceOpsError(
        f"the sidecar {printable(path)} cannot be read ({reason}); mend or remove it, it is left "
        "as it is."
    )


def _write(path: Path, document: XmpDocument) -> None:
    # The photo's name may be as long as names can be: the temporary one is not made from it.
    temporary = path.with_name(f".{sha256(os.fsencode(path.name)).hexdigest()[:16]}{TEMPORARY}")
    try:
        if document.says_nothing():
            path.unlink(missing_ok=True)
            return
        with atomic_path(path, temporary=temporary, sync=True):
            temporary.write_bytes(document.as_bytes())
    except OSError as error:
        mend = "make its folder writable"
        if error.errno == errno.ENAMETOOLONG:
            mend = "give the photo a shorter name"
        elif error.errno == errno.ENOSPC:
            mend = "free some space"
        raise FaceOpsError(
            f"the sidecar {printable(path)} cannot be written ({error.strerror or error}); {mend}, "
            "or run without --xmp."
        ) from None


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


def with_sidecars(photos: Iterator["NamedPhoto"], summary: Summary) -> Iterator["NamedPhoto"]:
    """Write each photo's sidecar and pass the photo on; `summary` counts and keeps what failed."""
    sidecars = Sidecars()
    for named in photos:
        if named.photo.size != (0, 0):  # it could be opened
            regions = [
                NamedRegion(face.box, decision.person)
                for face, decision in zip(named.photo.faces, named.decisions, strict=True)
                if decision.person is not None
            ]
            try:
                summary.sidecars_written += write_sidecar(
                    sidecars.of(named.path), regions, named.photo.size, named.photo.orientation
                )
            except FaceOpsError as error:
                summary.sidecar_errors.append(str(error))
        yield named
