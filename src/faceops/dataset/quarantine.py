"""Photos that a person has set aside: data/quarantine.csv, with columns photo_id and reason."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.base.tables import write_csv

QUARANTINE_FILE = "quarantine.csv"


def is_photo_id(text: str) -> bool:
    """Return whether `text` is a sha256: 64 hexadecimal digits in lower case."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def read_quarantine(path: Path) -> dict[str, str]:
    """Return photo_id -> the person's reason; empty where there is no file.

    Raises:
        FaceOpsError: not such a CSV, or a photo_id that is no sha256.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FaceOpsError(f"{path} cannot be read ({error}); mend or remove it.") from None
    found = {}
    for line, row in enumerate(rows, start=2):
        photo_id = (row.get("photo_id") or "").strip().lower()
        if not is_photo_id(photo_id):
            raise FaceOpsError(
                f"{path} line {line}: photo_id {photo_id!r} is not a sha256 of 64 digits; "
                "take it from the manifest or from quarantine.csv of the stage validate."
            )
        found[photo_id] = (row.get("reason") or "").strip()
    return found


def add_to_quarantine(path: Path, photos: Mapping[str, str]) -> int:
    """Set photos aside: append what is not there yet, keep what is byte for byte.

    Args:
        path: the file; made where there is none.
        photos: photo_id -> reason.

    Returns:
        How many rows were added.

    Raises:
        FaceOpsError: the file is wrong already, or cannot be written.
    """
    there = read_quarantine(path)
    new = {photo_id: reason for photo_id, reason in photos.items() if photo_id not in there}
    if not new:
        return 0
    before = path.read_bytes() if path.exists() else b""
    text = before.decode("utf-8-sig")
    header = next(csv.reader(io.StringIO(text)), None) or ["photo_id", "reason"]
    if "photo_id" not in header:  # of no rows, else reading it would have failed
        raise FaceOpsError(f"{path} begins with no line photo_id,reason; mend or remove it.")
    end = "\r\n" if "\r\n" in text else "\n"
    added = io.StringIO()
    writer = csv.DictWriter(added, header, restval="", extrasaction="ignore", lineterminator=end)
    if not text.strip():
        before = b""
        writer.writeheader()
    elif not text.endswith("\n"):
        added.write(end)
    writer.writerows({"photo_id": photo_id, "reason": new[photo_id]} for photo_id in new)
    write_file(path, before + added.getvalue().encode("utf-8", "replace"))
    return len(new)


def write_quarantine_list(rows: list[dict[str, str]], path: Path) -> None:
    """Write the photos set aside: path, person, photo_id, reason; sorted by path."""
    columns = ("path", "person", "photo_id", "reason")
    cells = ([row[name] for name in columns] for row in sorted(rows, key=lambda row: row["path"]))
    write_csv(path, columns, cells)
