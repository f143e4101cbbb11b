"""The split of the accepted faces, as a table and as figures."""

from collections import Counter
from typing import Any

import pyarrow as pa

from faceops.dataset.manifest import ACCEPTED
from faceops.dataset.splits import SPLITS

# crop: row in crops.npy; negative_only: the person has fewer accepted photos than min_photos.
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


def split_table(rows: list[dict[str, Any]], splits: dict[str, str], min_photos: int) -> pa.Table:
    """Return the table of the schema for `rows` of `accepted_faces` and person -> split.

    Args:
        min_photos: people with fewer accepted photos serve as negatives only.
    """
    photos = Counter(row["person"] for row in rows)
    few = {person for person, count in photos.items() if count < min_photos}
    told = [
        {**row, "split": splits[row["person"]], "negative_only": row["person"] in few}
        for row in rows
    ]
    return pa.Table.from_pylist(told, schema=SCHEMA)


def split_figures(table: pa.Table) -> dict[str, dict[str, int]]:
    """Return for each split its people, those not negative only, and its photos."""
    figures = {}
    for split in SPLITS:
        rows = [row for row in table.to_pylist() if row["split"] == split]
        people = {row["person"]: row["negative_only"] for row in rows}
        figures[split] = {
            "people": len(people),
            "people_with_several_photos": sum(not few for few in people.values()),
            "photos": len(rows),
        }
    return figures
