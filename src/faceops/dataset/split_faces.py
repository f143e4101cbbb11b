"""The split of the accepted faces, as a table and as figures."""

from collections import Counter
from typing import Any

import pyarrow as pa

from faceops.dataset.manifest import ACCEPTED
from faceops.dataset.splits import SPLITS

# crop: row in crops.npy; negative_only: the person has this one photo.
SCHEMA = pa.schema(
    [
        ("crop", pa.int32()),
        ("photo_id", pa.string()),
        ("path", pa.string()),
        ("person", pa.string()),
        ("split", pa.string()),
        ("negative_only", pa.bool_()),
    ]
)


def accepted_faces(faces: pa.Table) -> list[dict[str, Any]]:
    """Return crop, photo_id, path and person of the accepted faces, by crop."""
    rows = faces.select(["crop", "photo_id", "path", "person", "status"]).to_pylist()
    return sorted((r for r in rows if r["status"] == ACCEPTED), key=lambda row: row["crop"])


def split_table(rows: list[dict[str, Any]], splits: dict[str, str]) -> pa.Table:
    """Return the table of the schema for `rows` of `accepted_faces` and person -> split."""
    photos = Counter(row["person"] for row in rows)
    told = [
        {**row, "split": splits[row["person"]], "negative_only": photos[row["person"]] == 1}
        for row in rows
    ]
    return pa.Table.from_pylist(told, schema=SCHEMA)


def split_figures(table: pa.Table) -> dict[str, dict[str, int]]:
    """Return for each split its people, those with several photos, and its photos."""
    figures = {}
    for split in SPLITS:
        rows = [row for row in table.to_pylist() if row["split"] == split]
        people = {row["person"]: row["negative_only"] for row in rows}
        figures[split] = {
            "people": len(people),
            "people_with_several_photos": sum(not single for single in people.values()),
            "photos": len(rows),
        }
    return figures
