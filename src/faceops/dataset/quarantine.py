"""Photos that a person has set aside: data/quarantine.csv, with columns photo_id and reason."""

import csv
from pathlib import Path

from faceops.errors import FaceOpsError

QUARANTINE_FILE = "quarantine.csv"


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
        if len(photo_id) != 64 or not set(photo_id) <= set("0123456789abcdef"):
            raise FaceOpsError(
                f"{path} line {line}: photo_id {photo_id!r} is not a sha256 of 64 digits; "
                "take it from the manifest or from quarantine.csv of the stage validate."
            )
        found[photo_id] = (row.get("reason") or "").strip()
    return found


def write_quarantine_list(rows: list[dict[str, str]], path: Path) -> None:
    """Write the photos set aside: path, person, photo_id, reason; sorted by path."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        columns = ("path", "person", "photo_id", "reason")
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: row["path"]))
    temporary.replace(path)
