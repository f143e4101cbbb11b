"""Photos that a person has set aside: data/quarantine.csv, with columns photo_id and reason."""

import csv
from collections.abc import Mapping
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.tables import write_csv

QUARANTINE_FILE = "quarantine.csv"


def is_photo_id(text: str) -> bool:
    """Return whether `text` is a sha256: 64 hexadecimal digits in lower case."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def read_quarantine(path: Path) -> dict[str, str]:
    """Return photo_id -> the person's reason; empty if the file does not exist.

    Raises:
        FaceOpsError: not such a CSV, or a photo_id that is not a sha256.
    """
    found = {}
    for line, row in enumerate(_read_rows(path)[1], start=2):
        photo_id = (row["photo_id"] or "").strip().lower()
        if not is_photo_id(photo_id):
            raise FaceOpsError(
                f"{path} line {line}: photo_id {photo_id!r} is not a sha256 of 64 digits; "
                "take it from the manifest or from quarantine.csv of the stage validate."
            )
        found[photo_id] = (row.get("reason") or "").strip()
    return found


def _read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows; the person may have added columns."""
    columns = ["photo_id", "reason"]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = list(reader.fieldnames or columns)
    except FileNotFoundError:
        return columns, []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FaceOpsError(f"{path} cannot be read ({error}); correct or remove it.") from None
    if "photo_id" not in columns:
        raise FaceOpsError(f"{path} has no column photo_id; correct or remove it.")
    return columns, rows


def add_to_quarantine(path: Path, photos: Mapping[str, str]) -> int:
    """Append photos that the file does not list yet; its rows and columns are kept.

    Args:
        path: the file, created if absent.
        photos: photo_id -> reason.

    Returns:
        How many rows were added.

    Raises:
        FaceOpsError: the file is wrong already, or cannot be written.
    """
    listed = read_quarantine(path)
    new = [(photo_id, reason) for photo_id, reason in photos.items() if photo_id not in listed]
    if new:
        columns, rows = _read_rows(path)
        rows += [{"photo_id": photo_id, "reason": reason} for photo_id, reason in new]
        write_csv(path, columns, [[row.get(name) for name in columns] for row in rows])
    return len(new)


def write_quarantine_list(rows: list[dict[str, str]], path: Path) -> None:
    """Write path, person, photo_id and reason of rejected photos, sorted by path."""
    columns = ("path", "person", "photo_id", "reason")
    cells = ([row[name] for name in columns] for row in sorted(rows, key=lambda row: row["path"]))
    write_csv(path, columns, cells)
