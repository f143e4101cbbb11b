"""The manifest: one row per photo, accepted or rejected with a reason."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path

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
        why = str(error).splitlines()[0]
        raise FaceOpsError(f"{path} is not a manifest ({why}); run the stage validate.") from None
    if missing := [name for name in SCHEMA.names if name not in table.column_names]:
        raise FaceOpsError(
            f"{path} has no column {missing[0]}; run the stage validate again."
        ) from None
    return table.select(SCHEMA.names).cast(SCHEMA)
