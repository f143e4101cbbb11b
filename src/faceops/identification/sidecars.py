"""XMP sidecars: face regions and names beside a photo, as digiKam and Lightroom read them.

What other programs wrote into a sidecar stays. What FaceOps wrote is marked as its own, so that a
later run can update it and `forget` can remove it.
"""

import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.dom.minidom import Element

from faceops.base.errors import FaceOpsError, printable
from faceops.base.files import atomic_path
from faceops.base.stores import NoAnswerError, is_url, read_object
from faceops.base.work import Item, ordered_map, track
from faceops.dataset.names import person_key
from faceops.faces.detector import Box
from faceops.faces.regions import Region, embedded_regions, matches, regions_of_others, upright_box
from faceops.identification.summary import Summary, TaggedOtherwise
from faceops.photos import xmp
from faceops.photos.photo_header import WITHOUT_PACKETS, read_header
from faceops.photos.pixels import SIDEWAYS
from faceops.photos.sidecar_places import SidecarPlaces
from faceops.photos.walk import is_sidecar, walk_files
from faceops.photos.xmp import Area, XmpDocument, is_ours, text_of

if TYPE_CHECKING:
    from faceops.identification.engine.decide import NamedBlock

TEMPORARY = ".faceops-tmp"  # suffix of a sidecar that is being written
SIDECARS_AT_ONCE = 16  # sidecars in a store
_ABANDONED_S = 3600  # age of such a file from which no process is writing it
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")  # those of XMP
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKS = [xmp.OURS.encode(encoding) for encoding in _ENCODINGS]


@dataclass(frozen=True)
class NamedRegion:
    """A face with a name; `box` is x, y, width, height in pixels of the upright photo."""

    box: Box
    person: str


class _Done(NamedTuple):
    """What was done with a sidecar."""

    written: bool = False
    withdrawn: bool = False
    error: str = ""


def write_sidecars(named: "NamedBlock", places: SidecarPlaces, summary: Summary) -> None:
    """Write the sidecars of some photos.

    `summary` counts them, and gets their errors and the faces that others tagged otherwise.
    Sidecars that could not be written are reported and retried by the next run.

    Raises NoAnswerError: the store of the photos does not answer.
    """
    photos, names = named.photos, named.names()
    boxes = photos.faces["box"].tolist()
    otherwise = [list[tuple[str, str]]() for _ in photos.paths]

    def update(photo: int) -> _Done:
        path, faces = Path(photos.paths[photo]), photos.rows_of(photo)
        regions = [
            NamedRegion(tuple(box), name)
            for box, name in zip(boxes[faces], names[faces], strict=True)
            if name is not None
        ]
        width, height = photos.sizes[photo].tolist()
        if (width, height) != (0, 0):  # it could be opened
            changed = write_sidecar(
                places.of(path),
                regions,
                (width, height),
                int(photos.orientations[photo]),
                photo=path,
                otherwise=otherwise[photo],
                places=places,
            )
            return _Done(written=changed)
        if photos.file(photo) is not None:  # and later runs will not open it either
            return _Done(withdrawn=withdraw(places.of(path), places))
        return _Done()

    is_stored = len(photos) > 0 and is_url(photos.paths[0])
    done = _in_order(update, range(len(photos)), is_stored)
    for shown_path, one, others in zip(named.photo_paths, done, otherwise, strict=True):
        summary.sidecars_written += one.written
        summary.sidecars_withdrawn += one.withdrawn
        summary.sidecar_errors += [one.error] * bool(one.error)
        summary.tagged_otherwise += [TaggedOtherwise(shown_path, *two) for two in others]


def _in_order(
    work: Callable[[Item], _Done], items: Iterable[Item], is_stored: bool
) -> Iterable[_Done]:
    """Yield what was done with each item, in order, or its error.

    Raises NoAnswerError: the store does not answer.
    """

    def tried(item: Item) -> _Done:
        try:
            return work(item)
        except NoAnswerError:
            raise
        except FaceOpsError as error:
            return _Done(error=str(error))

    return ordered_map(tried, items, SIDECARS_AT_ONCE) if is_stored else map(tried, items)


