"""data/imported/<source>.csv: which file of which source each photo is."""

import csv
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.tables import write_csv

_FOLDER = "imported"


def read_imported(data: Path) -> dict[str, str]:
    """Return path (POSIX, relative to `data`) -> name of the source, for all imported photos."""
    listings = sorted((data / _FOLDER).glob("*.csv"))
    return {path: listing.stem for listing in listings for path in _read(listing)}


def read_origins(data: Path, source: str) -> dict[str, str]:
    """Return path -> origin of the photos that `source` has brought so far."""
    listing = data / _FOLDER / f"{source}.csv"
    return _read(listing) if listing.is_file() else {}


def _read(listing: Path) -> dict[str, str]:
    try:
        with listing.open(newline="", encoding="utf-8") as file:
            return {row["path"]: row["origin"] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise FaceOpsError(
            f"{listing} is not a list of imported photos ({error}); restore it or import again."
        ) from None


def write_imported(data: Path, source: str, origins: dict[str, str]) -> None:
    """Write path -> origin (the photo's name within the source), sorted by path."""
    write_csv(data / _FOLDER / f"{source}.csv", ("path", "origin"), sorted(origins.items()))
