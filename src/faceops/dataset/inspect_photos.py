"""Open every photo once: what it is, and whether it can be used."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.dataset.names import is_well_formed
from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo, printable

_CHUNK = 32
_FEW = 64  # below this many photos, starting processes costs more than it saves


@dataclass(frozen=True)
class Inspected:
    """What one photo turned out to be.

    Attributes:
        path: POSIX, relative to the data folder.
        person: the folder below photos/ that it lies in; "" for a file in none.
        photo_id: sha256 of the bytes, "" if they could not be read.
        phash: 64-bit perceptual hash, hexadecimal; "" unless the photo could be decoded.
        width, height: pixels of the upright photo, 0 if it could not be decoded.
        format: as Pillow names it, "" if unknown.
        reason: why it cannot be used by itself; "" if it can.
    """

    path: str
    person: str
    photo_id: str
    phash: str
    width: int
    height: int
    format: str
    reason: str


def inspect_photos(
    data: Path, paths: list[Path], limits: PhotoLimits, formats: list[str], processes: int
) -> list[Inspected]:
    """Return what each of `paths` (files below `data`/photos) is, in their order.

    Args:
        limits: photos beyond them are rejected before they are decoded.
        formats: the formats to accept, as Pillow names them.
        processes: how many to use at most.

    Raises:
        FaceOpsError: a worker process was ended from outside.
    """
    work = partial(_inspect, data, limits, frozenset(formats))
    if processes == 1 or len(paths) < _FEW:
        return list(track(map(work, paths), "validate photos", len(paths)))
    return list(track(_in_processes(work, paths, processes), "validate photos", len(paths)))


def _in_processes(work: partial, paths: list[Path], processes: int) -> Iterator[Inspected]:
    # Not fork: the threads of libraries that the parent has imported do not survive one.
    with ProcessPoolExecutor(processes, mp_context=get_context("forkserver")) as pool:
        try:
            yield from pool.map(work, paths, chunksize=_CHUNK)
        except BrokenProcessPool:
            raise FaceOpsError(
                "a process that opens photos was ended, perhaps for want of memory; lower "
                "validate.max_megapixels or free some memory."
            ) from None


def person_of(path: str) -> str:
    """Return the person by a path relative to the data folder: photos/<Person>/..., else ""."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else ""


def _inspect(data: Path, limits: PhotoLimits, formats: frozenset[str], path: Path) -> Inspected:
    relative = printable(Path(path.relative_to(data).as_posix()))
    person = person_of(relative)
    try:
        photo = open_photo(path, limits)
    except PhotoError as error:
        return Inspected(relative, person, _hash_anyway(path), "", 0, 0, "", error.reason.value)
    height, width = photo.pixels.shape[:2]
    reason = ""
    if photo.format not in formats:
        reason = Reason.FORMAT_NOT_ALLOWED.value
    elif not is_well_formed(person):
        reason = Reason.BAD_NAME.value
    phash = _perceptual_hash(Image.fromarray(photo.pixels))
    return Inspected(relative, person, photo.photo_id, phash, width, height, photo.format, reason)


def _hash_anyway(path: Path) -> str:
    """Return the identity of a file that cannot be opened as a photo, "" if not even read."""
    try:
        return sha256_file(path) if path.is_file() else ""
    except OSError:
        return ""


def _perceptual_hash(image: Image.Image) -> str:
    import imagehash

    return str(imagehash.phash(image))