def withdraw_unused(
    root: Path, photos: Iterable[Path], places: SidecarPlaces, summary: Summary
) -> None:
    """Remove what FaceOps wrote into sidecars below `root` that belong to none of `photos`.

    Their photo was deleted, moved, renamed or excluded, or has another sidecar now. `summary`
    counts them and their errors. It needs no state: a killed run is completed by the next one, and
    entries that another output folder's runs wrote are found too.

    `photos`: those of the run.

    Raises ObjectStoreError: the store cannot be listed, or does not answer.
    """
    known = set(photos)

    def check(path: Path) -> _Done:
        if path.name.endswith(TEMPORARY):
            with suppress(OSError):  # of a killed run, unless it is being written
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()
        elif is_sidecar(path.name) and not places.is_in_use(path, known):
            return _Done(withdrawn=withdraw(path, places))
        return _Done()

    paths = walk_files(root, lambda name: is_sidecar(name) or name.endswith(TEMPORARY))
    for one in _in_order(check, track(paths, "check sidecars"), is_url(root)):
        summary.sidecars_withdrawn += one.withdrawn
        summary.sidecar_errors += [one.error] * bool(one.error)


def write_sidecar(
    path: Path,
    regions: Sequence[NamedRegion],
    size: tuple[int, int],
    orientation: int,
    *,
    photo: Path | None = None,
    otherwise: list[tuple[str, str]] | None = None,
    places: SidecarPlaces | None = None,
) -> bool:
    """Bring the sidecar at `path` up to date with `regions`; return whether it changed.

    A face in a region of another program gets no second one. Without regions no sidecar is
    created, and one that has become empty is removed. As programs prefer the regions of a sidecar
    to those in the photo, these are copied into a sidecar without any, marked as copies; but not
    those of faces without a name. Copies are removed with the last region of FaceOps.

    Args:
        path: see `SidecarPlaces`.
        size: width and height of the upright photo in pixels.
        orientation: stated by the file, 1 to 8.
        photo: whose embedded regions count; None to ignore them.
        otherwise: gets the name in `regions` and the other program's, where they differ.
        places: for a sidecar in a store: who knows which version of it is replaced.

    Raises FaceOpsError: the sidecar is damaged, or cannot be read or written; it stays as it was.
    Or the photo cannot be read.
    """
    file = _SidecarFile(path, places)
    document = file.read()
    if document is None and not regions:
        return False
    document = document or XmpDocument()
    copied: list[Region] = []
    others = [r for r in regions_of_others([document], size, orientation) if r.is_face]
    if regions and not document.regions() and not document.microsoft_regions():
        if photo is not None and photo.suffix.lower() not in WITHOUT_PACKETS:
            copied = embedded_regions(read_header(photo))
        others = [one for one in copied if one.names_a_face]
    tagged = _faces_of_others(others, regions, size, orientation)
    for face, region in tagged.items():
        name = regions[face].person
        if region.names_a_face and person_key(region.name) != person_key(name):
            (otherwise if otherwise is not None else []).append((name, region.name))
    wanted = [
        (_xml_text(region.person), area)
        for face, region in enumerate(regions)
        if (area := xmp.stored_area(region.box, size, orientation)) is not None
        and face not in tagged
    ]
    before = [(_name(r), xmp.area_of(r)) for r in document.regions() if is_ours(r)]
    if before == [(name, Area(*(round(value, 6) for value in area))) for name, area in wanted]:
        return False
    _remove_ours(document, lambda _: True)
    stored_size = size[::-1] if orientation in SIDEWAYS else size
    for one in copied:
        if one.area is not None and (one.names_a_face or not one.is_face):
            name = _xml_text(one.name)
            source = _source_of_copy(name, one.area, one.kind)
            document.add_region(name, one.area, stored_size, one.kind, source)
    for name, area in wanted:
        document.add_region(name, area, stored_size)
    if not wanted:
        _remove_copies(document)
    theirs = {text_of(item) for item in document.people(xmp.IPTC)}
    for name in dict.fromkeys(name for name, _ in wanted):
        if name not in theirs:
            document.add_person(name)
    file.write(document)
    return True


def _faces_of_others(
    others: Sequence[Region],
    regions: Sequence[NamedRegion],
    size: tuple[int, int],
    orientation: int,
) -> dict[int, Region]:
    """Return which of `others` means which face, by its place in `regions`."""
    placed = [(one, one.area) for one in others if one.area is not None]
    boxes = [upright_box(area, size, orientation) for _, area in placed]
    given = matches(boxes, [region.box for region in regions])
    return {face: one for face, (one, _) in zip(given, placed, strict=True) if face is not None}


def _source_of_copy(name: str, area: Area, kind: str) -> str:
    """Return the mark of a copied region; it is another one's once that has changed it."""
    content = [name, kind, *(f"{value:.5f}" for value in area)]
    return f"{xmp.COPIED}{sha256(repr(content).encode()).hexdigest()[:16]}"


def _is_copy(region: Element) -> bool:
    area, kind = xmp.area_of(region), xmp.text_field(region, xmp.MWG, "Type")
    source = xmp.source_of(region)
    return area is not None and source == _source_of_copy(_name(region), area, kind)


