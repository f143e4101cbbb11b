"""The manifest, a row per photo, and quarantine.csv, the photos that a person has set aside."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError, first_line
from faceops.base.files import atomic_path, write_csv, write_file

ACCEPTED, REJECTED = "accepted", "rejected"

# photo_id: sha256 of the bytes ("" if they could not be read); path: POSIX, relative to the data
# folder; person: as the folder names them; width, height: pixels of the upright photo (0 if
# unreadable); source: what imported it; split: "" until the split stage; reason: "" if accepted.
SCHEMA = pa.schema(
    [
        ("photo_id", pa.string()),
        ("path", pa.string()),
        ("person", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)


def manifest_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows, one dict per photo, as a table of the schema, sorted by path."""
    return pa.Table.from_pylist(rows, schema=SCHEMA).sort_by("path")


def write_manifest(table: pa.Table, path: Path) -> None:
    """Write the manifest sorted by path; equal tables give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        pq.write_table(table.select(SCHEMA.names).cast(SCHEMA).sort_by("path"), temporary)


def read_manifest(path: Path) -> pa.Table:
    """Return the manifest in the file `path`.

    Raises:
        FaceOpsError: no such file, no Parquet, or columns that are not the manifest's.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise FaceOpsError(f"{path} does not exist; run the stage validate first.") from None
    except (OSError, pa.ArrowException) as error:
        why = first_line(error)
        raise FaceOpsError(f"{path} is not a manifest ({why}); run the stage validate.") from None
    if missing := [name for name in SCHEMA.names if name not in table.column_names]:
        raise FaceOpsError(
            f"{path} has no column {missing[0]}; run the stage validate again."
        ) from None
    return table.select(SCHEMA.names).cast(SCHEMA)


QUARANTINE_FILE = "quarantine.csv"  # in the data folder; columns photo_id and reason


def is_photo_id(text: str) -> bool:
    """Return whether `text` is a sha256: 64 hexadecimal digits in lower case."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def read_quarantine(path: Path) -> dict[str, str]:
    """Return photo_id -> the person's reason; empty if the file does not exist.

    Raises:
        FaceOpsError: not such a CSV, or a photo_id that is not a sha256.
    """
    found = {}
    for line, row in enumerate(_read_rows(path), start=2):
        photo_id = (row.get("photo_id") or "").strip().lower()
        if not is_photo_id(photo_id):
            raise FaceOpsError(
                f"{path} line {line}: photo_id {photo_id!r} is not a sha256 of 64 digits; "
                "take it from the manifest or from quarantine.csv of the stage validate."
            )
        found[photo_id] = (row.get("reason") or "").strip()
    return found


def _read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows; the person may have added columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FaceOpsError(f"{path} cannot be read ({error}); correct or remove it.") from None
    if columns and "photo_id" not in columns:
        raise FaceOpsError(f"{path} has no column photo_id; correct or remove it.")
    return rows


def add_to_quarantine(path: Path, photos: Mapping[str, str]) -> int:
    """Append photos that the file does not list yet; what it has is kept byte for byte.

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
    if not new:
        return 0
    before = path.read_bytes() if path.exists() else b""
    text = before.decode("utf-8-sig")
    added = io.StringIO(newline="")
    line_end = "\r\n" if "\r\n" in text else "\n"
    columns = csv.DictReader(io.StringIO(text, newline="")).fieldnames
    writer = csv.DictWriter(
        added, columns or ["photo_id", "reason"], extrasaction="ignore", lineterminator=line_end
    )
    if not columns:
        before = b""
        writer.writeheader()
    elif not text.endswith(("\n", "\r")):
        added.write(line_end)
    writer.writerows({"photo_id": photo_id, "reason": reason} for photo_id, reason in new)
    write_file(path, before + added.getvalue().encode("utf-8", "replace"))
    return len(new)


def write_quarantine_list(rows: list[dict[str, str]], path: Path) -> None:
    """Write path, person, photo_id and reason of rejected photos, sorted by path."""
    columns = ("path", "person", "photo_id", "reason")
    cells = ([row[name] for name in columns] for row in sorted(rows, key=lambda row: row["path"]))
    write_csv(path, columns, cells)
