"""From the data folder to manifest rows: every photo judged, none dropped.

What is expected of the photos and of the split, as Great Expectations' expectations.

Each has a name of `faceops.config.sections.Expectation`; a name may stand for several.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.dataset.importer import SYNTHETIC, read_imported, read_sources
from faceops.dataset.manifest import ACCEPTED, REJECTED
from faceops.dataset.names import is_well_formed, name_key
from faceops.dataset.quarantine import QUARANTINE_FILE, read_quarantine
from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo, printable
from faceops.photos.walk import walk_photos

if TYPE_CHECKING:
    import pandas as pd

    from faceops.dataset.expectations import Outcome


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


_BITS = 64
_BLOCK = 256  # rows compared at once: a block takes a few MB for each 1000 photos


def find_duplicates(photos: Iterable[Inspected], near_bits: int) -> dict[str, Reason]:
    """Return path -> reason for the photos that must be set aside.

    The same bytes under one person: all but the first path are duplicates. The same bytes under
    two people: nobody knows who it is, so all of them go. Perceptual hashes of two people's
    photos at most `near_bits` apart: all of them go too (-1: do not look).

    Args:
        photos: usable ones only.
    """
    photos = sorted(photos, key=lambda photo: photo.path)
    reasons: dict[str, Reason] = {}
    same_bytes: dict[str, list[Inspected]] = defaultdict(list)
    for photo in photos:
        same_bytes[photo.photo_id].append(photo)
    for group in same_bytes.values():
        if len({name_key(photo.person) for photo in group}) > 1:
            reasons |= {photo.path: Reason.DUPLICATE_OTHER_PERSON for photo in group}
        else:
            reasons |= {photo.path: Reason.DUPLICATE for photo in group[1:]}
    if near_bits >= 0:
        rest = [photo for photo in photos if photo.path not in reasons]
        for path in near_duplicates(rest, near_bits):
            reasons[path] = Reason.NEAR_DUPLICATE_OTHER_PERSON
    return reasons


def near_duplicates(photos: list[Inspected], bits: int) -> set[str]:
    """Return the paths of photos whose perceptual hash is near that of another person's photo.

    Two hashes at most `bits` apart agree in at least one of `bits` + 1 pieces (the pigeonhole
    principle), so only photos that share a piece are compared.
    """
    hashes = np.array([int(photo.phash, 16) for photo in photos], dtype=np.uint64)
    keys = [name_key(photo.person) for photo in photos]
    people = np.unique(np.array(keys, dtype=str), return_inverse=True)[1]
    near = np.zeros(len(photos), dtype=bool)
    buckets: list[np.ndarray] = []
    for low, high in _pieces(bits + 1):
        mask = np.uint64((1 << (high - low)) - 1)
        pieces = (hashes >> np.uint64(low)) & mask
        order = np.argsort(pieces, kind="stable")
        edges = np.flatnonzero(np.diff(pieces[order])) + 1
        buckets += [bucket for bucket in np.split(order, edges) if len(bucket) > 1]
    for bucket in track(buckets, "look for near duplicates"):
        if (people[bucket] == people[bucket[0]]).all():
            continue
        for start in range(0, len(bucket), _BLOCK):
            rows = bucket[start : start + _BLOCK]
            others = people[rows, None] != people[None, bucket]
            apart = np.bitwise_count(hashes[rows, None] ^ hashes[None, bucket])
            near[rows] |= ((apart <= bits) & others).any(axis=1)
    return {photos[index].path for index in np.flatnonzero(near)}


def _pieces(count: int) -> list[tuple[int, int]]:
    edges = [_BITS * piece // count for piece in range(count + 1)]
    return list(pairwise(edges))


@dataclass(frozen=True)
class Validated:
    """Manifest rows, sorted by path, and the format of each photo ("" if unknown)."""

    rows: list[dict[str, Any]]
    formats: list[str]


def validate_photos(
    data: Path, limits: PhotoLimits, formats: list[str], near_bits: int, processes: int
) -> Validated:
    """Open every photo below `data`/photos once and judge it.

    Raises:
        FaceOpsError: there are no photos at all, or quarantine.csv is wrong.
    """
    folder = data / "photos"
    paths = walk_photos(folder) if folder.is_dir() else []
    if not paths:
        raise FaceOpsError(
            f"{folder} holds no photos; run `faceops data synthetic` or `faceops data import`."
        )
    set_aside = read_quarantine(data / QUARANTINE_FILE)
    inspected = inspect_photos(data, paths, limits, formats, processes)
    usable = [p for p in inspected if not p.reason and p.photo_id not in set_aside]
    duplicates = find_duplicates(usable, near_bits)
    origin = read_imported(data)
    unknown = SYNTHETIC if SYNTHETIC in read_sources(data) else ""

    spellings: dict[str, str] = {}
    for photo in inspected:
        spelling = spellings.get(name_key(photo.person), photo.person)
        spellings[name_key(photo.person)] = min(spelling, photo.person)

    def row(photo: Inspected) -> dict[str, Any]:
        reason = photo.reason
        if not reason and photo.photo_id in set_aside:
            reason = Reason.QUARANTINED.value
        reason = reason or duplicates.get(photo.path, "")
        return {
            "photo_id": photo.photo_id,
            "path": photo.path,
            "person": spellings[name_key(photo.person)],  # one person, one spelling
            "width": photo.width,
            "height": photo.height,
            "source": origin.get(photo.path, unknown),
            "split": "",
            "status": REJECTED if reason else ACCEPTED,
            "reason": str(reason),
        }

    ordered = sorted(inspected, key=lambda photo: photo.path)
    return Validated([row(photo) for photo in ordered], [photo.format for photo in ordered])


# Two people with several photos each to train, to validate and to test.
LEAST_PEOPLE = 6

# Which reasons fail which expectation.
_REASONS = {
    "readable": (Reason.EMPTY, Reason.NOT_A_PHOTO, Reason.UNREADABLE, Reason.VANISHED),
    "format_allowed": (Reason.FORMAT_NOT_ALLOWED,),
    "size_allowed": (Reason.TOO_LARGE, Reason.TOO_SMALL),
    "names_well_formed": (Reason.BAD_NAME,),
    "one_person_a_photo": (
        Reason.DUPLICATE_OTHER_PERSON,
        Reason.NEAR_DUPLICATE_OTHER_PERSON,
    ),
    "no_duplicates": (Reason.DUPLICATE,),
}


@dataclass(frozen=True)
class Held:
    """A table and what is expected of it.

    Attributes:
        name: of the table, in reports.
        frame: the table.
        key: the column that names a row in reports.
        expectations: pairs of the expectation's name and Great Expectations' own object.
    """

    name: str
    frame: "pd.DataFrame"
    key: str
    expectations: list[tuple[str, Any]]


def check_photos(
    rows: list[dict[str, Any]],
    min_photos: int,
    max_rejected_share: float,
    hard: Sequence[str],
    docs: Path | None,
) -> "list[Outcome]":
    """Hold manifest rows against the expectations on photos and people.

    Args:
        docs: where to write the Data Docs (HTML), None for nowhere.
    """
    import pandas as pd

    from faceops.dataset.expectations import great_expectations_classes, hold_against

    gxe = great_expectations_classes()
    photos = pd.DataFrame(rows, columns=["path", "person", "photo_id", "status", "reason"])
    # Rejected rows need a reason, accepted ones must have none: one column says both.
    photos["told"] = (photos["status"] == REJECTED) == (photos["reason"] != "")
    on_photos = [
        ("manifest_complete", gxe.ExpectColumnValuesToBeUnique(column="path")),
        ("manifest_complete", gxe.ExpectColumnValuesToNotBeNull(column="path")),
        (
            "manifest_complete",
            gxe.ExpectColumnValuesToBeInSet(column="status", value_set=[ACCEPTED, REJECTED]),
        ),
        ("manifest_complete", gxe.ExpectColumnValuesToBeInSet(column="told", value_set=[True])),
    ]
    for name, reasons in _REASONS.items():
        values = [reason.value for reason in reasons]
        on_photos.append(
            (name, gxe.ExpectColumnValuesToNotBeInSet(column="reason", value_set=values))
        )
    accepted = photos[photos["status"] == ACCEPTED]
    keys = accepted["person"].map(name_key)
    people = keys.value_counts().rename_axis("person").reset_index(name="photos")
    people = people.sort_values("person", ignore_index=True)
    on_people = [
        (
            "photos_enough",
            gxe.ExpectColumnValuesToBeBetween(column="photos", min_value=min_photos),
        )
    ]
    summary = pd.DataFrame(
        {
            "what": ["all photos"],
            "rejected_share": [float((photos["status"] == REJECTED).mean())],
            "people_with_photos": [int((people["photos"] >= min_photos).sum())],
        }
    )
    on_summary = [
        (
            "rejected_share",
            gxe.ExpectColumnValuesToBeBetween(
                column="rejected_share", max_value=max_rejected_share
            ),
        ),
        (
            "people_enough",
            gxe.ExpectColumnValuesToBeBetween(column="people_with_photos", min_value=LEAST_PEOPLE),
        ),
    ]
    held = [
        Held("photos", photos, "path", on_photos),
        Held("people", people, "person", on_people),
        Held("summary", summary, "what", on_summary),
    ]
    return hold_against(held, hard, docs)


def check_split(faces: pa.Table, min_photos: int, hard: Sequence[str]) -> "list[Outcome]":
    """Hold the split's table (columns photo_id, person, split, negative_only) against its own.

    Each person's photos are counted anew, by content, whatever made the column negative_only.
    """
    from faceops.dataset.expectations import great_expectations_classes, hold_against

    gxe = great_expectations_classes()
    frame = faces.select(["photo_id", "person", "split", "negative_only"]).to_pandas()
    frame["person"] = frame["person"].map(name_key)
    people = frame.groupby("person").agg(
        splits=("split", "nunique"), photos=("photo_id", "nunique")
    )
    # Every row counts: a person who is negative in one photo only is neither.
    expected = frame["person"].map(people["photos"]) < min_photos
    right = (frame["negative_only"] == expected).groupby(frame["person"])
    people["told"] = right.all()
    photos = frame.groupby("photo_id").agg(splits=("split", "nunique"))
    one = {"column": "splits", "min_value": 1, "max_value": 1}
    on_people = [
        ("split_disjoint", gxe.ExpectColumnValuesToBeBetween(**one)),
        ("singles_negative_only", gxe.ExpectColumnValuesToBeInSet(column="told", value_set=[True])),
    ]
    on_photos = [("split_disjoint", gxe.ExpectColumnValuesToBeBetween(**one))]
    held = [
        Held("split_people", people.reset_index(), "person", on_people),
        Held("split_photos", photos.reset_index(), "photo_id", on_photos),
    ]
    return hold_against(held, hard, None)
