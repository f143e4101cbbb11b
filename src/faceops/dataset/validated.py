"""From the data folder to manifest rows: every photo judged, none dropped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.base.reasons import Reason
from faceops.dataset.duplicates import find_duplicates
from faceops.dataset.imported import read_imported
from faceops.dataset.inspect_photos import Inspected, inspect_photos
from faceops.dataset.manifest import ACCEPTED, REJECTED
from faceops.dataset.names import name_key
from faceops.dataset.quarantine import QUARANTINE_FILE, read_quarantine
from faceops.dataset.sources_file import SYNTHETIC, read_sources
from faceops.photos.open_photo import PhotoLimits
from faceops.photos.walk import walk_photos


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
