"""Open every labelled photo once and make the rows of the manifest, without duplicates.

Duplicates have equal bytes, or are of two people with nearly equal perceptual hashes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from faceops.base.errors import FaceOpsError, ShortageError, UsageError, printable
from faceops.base.files import sha256_file
from faceops.base.nearest import near_codes
from faceops.base.reasons import Reason
from faceops.base.work import track
from faceops.dataset import data_folder
from faceops.dataset.names import is_well_formed, name_key
from faceops.photos.formats import FORMATS, PhotoLimits
from faceops.photos.open_photo import PhotoError, PhotoShortageError, open_photo
from faceops.photos.walk import walk_photos

_CHUNK = 32
_MIN_PHOTOS_FOR_PROCESSES = 64  # starting processes costs more than they save below this


@dataclass(frozen=True)
class HashedPhoto:
    path: str  # POSIX, relative to the data folder
    person: str  # the name of its folder below photos/
    photo_id: str  # sha256 of the bytes; "" if they could not be read
    phash: str = ""  # 64-bit perceptual hash, hexadecimal; "" if it is not known


def find_duplicates(photos: Iterable[HashedPhoto], max_bits: int = -1) -> dict[str, Reason]:
    """Return path -> reason for the photos to reject.

    Of the same bytes under one person, the first path is kept. The same bytes under two people are
    all rejected, because one of the labels is wrong; so are photos of two people whose perceptual
    hashes differ in at most `max_bits` bits (-1 disables the comparison). All have a photo_id.
    """
    photos = sorted(photos, key=lambda photo: photo.path)
    reasons: dict[str, Reason] = {}
    same_bytes: dict[str, list[HashedPhoto]] = defaultdict(list)
    for photo in photos:
        same_bytes[photo.photo_id].append(photo)
    for group in same_bytes.values():
        if len({name_key(photo.person) for photo in group}) > 1:
            reasons |= {photo.path: Reason.DUPLICATE_OTHER_PERSON for photo in group}
        else:
            reasons |= {photo.path: Reason.DUPLICATE for photo in group[1:]}
    if max_bits >= 0:
        rest = [photo for photo in photos if photo.path not in reasons]
        for path in near_duplicates(rest, max_bits):
            reasons[path] = Reason.NEAR_DUPLICATE_OTHER_PERSON
    return reasons


def near_duplicates(photos: list[HashedPhoto], max_bits: int) -> set[str]:
    """Return the paths of photos that have a near duplicate under another person."""
    codes = np.frombuffer(bytes.fromhex("".join(p.phash for p in photos)), np.uint8).reshape(-1, 8)
    people = np.unique([name_key(photo.person) for photo in photos], return_inverse=True)[1]
    near = np.zeros(len(photos), dtype=bool)
    for rows, found in near_codes(codes, max_bits, "near duplicates"):
        near[rows[people[rows] != people[found]]] = True
    return {photos[row].path for row in np.flatnonzero(near)}


@dataclass(frozen=True)
class InspectedPhoto(HashedPhoto):
    width: int = 0  # of the upright photo in pixels; 0 if it could not be decoded
    height: int = 0
    format: str = ""  # a name of `photos.formats`; "" if it could not be decoded
    reason: str = ""  # why it cannot be used; "" if it can


def validate_photos(
    data: Path, limits: PhotoLimits, formats: list[str], near_bits: int, processes: int
) -> list[dict[str, Any]]:
    """Open every photo below `data`/photos once; accept it, or reject it with a reason.

    Returns the rows of the manifest, sorted by path, with the `format` of each photo besides.
    `formats` of `photos.formats` are accepted; `near_bits` is the largest Hamming distance of
    perceptual hashes of near duplicates, -1 disables.

    Raises UsageError: there is no such format; FaceOpsError: there are no photos, quarantine.csv is
    wrong, a process was killed, or memory or the like is short.
    """
    known = [each.name for each in FORMATS]
    if unknown := sorted(set(formats) - set(known)):
        raise UsageError(
            f"validate.formats lists {unknown[0]!r}, which is unknown; choose from "
            f"{', '.join(known)}."
        )
    folder = data / "photos"
    if not (paths := walk_photos(folder) if folder.is_dir() else []):
        raise FaceOpsError(
            f"{folder} holds no photos; run `faceops data synthetic` or `faceops data import`."
        )
    quarantined = data_folder.read_quarantine(data / data_folder.QUARANTINE_FILE)
    work = partial(_inspect, data, limits, frozenset(formats))
    few = processes == 1 or len(paths) < _MIN_PHOTOS_FOR_PROCESSES
    done = map(work, paths) if few else _in_processes(work, paths, processes)
    inspected = list(track(done, "validate photos", len(paths)))
    usable = [p for p in inspected if not p.reason and p.photo_id not in quarantined]
    duplicates = find_duplicates(usable, near_bits)
    sources = data_folder.read_imported(data)
    is_synthetic = data_folder.SYNTHETIC in data_folder.read_sources(data)
    other_source = data_folder.SYNTHETIC if is_synthetic else ""

    spellings: dict[str, str] = {}  # one person has one spelling in the manifest
    for photo in inspected:
        key = name_key(photo.person)
        spellings[key] = min(spellings.get(key, photo.person), photo.person)

    def row(photo: InspectedPhoto) -> dict[str, Any]:
        set_aside = Reason.QUARANTINED if photo.photo_id in quarantined else ""
        reason = photo.reason or set_aside or duplicates.get(photo.path, "")
        return {
            "photo_id": photo.photo_id,
            "path": photo.path,
            "person": spellings[name_key(photo.person)],
            "width": photo.width,
            "height": photo.height,
            "source": sources.get(photo.path, other_source),
            "split": "",
            "status": data_folder.REJECTED if reason else data_folder.ACCEPTED,
            "reason": str(reason),
            "format": photo.format,
        }

    return [row(photo) for photo in sorted(inspected, key=lambda photo: photo.path)]


def _in_processes(work: partial, paths: list[Path], processes: int) -> Iterator[InspectedPhoto]:
    # Not fork: it would copy a process in which libraries run threads.
    with ProcessPoolExecutor(processes, mp_context=get_context("forkserver")) as pool:
        try:
            yield from pool.map(work, paths, chunksize=_CHUNK)
        except BrokenProcessPool:
            raise FaceOpsError(
                "a process that opens photos was killed, perhaps because memory ran out; lower "
                "validate.max_megapixels or free some memory."
            ) from None


def _inspect(
    data: Path, limits: PhotoLimits, formats: frozenset[str], path: Path
) -> InspectedPhoto:
    import imagehash

    relative = printable(Path(path.relative_to(data).as_posix()))
    parts = relative.split("/")  # photos/<Person>/...
    person = parts[1] if len(parts) > 2 else ""
    try:
        photo = open_photo(path, limits)
    except PhotoShortageError as error:
        raise ShortageError(str(error)) from None  # not the photo's fault; it can be pickled
    except PhotoError as error:
        photo_id = ""
        with suppress(OSError):
            photo_id = sha256_file(path) if path.is_file() else ""
        return InspectedPhoto(relative, person, photo_id, reason=error.reason.value)
    width, height = photo.size
    reason = ""
    if photo.format not in formats:
        reason = Reason.FORMAT_NOT_ALLOWED.value
    elif not is_well_formed(person):
        reason = Reason.BAD_NAME.value
    phash = str(imagehash.phash(Image.fromarray(photo.pixels)))
    return InspectedPhoto(
        relative, person, photo.photo_id, phash, width, height, photo.format, reason
    )