def names_of_ours(document: XmpDocument) -> list[str]:
    """Return the names that FaceOps wrote into a sidecar, also copied ones."""
    regions = [_name(r) for r in document.regions() if is_ours(r) or _is_copy(r)]
    return [*regions, *(text_of(item) for item in document.people(xmp.OURS))]


def is_marked(path: Path) -> bool:
    """Return whether FaceOps wrote into the file at `path`, also if it cannot be parsed.

    A file that cannot be read counts as one, since nobody knows.
    """
    try:
        content = read_object(path, xmp.MAX_BYTES) if is_url(path) else path.read_bytes()
    except OSError:
        return True
    return any(mark in content for mark in _MARKS)


def withdraw(sidecar: Path, places: SidecarPlaces | None = None) -> bool:
    """Remove all that FaceOps wrote into a sidecar, if it exists; return whether it changed.

    Errors as `write_sidecar`, but none for a file that FaceOps did not write into.
    """
    with suppress(OSError):  # reported below
        if not _SidecarFile(sidecar, places).exists() or not is_marked(sidecar):
            return False
    return bool(remove_person(sidecar, lambda _: True, places))


def remove_person(
    sidecar: Path, is_person: Callable[[str], bool], places: SidecarPlaces | None = None
) -> int:
    """Remove what FaceOps wrote of a person; return the number of entries.

    Errors as `write_sidecar`.
    """
    file = _SidecarFile(sidecar, places)
    document = file.read()
    if document is None:
        return 0
    removed = _remove_ours(document, is_person) + _remove_copies(document, is_person)
    if removed:
        if not any(map(is_ours, document.regions())):
            _remove_copies(document)
        file.write(document)
    return removed


def _remove_ours(document: XmpDocument, is_removed: Callable[[str], bool]) -> int:
    regions = [r for r in document.regions() if is_ours(r) and is_removed(_name(r))]
    added = [item for item in document.people(xmp.OURS) if is_removed(text_of(item))]
    keys = [person_key(text_of(item)) for item in added]
    listed = []
    for item in document.people(xmp.IPTC):
        if (key := person_key(text_of(item))) in keys:
            keys.remove(key)  # one for each of ours: a second one is of others
            listed.append(item)
    for item in (*regions, *added, *listed):
        document.remove(item)
    document.remove_empty_regions()
    return len(regions) + len(listed)


def _remove_copies(
    document: XmpDocument, is_removed: Callable[[str], bool] = lambda _: True
) -> int:
    copies = [r for r in document.regions() if _is_copy(r) and is_removed(_name(r))]
    for item in copies:
        document.remove(item)
    document.remove_empty_regions()
    return len(copies)


def _name(region: Element) -> str:
    return xmp.text_field(region, xmp.MWG, "Name")


def _xml_text(name: str) -> str:
    """Return `name` on one line, with spaces for characters that XML 1.0 does not allow."""
    return " ".join(_NOT_XML.sub(" ", name).split())


class _SidecarFile:
    """A sidecar to be read and then written; in a store only if it has not changed meanwhile."""

    def __init__(self, path: Path, places: SidecarPlaces | None) -> None:
        self._path, self._is_stored, self._version = path, is_url(path), ""
        self._places = places or SidecarPlaces()

    def exists(self) -> bool:
        """Return whether there is a file; errors as of `Path.is_file`."""
        if not self._is_stored:
            return self._path.is_file()
        self._version = self._places.version(self._path)
        return bool(self._version)

    def read(self) -> XmpDocument | None:
        """Return the packet in it, None if there is none; errors as of `xmp.read_sidecar`."""
        return None if self._is_stored and not self.exists() else xmp.read_sidecar(self._path)

    def write(self, document: XmpDocument) -> None:
        """Replace what was read; with an empty `document` remove the file."""
        content = b"" if document.is_empty() else document.as_bytes()
        if self._is_stored:
            self._places.replace(self._path, content, self._version)
            return
        # The photo's name may be as long as names can be: the temporary one is not made from it.
        digest = sha256(os.fsencode(self._path.name)).hexdigest()[:16]
        temporary = self._path.with_name(f".{digest}{TEMPORARY}")
        try:
            if not content:
                self._path.unlink(missing_ok=True)
                return
            with atomic_path(self._path, temporary=temporary, sync=True):
                temporary.write_bytes(content)
        except OSError as error:
            what = {errno.ENAMETOOLONG: "give the photo a shorter name", errno.ENOSPC: "free space"}
            raise FaceOpsError(
                f"the sidecar {printable(self._path)} cannot be written "
                f"({error.strerror or error}); "
                f"{what.get(error.errno or 0, 'make its folder writable')}, or run without --xmp."
            ) from None
